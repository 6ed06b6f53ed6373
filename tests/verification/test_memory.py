import msgspec
import pytest

from agent.core.observation import CellPages, GuestRam, ObservedMemory, RamBackend
from agent.core.placement import Placement
from agent.core.policy import MemPolicy
from agent.verification.memory import check_cells, find_memory_findings, find_unproven
from tests.verification.guests import DB, cell, codes, observed, verdict_of

GIB = 1 << 20


def ram(
    guest_cell: int | None, *pages: tuple[int, int, int], policy: str = "bind:0", by: str | None = "file"
) -> GuestRam:
    return GuestRam(
        backend=RamBackend(id=f"ram-node{guest_cell}", size_kib=GIB, guest_cell=guest_cell),
        identified_by=by,
        pages=tuple(CellPages(*one) for one in pages),
        policies=(policy,),
    )


def one_cell(mempolicy: MemPolicy | None, page_kib: int | None = None) -> Placement:
    return msgspec.structs.replace(DB, cells=(cell(0, 0, {0: "4", 1: "5"}, page_kib=page_kib),), mempolicy=mempolicy)


@pytest.mark.parametrize(
    ("mempolicy", "blocks", "ratio", "found"),
    [
        # everything where it belongs
        (MemPolicy.STRICT, [ram(0, (0, 4, 1000))], 1.0, []),
        # nothing touched yet: no ratio, nothing wrong
        (MemPolicy.STRICT, [ram(0)], None, []),
        # one page elsewhere under strict is one too many
        (MemPolicy.STRICT, [ram(0, (0, 4, 9999), (1, 4, 1))], 0.9999, ["pages-elsewhere"]),
        # the same under preferred is what preferred means
        (MemPolicy.PREFERRED, [ram(0, (0, 4, 9999), (1, 4, 1), policy="prefer:0")], 0.9999, []),
        (MemPolicy.PREFERRED, [ram(0, (0, 4, 80), (1, 4, 20), policy="prefer:0")], 0.8, ["pages-elsewhere"]),
        # restrictive binds by cgroup; its areas have no policy of their own
        (MemPolicy.RESTRICTIVE, [ram(0, (0, 4, 995), (1, 4, 5), policy="default")], 0.995, []),
        # a huge page weighs as much as the base pages that it is
        (MemPolicy.PREFERRED, [ram(0, (0, 2048, 1), (1, 4, 512), policy="prefer:0")], 0.5, ["pages-elsewhere"]),
        # strict memory whose area lost its policy
        (MemPolicy.STRICT, [ram(0, (0, 4, 5), policy="default")], 1.0, ["policy-differs"]),
        (MemPolicy.STRICT, [ram(0, (0, 4, 5), policy="bind:0-1")], 1.0, ["policy-differs"]),
        # without a policy nothing is demanded
        (None, [ram(0, (0, 4, 1), (1, 4, 9), policy="default")], 0.1, []),
        # a block and a hot-plugged module are one cell
        (MemPolicy.STRICT, [ram(0, (0, 4, 3)), ram(0, (1, 4, 1))], 0.75, ["pages-elsewhere"]),
    ],
)
def test_ratios_and_policies(
    mempolicy: MemPolicy | None, blocks: list[GuestRam], ratio: float | None, found: list[str]
) -> None:
    wanted = one_cell(mempolicy)
    checks = check_cells(wanted, ObservedMemory(sums=observed().memory.sums, ram=tuple(blocks)))  # type: ignore[union-attr]
    assert checks[0].local_ratio == ratio
    assert [finding.code for finding in find_memory_findings(wanted, "db", checks)] == found
    assert find_unproven(wanted, checks) == []


@pytest.mark.parametrize(
    ("wanted_kib", "pages", "found"),
    [
        (2048, [(0, 2048, 512)], []),
        (2048, [(0, 4, 512)], ["page-size-differs"]),
        (2048, [(0, 2048, 511), (0, 4, 512)], ["page-size-differs"]),
        (4, [(0, 4, 512)], []),
        (2048, [], []),
    ],
)
def test_page_sizes(wanted_kib: int, pages: list[tuple[int, int, int]], found: list[str]) -> None:
    wanted = one_cell(MemPolicy.STRICT, wanted_kib)
    checks = check_cells(wanted, ObservedMemory(sums=observed().memory.sums, ram=(ram(0, *pages),)))  # type: ignore[union-attr]
    assert [finding.code for finding in find_memory_findings(wanted, "db", checks)] == found


def test_memory_that_cannot_be_told_apart_is_not_proven() -> None:
    lost = ObservedMemory(sums=observed().memory.sums, ram=(ram(0, by=None), ram(1, by="order")))  # type: ignore[union-attr]
    checks = check_cells(DB, lost)
    assert (checks[0].ok, checks[0].resident_kib, checks[0].local_ratio) == (None, None, None)
    assert find_memory_findings(DB, "db", checks[:1]) == []
    assert len(find_unproven(DB, checks)) == 2


def test_the_recorded_guest_has_each_cell_by_itself_and_says_what_is_elsewhere() -> None:
    verdict = verdict_of(observed(), msgspec.structs.replace(DB, mempolicy=MemPolicy.STRICT))
    assert codes(verdict) == ["pages-elsewhere"]
    first, second = verdict.cells
    assert (first.local_ratio, second.local_ratio) == (1.0, 259000 / 260000)
    assert [(one.what, one.host_cell, one.kib) for one in verdict.elsewhere] == [("guest RAM of cell 1", 0, 4000)]
    assert verdict.memory is not None
    assert verdict.memory.cells[0].pages == 133012


def test_a_guest_that_floats_shows_its_pages_and_is_held_to_nothing() -> None:
    floating = msgspec.structs.replace(DB, cells=(), emulator=DB.emulator, mempolicy=None)
    (check,) = check_cells(floating, observed().memory)  # type: ignore[arg-type]
    assert (check.guest_cell, check.local_ratio, check.ok) == (None, None, True)
    assert check.resident_kib == 4 * (131082 + 260000)
