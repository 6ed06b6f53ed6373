"""The live host and its running guests as placement needs them: topology with the operator's sets, and usage."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Collection
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from agent.cli.hosts import SOURCES, add_settings_options, load_host, load_settings
from agent.core.codec import decode_answer
from agent.core.errors import BadInput, Unreachable
from agent.core.placement import Misfit, Placement
from agent.core.request import Request
from agent.core.topology import HostTopology
from agent.core.usage import Limits, Usage

if TYPE_CHECKING:
    from argparse import _MutuallyExclusiveGroup as ArgumentGroup

    from agent.compute.driver import Driver


def add_wanted_options(parser: ArgumentParser, *, settings: str = "--config", required: bool = True) -> None:
    """Add what is wanted: a request to place here, or a placement that was made for this host; and the settings."""
    wanted = parser.add_mutually_exclusive_group(required=required)
    wanted.add_argument("--request", metavar="FILE", help="a request: .json, .toml or .yaml; - is JSON on stdin")
    wanted.add_argument("--placement", metavar="FILE", help="an answer of `cellwright place` for this host")
    add_limits_option(parser)
    add_settings_options(parser, file=settings)


def decide(args: Namespace, libvirt: Driver, *, name: str | None, without: Collection[str] = ()) -> Placement | Misfit:
    """Where the wanted guest goes among the guests that run, those in ``without`` not counted.

    A placement that was made elsewhere is taken as it is once it is known to be for this host, to name pCPUs and cells
    that the host has, and to own no pCPU that another guest owns.  Where nothing is said, domain ``name`` is wanted as
    it is, each vCPU on a pCPU of its own.
    """
    from agent.compute.usage import guests_of, read_claimants, sum_usage

    host = load_host(args)
    claimants = read_claimants(libvirt, host, without=without)
    if args.placement is not None:
        from agent.compute.fits_here import check_placement

        answer = read_placement(args.placement)
        return check_placement(_named(answer, name), host, claimants) if answer.fits else answer
    from agent.cli.documents import load_request
    from agent.placement import place
    from agent.placement.language import check_request

    claims = None
    if args.request is None and name is not None:
        request, claims = _as_it_is(libvirt, name, host)
    else:
        request = load_request(args.request)
    if name is not None:
        request = msgspec.structs.replace(request, name="")  # a domain that is there already may have any name
    check_request(request)
    answer = place(host, sum_usage(claimants), request, limits_of(args), guests=guests_of(claimants))
    if name is not None:
        answer = msgspec.structs.replace(answer, name=name)
    if isinstance(answer, Misfit):
        return answer
    if claims is not None:
        from agent.domain.wish import keep_own

        answer = keep_own(answer, claims)
    return _without_shares(answer) if libvirt.uri.endswith("/session") else answer


def _as_it_is(libvirt: Driver, name: str, host: HostTopology) -> tuple[Request, Placement]:
    """What a domain wants by its own XML, and what it has beside pins."""
    from agent.domain.document import parse_xml
    from agent.domain.parse import parse_elements
    from agent.domain.wish import wish_of

    source = f"domain {name}"
    root = parse_xml(libvirt.xml(name), source=source)
    return wish_of(root, source=source), parse_elements(root, host=host, source=source)


def _without_shares(placement: Placement) -> Placement:
    """A user's own libvirtd (qemu:///session) has no cgroups and refuses a guest with shares; so none by default."""
    if placement.tune.shares is not None:
        return placement
    return msgspec.structs.replace(placement, tune=msgspec.structs.replace(placement.tune, shares=0))


def add_usage_options(parser: ArgumentParser, *, beside: ArgumentGroup | None = None) -> None:
    """Add what guests hold already, from a file (in the group ``beside``) or from libvirt, and what they may hold."""
    (beside or parser).add_argument(
        "--usage", metavar="FILE", help="what guests hold already (JSON); default: see --connect"
    )
    parser.add_argument(
        "--connect",
        metavar="URI",
        default="qemu:///system",
        help="libvirt whose running guests count as used on this host (default: %(default)s); '' counts none",
    )
    add_limits_option(parser)


def add_limits_option(parser: ArgumentParser) -> None:
    """Add ``--limits``."""
    parser.add_argument(
        "--limits",
        metavar="FILE",
        help="overcommit ratios and what the host keeps (JSON); default: what the settings say",
    )


Neighbours: TypeAlias = tuple[Usage, tuple[Placement, ...]]
"""What guests hold, and the placements of those that are known by name."""


def neighbours_of(args: Namespace, host: HostTopology) -> Neighbours:
    """As the file of ``--usage`` says, which names no guest, or on the live host what runs there; else nothing."""
    from agent.cli.documents import load_usage

    if args.usage is not None or not args.connect or any(getattr(args, source) is not None for source in SOURCES):
        return load_usage(args.usage), ()
    return _running(args.connect, host)


def limits_of(args: Namespace) -> Limits | None:
    """Ratios, reservations and packing: of ``--limits``, else of the settings; None where neither is there."""
    from agent.cli.documents import load_limits
    from agent.settings.sets import limits

    if args.limits is not None:
        return load_limits(args.limits)
    settings = load_settings(args)
    return None if settings is None else limits(settings)


def _running(uri: str, host: HostTopology) -> Neighbours:
    """The running guests of the live host; none, and a line on stderr, where libvirt does not answer."""
    from agent.cli.connect import say

    try:
        from agent.compute.driver import Driver
        from agent.compute.usage import read_claimants, sum_usage
    except ImportError as why:
        say(f"{why.name} is not installed: running guests are not counted, usage is taken as empty")
        return Usage(), ()
    try:
        with Driver(uri) as libvirt:
            claimants = read_claimants(libvirt, host)
    except Unreachable as why:
        say(f"usage is taken as empty: {why}")
        return Usage(), ()
    guests = tuple([msgspec.structs.replace(one.placement, name=one.name) for one in claimants])
    return sum_usage(claimants), guests


def read_placement(path: str) -> Placement | Misfit:
    """A Placement document from a file or, for ``-``, stdin."""
    from agent.cli.hosts import read_input

    return decode_answer(read_input(path), source=path)


def _named(placement: Placement, name: str | None) -> Placement:
    named = msgspec.structs.replace(placement, name=name or placement.name)
    if not named.name:
        raise BadInput("the placement names no guest; say --name")
    return named
