"""Which host a command is about: this one, or one that was saved, described or recorded elsewhere.

>>> add_host_options(parser); host = load_host(parser.parse_args(["--synthetic", "core:8 thread:2"]))
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from agent.core.codec import decode
from agent.core.errors import BadInput
from agent.core.topology import HostTopology, find_contradiction
from agent.settings.present import FOLDER, is_configured

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.inspection.files import Root
    from agent.settings.document import Settings


SOURCES = ("topology", "sysroot", "snapshot", "capabilities", "lstopo", "synthetic")
"""The options that name another host than this one."""

DESCRIBED = ("topology", "capabilities", "lstopo", "synthetic")
"""Those of them that name no kernel files."""

KERNEL = "this host, or a saved one (--sysroot, --snapshot)"

SETS = {
    "vcpu_pin_set": "pCPUs for pinned and for floating guests, as Nova's vcpu_pin_set",
    "dedicated_set": "pCPUs that pinned guests may own",
    "shared_set": "pCPUs that floating guests share",
}


def add_host_options(parser: ArgumentParser) -> None:
    """Add the options that name a host and its operator's decisions; without any it is the live one, as configured."""
    sources = parser.add_argument_group("which host (default: this one)").add_mutually_exclusive_group()
    sources.add_argument("--topology", metavar="FILE", help="a Topology document (JSON), '-' for stdin")
    sources.add_argument("--sysroot", metavar="DIR", help="a saved /proc and /sys")
    sources.add_argument("--snapshot", metavar="FILE", help="what 'cellwright snapshot' packed, or a saved tree's tar")
    sources.add_argument("--capabilities", metavar="FILE", help="libvirt's capabilities XML, '-' for stdin")
    sources.add_argument("--lstopo", metavar="FILE", help="hwloc's XML (lstopo --of xml), '-' for stdin")
    sources.add_argument("--synthetic", metavar="TEXT", help="described in words: 'socket:2 cell:1 core:8 thread:2'")
    add_settings_options(parser)


def add_settings_options(parser: ArgumentParser, *, file: str = "--config") -> None:
    """Add the operator's decisions alone, for verbs that act on the live host; ``file`` names the option for a file."""
    parser.set_defaults(**{source: parser.get_default(source) for source in SOURCES})
    group = parser.add_argument_group("which pCPUs guests may use (default: for this host, what /etc/cellwright says)")
    group.add_argument(file, dest="config", metavar="FILE", help="settings of this file instead of /etc/cellwright")
    group.add_argument("--nova-conf", metavar="FILE", help="CPU sets, ratios and reservations of this nova.conf")
    for key, words in SETS.items():
        group.add_argument("--" + key.replace("_", "-"), metavar="LIST", help=words + "; '' for no such set")


def is_this_host(args: Namespace) -> bool:
    """Whether no option names another host than the live one."""
    return all(getattr(args, source) is None for source in SOURCES)


def load_settings(args: Namespace) -> Settings | None:
    """The settings that options name, or for the live host those of /etc/cellwright; None where there are none."""
    texts = {key if key == "vcpu_pin_set" else f"cpu_{key}": getattr(args, key) for key in SETS}
    sets = {key: text for key, text in texts.items() if text is not None}
    etc = is_this_host(args) and args.config is None and is_configured()
    if not (etc or args.config or args.nova_conf or sets):
        return None
    from agent.settings.load import read_settings

    folder = FOLDER if etc else None
    return read_settings(args.config, folder=folder, nova_conf=args.nova_conf, sets=sets).settings


def load_host(args: Namespace) -> HostTopology:
    """The host that the options name, with the operator's sets; BadInput says which file or word is wrong."""
    host = _load_host(args)
    settings = load_settings(args)
    if settings is None:
        return host
    from agent.settings.sets import apply_sets

    return apply_sets(host, settings)


def add_knobs(args: Namespace, host: HostTopology) -> HostTopology:
    """The host with its knobs, read from where it was read; BadInput for a document or text that has none."""
    if host.knobs is not None:
        return host
    if any(getattr(args, source) is not None for source in DESCRIBED):
        raise BadInput(f"no knobs: allowed: {KERNEL}, or a document made by topology --knobs --format json")
    from msgspec.structs import replace

    from agent.inspection.knobs import read_knobs

    return replace(host, knobs=read_knobs(kernel_files(args), host.online))


def cache_folder() -> Path:
    """Where facts that cost time are kept: /var/cache/cellwright for root, the user's own cache for others."""
    import os

    own = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path("/var/cache" if os.geteuid() == 0 else own, "cellwright")


def kernel_files(args: Namespace) -> Root:
    """The kernel's files that the options name; BadInput where they name a document or a description."""
    from agent.inspection.files import Root

    if any(getattr(args, source) is not None for source in DESCRIBED):
        raise BadInput(f"no kernel files: allowed: {KERNEL}")
    if args.snapshot is not None:
        from agent.inspection.archive import read_archive

        return read_archive(args.snapshot)
    return Root("/" if args.sysroot is None else args.sysroot)


def _load_host(args: Namespace) -> HostTopology:
    if args.topology is not None:
        host = decode(read_input(args.topology), HostTopology, source=args.topology)
        if wrong := find_contradiction(host):
            raise BadInput(f"{args.topology}: {wrong}")
        return host
    if args.synthetic is not None:
        from agent.inspection.synthetic import parse_synthetic

        return parse_synthetic(args.synthetic)
    if args.capabilities is not None:
        from agent.inspection.capabilities import parse_capabilities

        return parse_capabilities(read_input(args.capabilities), args.capabilities)
    if args.lstopo is not None:
        from agent.inspection.lstopo import parse_lstopo

        return parse_lstopo(read_input(args.lstopo), args.lstopo)
    from agent.inspection.host import read_host

    return read_host(kernel_files(args))


def read_input(path: str) -> bytes:
    """A file's bytes, or those of stdin for ``-``, once; BadInput names it."""
    if not path:
        raise BadInput("'' names no file; allowed: a file's name, or - for stdin")
    try:
        if path != "-":
            return Path(path).read_bytes()
        import sys

        if sys.stdin.buffer.closed:
            raise BadInput("-: two files are to be read from stdin; name one of them")
        with sys.stdin.buffer as stdin:
            return stdin.read()
    except OSError as why:
        raise BadInput(f"{path}: {why.strerror}") from why
