"""The request language: a request in OpenStack's keys → the guest topology it means, or BadRequest.

One module answers one question; this one asks them in turn.  Nova's precedence and conflict rules hold (a flavor's
``hw:`` key, an image's ``hw_`` property), and nothing is ignored in silence: an unknown or malformed key of ours or of
the ``hw:`` namespace is an error that names key, value, and what is allowed.  Other namespaces pass.
"""

from __future__ import annotations

from agent.core.errors import BadRequest
from agent.core.guest import GuestCell, GuestTopology
from agent.core.placement import CpuTune
from agent.core.policy import CpuPolicy, PciAffinity
from agent.core.request import Flavor, Request
from agent.placement.language import cells, cpus, devices, keys, memory, ours, resctrl, schedules, topology
from agent.placement.language.specs import Specs, whole_number

MOST_VCPUS = 4096
MOST_RAM_MB = 1 << 30
MOST_DISK_GB = 1 << 30
MOST_NAME = 255


def parse_guest(request: Request) -> GuestTopology:
    """What the request asks of a host; BadRequest (``key``, ``value``) for what no host could serve.

    As in Nova, ``hw:pci_numa_affinity_policy`` is read here only for guests that want devices; ``check_request`` reads
    it always.
    """
    _check_sizes(request)
    specs = Specs(request)
    keys.check_keys(specs.flavor, specs.image)
    wishes = cpus.parse_cpus(specs)
    page = memory.parse_page(specs)
    count = cells.parse_cell_count(specs)
    auto = ours.parse_auto_cells(specs)
    guest_cells: tuple[GuestCell, ...] = ()
    if not (count or auto or page or specs.flavor.get("hw:pmem")) and wishes.policy is CpuPolicy.SHARED:
        count = cells.count_listed(specs)  # Nova ignores such lists in silence; here they are a wish like any other
        wants_cells = bool(count)
    else:
        wants_cells = True
    if wants_cells:
        guest_cells = cells.parse_cells(
            specs, count=count or 1, ram_mb=request.flavor.ram_mb, dedicated=wishes.dedicated
        )
    wanted = devices.parse_devices(specs)
    iothreads = ours.parse_iothreads(specs, wishes.policy)
    cache_wishes, bandwidth_wishes = resctrl.parse_shares(specs)
    return GuestTopology(
        name=request.name,
        flavor=request.flavor.name,
        vcpus=request.flavor.vcpus,
        memory_kib=request.flavor.ram_mb * cells.KIB_PER_MIB,
        cells=guest_cells,
        cpu_policy=wishes.policy,
        thread_policy=wishes.thread_policy,
        idle_siblings=wishes.idle_siblings,
        emulator_policy=wishes.emulator_policy,
        realtime=wishes.realtime,
        page=page,
        locked=memory.parse_locked(specs, page) or bool(wishes.realtime),
        mempolicy=memory.parse_mempolicy(specs),
        topology=topology.parse_topology(specs),
        tune=_tune(specs),
        devices=wanted,
        pci_affinity=devices.parse_affinity(specs) if wanted else PciAffinity.LEGACY,
        host_cells=ours.parse_host_cells(specs, len(guest_cells)),
        l3=ours.parse_l3(specs),
        auto_cells=auto,
        iothreads=iothreads,
        prefer_fast=ours.parse_prefer_fast(specs),
        schedules=schedules.parse_schedules(specs, realtime=wishes.realtime, iothreads=iothreads),
        cache_wishes=cache_wishes,
        bandwidth_wishes=bandwidth_wishes,
    )


def check_request(request: Request) -> None:
    """Refuse whatever is malformed in a request that a user hands in, also what would not matter for placement."""
    parse_guest(request)
    devices.parse_affinity(Specs(request))


def _check_sizes(request: Request) -> None:
    flavor: Flavor = request.flavor
    for key, value, least, most in (
        ("vcpus", flavor.vcpus, 1, MOST_VCPUS),
        ("ram_mb", flavor.ram_mb, 1, MOST_RAM_MB),
        ("disk_gb", flavor.disk_gb, 0, MOST_DISK_GB),
        ("ephemeral_gb", flavor.ephemeral_gb, 0, MOST_DISK_GB),
        ("swap_mb", flavor.swap_mb, 0, MOST_RAM_MB),
    ):
        if not least <= value <= most:
            raise BadRequest(f"flavor.{key}", value, "is out of range", allowed=f"{least} to {most}")
    check_name(request.name)


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a guest."""
    if len(name) > MOST_NAME or any(char in "/\\<>'\"&" or not char.isprintable() for char in name):
        raise BadRequest("name", name, "is no name for a guest", allowed="printable, without / \\ < > & and quotes")


def _tune(specs: Specs) -> CpuTune:
    """``quota:cpu_*``; libvirt's own limits (formatdomain, CPU Tuning)."""
    values = {key: specs.flavor.get("quota:cpu_" + key) or None for key in ("shares", "period", "quota")}
    quota = values["quota"]
    return CpuTune(
        shares=whole_number("quota:cpu_shares", values["shares"], least=2, most=262144),
        period_us=whole_number("quota:cpu_period", values["period"], least=1000, most=1000000),
        quota_us=-1 if quota == "-1" else whole_number("quota:cpu_quota", quota, least=1000, most=17592186044415),
    )
