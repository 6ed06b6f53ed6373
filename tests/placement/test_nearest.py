"""The smallest change that helps: one row a kind of trouble, and each change is true."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.claims import claim
from agent.core.cpuset import CpuSet
from agent.core.placement import Placement
from agent.core.request import Flavor, Request
from agent.core.topology import Device, HostTopology
from agent.core.usage import CellUsage, PageUse, Usage
from agent.inspection.synthetic import parse_synthetic
from agent.placement import place
from agent.placement.nearest import changes, nearest
from tests.hosts import host
from tests.placement import strategies
from tests.placement.test_invariants import accepted


def asked(vcpus: int, ram_mb: int, **specs: str) -> Request:
    keys = {key.replace("__", ":"): value for key, value in specs.items()}
    return Request(name="g", flavor=Flavor(vcpus, ram_mb, extra_specs={"hw:cpu_policy": "dedicated", **keys}))


def pinned(*cells: str) -> Usage:
    return Usage(tuple(CellUsage(number, pinned=CpuSet.parse(cpus)) for number, cpus in enumerate(cells)))


def counted(vcpus: int, ram_mb: int) -> Request:
    return Request(name="g", flavor=Flavor(vcpus, ram_mb, extra_specs={"resources:PCPU": str(vcpus)}))


def traits(vcpus: int, ram_mb: int) -> Request:
    wants = {"resources:PCPU": str(vcpus), "trait:HW_CPU_HYPERTHREADING": "required"}
    return Request(name="g", flavor=Flavor(vcpus, ram_mb, extra_specs={**wants}))


SPELLED = {"hw__numa_nodes": "2", "hw__numa_cpus.0": "0-11", "hw__numa_cpus.1": "12-23"}
SPELLED |= {"hw__numa_mem.0": "512", "hw__numa_mem.1": "512"}
HALVES = pinned("0-17", "18-35")
"""One thread of every core of osdev-01."""

KNOWN: list[tuple[str, Usage, Request, str, str]] = [
    ("osdev-01", HALVES, asked(8, 1024, hw__cpu_thread_policy="isolate"), "hw:cpu_thread_policy=prefer",
     "no whole core is free, but 18 threads a cell are"),
    ("osdev-01", HALVES, asked(8, 1024, hw__cpu_thread_policy="require"), "hw:cpu_thread_policy=prefer",
     "no two siblings are free"),
    ("osdev-01", HALVES, asked(18, 1024, hw__emulator_threads_policy="isolate"), "hw:emulator_threads_policy=share",
     "18 vCPUs fit, the emulator's pCPU does not"),
    ("huge-pages", Usage((CellUsage(0, pages=(PageUse(1048576, 8),)), CellUsage(1, pages=(PageUse(1048576, 8),)))),
     asked(4, 4096, hw__mem_page_size="1GB"), "hw:mem_page_size=2048", "all 1 GiB pages are taken"),
    ("osdev-01", Usage(), asked(40, 4096), "hw:numa_nodes=2", "40 vCPUs do not fit on a cell of 36"),
    ("osdev-01", Usage(), asked(3, 3072, hw__numa_nodes="3"), "hw:numa_nodes=1", "the host has two cells"),
    ("osdev-01", pinned("0-17,36-53"), asked(4, 1024, cw__host_cells="0"), "no cw:host_cells", "that cell is full"),
    ("tiny", pinned("0-1"), asked(3, 1024), "free pCPUs 0", "four pCPUs, two of them owned: one must go"),
    ("tiny", Usage(), asked(5, 1024), "vcpus=4", "the host has four pCPUs"),
    ("tiny", Usage(), counted(5, 1024), "vcpus=4, resources:PCPU=4", "and resources:PCPU says so too"),
    ("no-smt", Usage(), asked(24, 1024, **SPELLED), "vcpus=16, hw:numa_nodes=2, no hw:numa_cpus.*, no hw:numa_mem.*",
     "both guest cells of 12 become as small as cells of 8"),
    ("osdev-01", HALVES, traits(8, 1024), "hw:cpu_thread_policy=prefer, no trait:HW_CPU_HYPERTHREADING",
     "one may not say both"),
    ("tiny", Usage(), asked(2, 5 * 1024), "ram_mb=4096", "the host has 4 GiB"),
    ("tiny", Usage(), asked(5, 5 * 1024), "vcpus=4; ram_mb=4096", "neither pCPUs nor memory suffice"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "usage", "request_", "change", "why"), KNOWN, ids=[row[4] for row in KNOWN])
def test_nearest(name: str, usage: Usage, request_: Request, change: str, why: str) -> None:
    found = nearest(host(name), usage, request_)
    assert found is not None
    assert found.change == change, why
    assert found.message.startswith("fits")


UNEVEN = {"hw__numa_nodes": "2", "hw__numa_cpus.0": "0-37", "hw__numa_cpus.1": "38-39"}
UNEVEN |= {"hw__numa_mem.0": "1024", "hw__numa_mem.1": "1024"}


def test_uneven_guest_cells_are_made_even_before_there_are_more_of_them() -> None:
    found = nearest(host("osdev-01"), Usage(), asked(40, 2048, **UNEVEN))
    assert found is not None
    assert (found.change, found.message) == (
        "hw:numa_nodes=2, no hw:numa_cpus.*, no hw:numa_mem.*",
        "fits on cells 0, 1 with hw:numa_nodes=2 and even guest cells",
    )


def cards() -> HostTopology:
    """Two cells with a card on the first, which is full."""
    plain = host("no-smt")
    first = msgspec.structs.replace(plain.cells[0], devices=(Device("net", "eno1", "0000:18:00.0"),))
    return msgspec.structs.replace(plain, cells=(first, *plain.cells[1:]))


@pytest.mark.parametrize(
    ("alias", "policy", "change"),
    [
        ("net:1", "required", "hw:pci_numa_affinity_policy=preferred"),
        ("net:2", "preferred", "pci_passthrough:alias=net:1"),
        ("gpu:1", "preferred", None),
    ],
)
def test_devices_farther_away_or_fewer(alias: str, policy: str, change: str | None) -> None:
    full = cards()
    usage = Usage((CellUsage(0, full.cells[0].cpus),))
    wish = asked(2, 512, hw__pci_numa_affinity_policy=policy, pci_passthrough__alias=alias)
    found = nearest(full, usage, wish)
    assert (found.change if found else None) == change


def test_a_wish_about_l3_groups_is_given_up_and_known_guests_count() -> None:
    ccx = host("ccx")
    gone = nearest(ccx, Usage(), asked(2, 512, cw__l3="same:db"))
    assert gone is not None
    assert gone.change == "no cw:l3"
    db = place(ccx, Usage(), msgspec.structs.replace(asked(2, 512), name="db"))
    assert isinstance(db, Placement)
    assert nearest(ccx, claim(Usage(), db), asked(2, 512, cw__l3="same:db"), guests=(db,)) is None


def test_more_huge_pages_are_counted_exactly() -> None:
    full = tuple(CellUsage(number, pages=(PageUse(2048, 4096 - 100 * number),)) for number in (0, 1))
    found = list(changes(host("huge-pages"), Usage(full), asked(2, 1024, hw__mem_page_size="2MB")))
    assert "cell 1: 2048 KiB pages +412" in [change.change for change in found], found


def placed(name: str, usage: Usage, request: Request) -> tuple[Usage, Placement]:
    answer = place(host(name), usage, msgspec.structs.replace(request, name=f"vm{len(usage.cells)}{request.name}"))
    assert isinstance(answer, Placement)
    return claim(usage, answer), answer


def test_a_known_guest_that_could_move_is_named() -> None:
    """Twelve of sixteen pCPUs are wanted on a cell: each cell has a guest of six, and both fit on one."""
    usage, guests = Usage(), []
    for cell in ("0", "1"):
        usage, guest = placed("no-smt-16", usage, asked(6, 1024, cw__host_cells=cell))
        guests.append(guest)
    found = {
        change.change: change.message
        for change in changes(host("no-smt-16"), usage, asked(12, 1024), guests=tuple(guests))
    }
    assert f"move {guests[0].name}: cell 0 to 1" in found
    assert next(message for change, message in found.items() if change.startswith("free")).endswith(
        f"which guest {guests[0].name} owns"
    )


def test_a_guest_of_two_cells_may_need_pages_and_pcpus_on_both() -> None:
    wide = {"hw__numa_nodes": "2", "hw__mem_page_size": "2MB"}
    full = tuple(CellUsage(number, pages=(PageUse(2048, 4096 - 100 * number),)) for number in (0, 1))
    found = changes(host("huge-pages"), Usage(full), asked(2, 1024, **wide))
    assert "cell 0: 2048 KiB pages +256; cell 1: 2048 KiB pages +156" in [change.change for change in found]
    found = changes(host("no-smt"), pinned("0-5", "8-13"), asked(6, 512, hw__numa_nodes="2"))
    assert ("free pCPUs 5,8", "fits on cells 0, 1 with pCPUs 5,8 of cells 0, 1 freed") in [
        (change.change, change.message) for change in found
    ]


def test_a_guest_that_names_no_page_size_may_be_told_one() -> None:
    """All but 1 GiB of each cell is in 2 MiB pages."""
    tight = parse_synthetic("cell:2 core:4 memory:8GiB pages:2M=3584")
    found = nearest(tight, Usage(), asked(2, 2048))
    assert found is not None
    assert found.change == "hw:mem_page_size=2048"


def test_a_request_that_fits_needs_no_change() -> None:
    assert nearest(host("tiny"), Usage(), asked(2, 1024)) is None


QUICK: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


@settings(max_examples=60, **QUICK)
@given(st.data())
def test_there_is_a_change_for_nearly_every_misfit_and_it_never_fails(data: st.DataObject) -> None:
    random_host = data.draw(strategies.hosts())
    usage, limits = data.draw(strategies.usages(random_host)), data.draw(strategies.limits(random_host))
    request = data.draw(strategies.requests())
    fits = place(random_host, usage, request, limits).fits
    found = list(changes(random_host, usage, request, limits))
    assert not (fits and found)
    assert len({change.change for change in found}) == len(found)


def changed(request: Request, change: str) -> Request:
    """The request with a change made as its text says, by somebody who knows no more."""
    flavor, specs, properties = request.flavor, dict(request.flavor.extra_specs), dict(request.image.properties)
    for step in change.replace("; ", ", ").split(", "):
        key, _, value = step.partition("=")
        if step.startswith("no "):
            name = step[3:].removesuffix("*")
            for held in (specs, properties):
                for one in [one for one in held if one == name or (name.endswith(".") and one.startswith(name))]:
                    del held[one]
        elif key in ("vcpus", "ram_mb"):
            flavor = msgspec.structs.replace(flavor, **{key: int(value)})
        else:
            specs[key] = value
    image = msgspec.structs.replace(request.image, properties=properties)
    return msgspec.structs.replace(request, flavor=msgspec.structs.replace(flavor, extra_specs=specs), image=image)


@settings(max_examples=100, **QUICK)
@given(st.integers(0, 1 << 32))
def test_a_request_changed_as_the_text_says_fits(seed: int) -> None:
    random_host, usage, request, limits = accepted(seed)
    for found in changes(random_host, usage, request, limits):
        if not any(words in found.change for words in ("free pCPUs", "KiB pages", "move ")):
            assert place(random_host, usage, changed(request, found.change), limits).fits, found
