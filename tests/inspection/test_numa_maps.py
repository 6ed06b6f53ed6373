import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import BadInput
from agent.core.observation import CellPages
from agent.inspection.numa_maps import parse_numa_maps, sum_numa_maps
from agent.inspection.numa_sums import sum_areas
from tests.inspection.qemu import NUMA_MAPS

HUGE = (
    b"2aaaaac00000 bind:1 file=/dev/hugepages/libvirt/qemu/1-db/ram-node1\\040(deleted) huge dirty=512 N1=512"
    b" kernelpagesize_kB=2048\n"
)


def test_sums_are_by_cell_and_page_size() -> None:
    sums = sum_numa_maps(NUMA_MAPS.encode() + HUGE)
    assert sums.cells == (
        CellPages(0, 4, 900 + 1000 + 131072 + 10 + 30),
        CellPages(1, 4, 259000 + 3),
        CellPages(1, 2048, 512),
    )
    assert sums.anon_kib == 4 * (260000 + 131072 + 10 + 33)
    assert sums.dirty_kib == sums.anon_kib + 512 * 2048
    assert sums.mapped_kib == 3600
    assert sums.active_kib == 4 * 880
    assert sums.mapmax == 2


def test_a_process_without_pages_sums_to_nothing() -> None:
    assert sum_numa_maps(b"7f00d0021000 default\n").cells == ()
    assert sum_numa_maps(b"").cells == ()


@pytest.mark.parametrize(
    ("line", "policy", "what"),
    [
        (b"7f00 default heap anon=1 N0=1 kernelpagesize_kB=4", "default", "heap"),
        (b"7f00 prefer (many):0-1 anon=1 N0=1 kernelpagesize_kB=4", "prefer (many):0-1", "anonymous"),
        (b"7f00 weighted interleave:0,2 stack", "weighted interleave:0,2", "stack"),
        (b"7f00 bind=static:3 file=/a\\040b\\012c mapped=1 N3=1 kernelpagesize_kB=4", "bind=static:3", "/a b\nc"),
        (b"7f00 local file=/N0=7 mapped=1 N0=1 kernelpagesize_kB=4", "local", "/N0=7"),
    ],
)
def test_policies_and_files_of_every_spelling(line: bytes, policy: str, what: str) -> None:
    (area,) = parse_numa_maps(line)
    assert (area.address, area.policy, area.what) == (0x7F00, policy, what)


def test_huge_pages_keep_their_size() -> None:
    (area,) = parse_numa_maps(HUGE)
    assert (area.huge, area.page_kib, area.pages) == (True, 2048, {1: 512})
    assert area.what.endswith("ram-node1 (deleted)")


def test_numbers_that_no_kernel_writes_are_refused() -> None:
    with pytest.raises(BadInput, match="not the numbers of a kernel"):
        sum_numa_maps(b"7f00 default anon=1 N0=007 kernelpagesize_kB=4\n")


def test_a_line_that_is_none_is_named() -> None:
    with pytest.raises(BadInput, match="line 2"):
        parse_numa_maps(b"7f00 default\n\x00\xff\n")


LINE = st.builds(
    lambda address, policy, file, counts, size: (
        f"{address:x} {policy}{file}"
        + "".join(f" {key}={value}" for key, value in counts.items())
        + f" kernelpagesize_kB={size}"
    ),
    st.integers(0, 1 << 47),
    st.sampled_from(["default", "bind:0", "prefer (many):0-1", "interleave:0-3"]),
    st.sampled_from(["", " heap", " stack", " file=/usr/lib/x.so", " file=/dev/hugepages/x huge"]),
    st.dictionaries(
        st.sampled_from(["anon", "dirty", "mapped", "mapmax", "active", "N0", "N1", "N17"]),
        st.integers(1, 1 << 33),
        min_size=1,
    ),
    st.sampled_from([4, 64, 2048, 1048576]),
)


@given(st.lists(LINE, max_size=12))
def test_the_fast_sum_is_the_sum_over_the_areas(lines: list[str]) -> None:
    data = "\n".join(lines).encode()
    plain: dict[tuple[int, int], int] = {}
    areas = parse_numa_maps(data)
    for area in areas:
        for cell, pages in area.pages.items():
            key = cell, area.page_kib or 0
            plain[key] = plain.get(key, 0) + pages
    sums = sum_numa_maps(data)
    assert {(one.host_cell, one.page_kib): one.pages for one in sums.cells} == plain
    pages, _ = sum_areas(data, keys=())
    assert tuple(CellPages(*key, count) for key, count in sorted(pages.items())) == sums.cells
    words = [dict(word.partition("=")[::2] for word in line.split()) for line in lines]
    assert sums.anon_kib == sum(int(one.get("anon", 0)) * int(one["kernelpagesize_kB"]) for one in words)
    assert sums.mapmax == max((int(one.get("mapmax", 0)) for one in words), default=0)


@given(st.lists(LINE, max_size=4), st.sampled_from([" shared=3", " migrate", " N3=x"]))
def test_a_word_that_no_kernel_has_today_changes_nothing_else(lines: list[str], word: str) -> None:
    """Then lines are read word by word; in the kernel's own order they are read by one search."""
    data = "\n".join(lines).encode()
    odd = "\n".join([*lines, f"7f00 default{word}"]).encode()
    assert parse_numa_maps(odd)[:-1] == parse_numa_maps(data)
