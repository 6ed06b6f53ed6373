"""Which pages are huge depends on the host: 64 KiB is a huge page beside 4 KiB, and the ordinary page of some hosts."""

from dataclasses import dataclass

import msgspec
import pytest

from agent.core.placement import Placement
from agent.core.request import Flavor, Request
from agent.core.topology import HostTopology, PagePool
from agent.core.usage import Usage
from agent.domain.document import parse_xml
from agent.domain.parse import parse_domain
from agent.domain.render import render_domain
from agent.placement import place
from tests.hosts import host


@dataclass(frozen=True)
class Row:
    shows: str
    pools: tuple[tuple[int, int], ...]
    wish: str
    page_kib: int
    huge: bool


X86 = ((4, 1 << 20), (2048, 512), (1048576, 2))
ARM = ((4, 1 << 20), (64, 1 << 12), (2048, 512))
POWER = ((64, 1 << 16), (16384, 64), (1048576, 2))
ROWS = (
    Row("x86: 4 KiB pages are ordinary", X86, "small", 4, False),
    Row("x86: the largest huge page that divides the memory", X86, "large", 1048576, True),
    Row("ARM with 4 KiB pages: 64 KiB pages are huge and have a pool", ARM, "64", 64, True),
    Row("POWER or ARM with 64 KiB pages: they are ordinary", POWER, "small", 64, False),
    Row("the same, asked for by size", POWER, "64", 64, False),
    Row("a 16 MiB page there is huge", POWER, "16384", 16384, True),
)


def host_with(pools: tuple[tuple[int, int], ...]) -> HostTopology:
    base = host("tiny")
    pages = tuple(PagePool(size, total, total) for size, total in pools)
    return msgspec.structs.replace(
        base, cells=tuple(msgspec.structs.replace(cell, pages=pages, memory_kib=8 << 20) for cell in base.cells)
    )


@pytest.mark.parametrize("row", ROWS, ids=[row.shows for row in ROWS])
def test_huge_pages_are_those_above_the_base_size_of_the_host(row: Row) -> None:
    asked = Flavor(vcpus=2, ram_mb=1024 if row.page_kib == 1048576 else 64, extra_specs={"hw:mem_page_size": row.wish})
    answer = place(host_with(row.pools), Usage(), Request(flavor=asked, name="pages"))
    assert isinstance(answer, Placement)
    (cell,) = answer.cells
    assert (cell.page_kib, cell.huge, cell.base_page_kib) == (row.page_kib, row.huge, row.pools[0][0])
    text = render_domain(answer)
    sizes = [page.get("size") for page in parse_xml(text).iterfind("memoryBacking/hugepages/page")]
    assert sizes == ([str(row.page_kib)] if row.huge else [])
    assert parse_domain(text) == answer
