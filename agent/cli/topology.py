"""What this host, or a saved one, is made of: cells, cores, memory, page pools.

table is for people, at 80 columns; json is the Topology document; numactl is what numactl --hardware prints; cpus has a
row a processor and a summary; devices has a row a PCI device; svg is a picture; numastat, load and interfaces show
what goes on right now.  What the files do not tell is unknown, in every format.  Exit codes: 0 printed, 1 error, 2 bad
input, 4 --check found a disagreement, 5 libvirt does not answer.
"""

from __future__ import annotations

import sys

from agent.core.errors import FINDINGS

TYPE_CHECKING = False

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from agent.core.cpuset import CpuSet
    from agent.core.topology import HostTopology

FORMATS = {
    "table": "agent.picture.table:render_table",
    "numactl": "agent.picture.numactl:render_numactl",
    "cpus": "agent.picture.cpus:render_cpus",
    "json": "agent.picture.document:render_json",
    "svg": "agent.picture.svg:render_svg",
    "devices": "agent.picture.devices:render_devices",
}
"""Format → the function (HostTopology → text) that makes it."""

SHOW_GUESTS = ("svg", "table")
"""Formats that can show where guests are pinned."""

SHOW_KNOBS = ("json",)
"""Formats that show what decides whether pinning works."""

MEASURED = ("numastat", "load", "interfaces")
"""Formats that show what goes on instead of what the host is made of."""


def configure(parser: ArgumentParser) -> None:
    """Add the verb's options."""
    from argparse import BooleanOptionalAction

    from agent.cli.hosts import add_host_options
    from agent.inspection.counters import COUNTERS

    parser.add_argument(
        "--format", choices=[*FORMATS, *MEASURED], default="table", help="what to print (default: %(default)s)"
    )
    parser.add_argument("--knobs", action="store_true", help="read what decides whether pinning works too, for json")
    parser.add_argument(
        "--check",
        metavar="FILE",
        nargs="?",
        const="",
        help="compare with libvirt's capabilities, asked for now or saved in FILE; exit code 4 when they disagree",
    )
    parser.add_argument("--identify", action="store_true", help="ask py-cpuinfo where the kernel does not name the CPU")
    parser.add_argument(
        "--guests",
        action=BooleanOptionalAction,
        help="show where running guests are pinned, in svg and table (default: in this host's svg, if libvirt answers)",
    )
    parser.add_argument("--connect", metavar="URI", default="qemu:///system", help="libvirt (default: %(default)s)")
    add_host_options(parser)
    parser.epilog = "numastat, in pages since boot: " + "; ".join(
        f"{name}: {words}" for name, words in COUNTERS.items()
    )


def run(args: Namespace) -> int:
    """Print the host in the wanted format."""
    from agent.cli.hosts import add_knobs, is_this_host, load_host
    from agent.cli.quick import ASKS_LIBVIRT

    for option, given, forms in (("--knobs", args.knobs, SHOW_KNOBS), ("--guests", args.guests, SHOW_GUESTS)):
        if given and args.format not in forms:
            from agent.core.errors import BadInput

            raise BadInput(f"{option} with --format {args.format}; allowed: --format {', '.join(forms)}")
    if args.format in MEASURED and args.check is None:
        sys.stdout.write(_measure(args))
        return 0
    host = load_host(args)
    if args.identify:
        from agent.cli.hosts import cache_folder, kernel_files
        from agent.inspection.identity import fill_identity

        host = fill_identity(host, kernel_files(args), cache_folder())
    if args.check is not None:
        return _check(host, args)
    if args.guests or (args.guests is None and args.format in ASKS_LIBVIRT and is_this_host(args)):
        pinned, floating = _guests(args)
        sys.stdout.write(_renderer(args.format)(host, pinned, floating=floating))
        return 0
    sys.stdout.write(render(add_knobs(args, host) if args.knobs else host, args.format))
    return 0


def _guests(args: Namespace) -> tuple[dict[str, CpuSet], dict[str, CpuSet]]:
    """Running guests and the pCPUs that single vCPUs of them are pinned to, and those whose vCPUs float, with where.

    Without --guests there are none where libvirt is not installed or does not answer.
    """
    from agent.core.errors import Unreachable

    try:
        return _ask_guests(args)
    except (Unreachable, ModuleNotFoundError):
        if args.guests:
            raise
        return {}, {}


def _ask_guests(args: Namespace) -> tuple[dict[str, CpuSet], dict[str, CpuSet]]:
    from agent.compute.domains import NoSuchDomain, Refused
    from agent.compute.driver import Driver
    from agent.core.cpuset import CpuSet

    masks = []
    with Driver(args.connect) as driver:
        for domain in driver.domains():
            try:
                masks.append((domain.name, list(driver.vcpu_pins(domain.name).values())))
            except (NoSuchDomain, Refused):
                continue  # it ended meanwhile
    pinned = {name: CpuSet(cpu for cpus in vcpus if len(cpus) == 1 for cpu in cpus) for name, vcpus in masks}
    floating = {name: CpuSet(cpu for cpus in vcpus if len(cpus) > 1 for cpu in cpus) for name, vcpus in masks}
    return _taken(pinned), _taken(floating)


def _taken(guests: dict[str, CpuSet]) -> dict[str, CpuSet]:
    return {name: cpus for name, cpus in guests.items() if cpus}


def _check(host: HostTopology, args: Namespace) -> int:
    from agent.cli.hosts import read_input
    from agent.inspection.capabilities import parse_capabilities, parse_offline_sockets
    from agent.verification.crosscheck import check_against

    if args.check:
        source, data = args.check, read_input(args.check)
    else:
        from agent.compute.driver import Driver

        with Driver(args.connect) as driver:
            source, data = args.connect, driver.capabilities().encode()
    offline_sockets = parse_offline_sockets(data, source)
    found = check_against(host, parse_capabilities(data, source), offline_sockets=offline_sockets)
    for item in found:
        print(f"{item.fact}: ours {item.ours}, libvirt's {item.theirs}; we believe ours: {item.why}")
    if not found:
        print(f"{source} agrees on pCPUs, cells, sockets, siblings, memory, distances and huge pages")
    return FINDINGS if found else 0


def _measure(args: Namespace) -> str:
    from agent.cli.hosts import kernel_files
    from agent.core.errors import BadInput
    from agent.picture.counters import render_load, render_numastat

    root = kernel_files(args)
    if args.format == "numastat":
        from agent.inspection.counters import read_numastat

        counters = read_numastat(root)
        if not counters:
            raise BadInput(f"{root.folder}: no numastat files: its kernel has no NUMA")
        return render_numastat(counters)
    if not root.live:
        raise BadInput(f"--format {args.format} asks the running kernel; allowed: this host alone")
    if args.format == "interfaces":
        from agent.cli.hosts import load_host
        from agent.inspection.interfaces import read_interfaces
        from agent.picture.devices import render_interfaces

        return render_interfaces(load_host(args), read_interfaces())
    from agent.inspection.load import read_load

    return render_load(read_load())


def render(host: HostTopology, format: str) -> str:
    """The host as text in one of FORMATS."""
    return _renderer(format)(host)


def _renderer(format: str) -> Callable[..., str]:
    module, _, function = FORMATS[format].partition(":")
    __import__(module)
    found: Callable[..., str] = getattr(sys.modules[module], function)
    return found
