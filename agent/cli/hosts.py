"""Which host a command is about: this one, or one that was saved, described or recorded elsewhere.

>>> add_host_options(parser); host = load_host(parser.parse_args(["--synthetic", "core:8 thread:2"]))
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from agent.core.codec import decode
from agent.core.errors import BadInput
from agent.core.topology import HostTopology


def add_host_options(parser: ArgumentParser) -> None:
    """Add the options that name a host; without any of them it is the live one."""
    group = parser.add_argument_group("which host (default: this one)").add_mutually_exclusive_group()
    group.add_argument("--topology", metavar="FILE", help="a Topology document (JSON), '-' for stdin")
    group.add_argument("--sysroot", metavar="DIR", help="a saved /proc and /sys")
    parser.add_argument("--config", metavar="FILE", help="settings from this file instead of /etc/cellwright")
    parser.add_argument("--nova-conf", metavar="FILE", help="the dedicated and shared sets of this nova.conf")
    group.add_argument("--synthetic", metavar="TEXT", help="described in words: 'socket:2 cell:1 core:8 thread:2'")


def load_host(args: Namespace) -> HostTopology:
    """The host that the options name, with the operator's sets; BadInput says which file or word is wrong.

    The settings in /etc/cellwright are this machine's own: another host has them only with ``--config``.
    """
    host = _read(args)
    live = args.topology is None and args.synthetic is None and args.sysroot is None
    if not live and args.config is None and args.nova_conf is None:
        return host
    from agent.settings import apply_sets, read_settings
    from agent.settings.load import FOLDER

    effective = read_settings(args.config, folder=FOLDER if live else None, nova_conf=args.nova_conf)
    return apply_sets(host, effective.settings)


def _read(args: Namespace) -> HostTopology:
    if args.topology is not None:
        return decode(read_input(args.topology), HostTopology, source=args.topology)
    if args.synthetic is not None:
        from agent.inspection.synthetic import parse_synthetic

        return parse_synthetic(args.synthetic)
    from agent.inspection.host import read_host

    return read_host("/" if args.sysroot is None else args.sysroot)


def read_input(path: str) -> bytes:
    """A file's bytes, or those of stdin for ``-``; BadInput names it."""
    try:
        if path == "-":
            import sys

            return sys.stdin.buffer.read()
        return Path(path).read_bytes()
    except OSError as why:
        raise BadInput(f"{path}: {why.strerror}") from why
