import os
import random
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import BadInput
from agent.core.observation import CellPages
from agent.inspection.files import Root
from agent.inspection.numa_maps import parse_numa_maps, read_numa_maps, read_numbers, sum_numa_maps
from agent.inspection.numa_sums import KEYS, PIECE, cut_pieces, read_pieces, sum_areas
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


@pytest.mark.parametrize("words", ["anon=007 N0=1", "anon=1 N0=", "anon=1 N0=x", "anon=1 Nx=1"])
def test_numbers_that_no_kernel_writes_are_refused(words: str) -> None:
    with pytest.raises(BadInput, match="not the numbers of a kernel"):
        sum_numa_maps(f"7f00 default {words} kernelpagesize_kB=4\n".encode())


def sum_pages(pieces: Iterable[bytes]) -> dict[tuple[int, int], int]:
    """As a program does that imports nothing else."""
    return sum_areas(pieces)[0]


def read_pages(pieces: Iterable[bytes]) -> dict[tuple[int, int], int]:
    """As the agent does."""
    return sum_areas(pieces, read=read_numbers)[0]


ODD_NAMES = [
    "/N0=7",
    "/N",
    "/N0=7N1=8",
    "/aN1=5=6",
    "/kernelpagesize_kB=2048",
    "/a\rN0=9\\012N",
    "/N0=7pages",
    "/N0=7,1=2",
]
LONG_NAMES = [f"/N{rest:x<{length}}" for rest in ("", "0=7", "0=7,1=2") for length in range(18, 24)]
LONG_NUMBERS = [f"/N{cell}={1:0{length}}" for cell in (0, 10**9) for length in range(8, 22)]
"""About as long as the words that are counted."""


@pytest.mark.parametrize("name", ODD_NAMES + LONG_NAMES + LONG_NUMBERS + [f"/N0={8 * 10**n}" for n in range(14, 20)])
@pytest.mark.parametrize(
    "pages", ["", " mapped=3 N0=1 N1=2 kernelpagesize_kB=4", " huge dirty=3 N1=3 kernelpagesize_kB=2048"]
)
def test_what_a_file_is_called_changes_no_sum(name: str, pages: str) -> None:
    lines = [
        f"7f00 default file={{}}{pages}",
        "7f01 default heap anon=1 dirty=1 N0=1 kernelpagesize_kB=4",
        "7f02 default",
    ]
    odd, plain = ("\n".join([*lines, ""]).format(one).encode() for one in (name, "/usr/lib/x.so"))
    assert sum_numa_maps(odd) == sum_numa_maps(plain)
    assert sum_pages([odd]) == sum_pages([plain])
    assert [area.pages for area in parse_numa_maps(odd)] == [area.pages for area in parse_numa_maps(plain)]


def test_words_that_no_kernel_has_today_change_no_sum() -> None:
    data = (
        b"7f00 default anon=1 N0=1 new=3 kernelpagesize_kB=4 newer\n7f01 default anon=2 N0=2 N1=1 kernelpagesize_kB=4\n"
    )
    assert sum_pages([data]) == {(0, 4): 3, (1, 4): 1}


def test_every_number_of_a_57_bit_address_space_is_whole() -> None:
    most = 1 << 45
    data = f"7f00 default anon={most} dirty={most} N9={most} N1023={most} kernelpagesize_kB=4\n".encode()
    assert sum_pages([data]) == read_pages([data]) == {(9, 4): most, (1023, 4): most}


def large_file() -> bytes:
    """Some pieces long: huge pages, base pages, and areas without pages in each."""
    chance = random.Random(7)
    lines = []
    for number in range(9000):
        page_kib = chance.choice([4, 4, 4, 4, 2048] if number < 4500 else [4])
        counts = {cell: chance.randrange(1, 1 << chance.randrange(1, 40)) for cell in (0, 1, 10)}
        cells = "".join(f" N{cell}={count}" for cell, count in counts.items() if chance.random() < 0.7) or " N3=1"
        pages = f" anon=5 dirty=7 mapmax={number} active=0{cells} kernelpagesize_kB={page_kib}"
        lines.append(f"{number << 12:x} bind:0 file=/N{number}{pages if chance.random() < 0.8 else ''}\n")
    return "".join(lines).encode()


def plain_sums(data: bytes) -> dict[tuple[int, int], int]:
    """Area by area."""
    plain: dict[tuple[int, int], int] = {}
    for area in parse_numa_maps(data):
        for cell, pages in area.pages.items():
            key = cell, area.page_kib or 0
            plain[key] = plain.get(key, 0) + pages
    return plain


def test_a_large_file_is_summed_in_pieces(tmp_path: Path) -> None:
    data = large_file()
    pieces = list(cut_pieces(data))
    assert len(pieces) > 3
    assert b"".join(pieces) == data
    assert all(piece.endswith(b"\n") and len(piece) <= PIECE for piece in pieces)
    assert sum_pages(pieces) == read_pages(pieces) == plain_sums(data)
    assert (
        sum_areas(pieces, keys=KEYS) == sum_areas([data], keys=KEYS) == sum_areas(pieces, keys=KEYS, read=read_numbers)
    )
    file = tmp_path / "numa_maps"
    file.write_bytes(data)
    read = list(read_pieces(str(file)))
    assert b"".join(read) == data
    assert all(piece.endswith(b"\n") for piece in read[:-1])
    assert max(map(len, read)) < 3 * PIECE


def test_a_file_that_is_answered_by_the_page_is_read_whole(tmp_path: Path) -> None:
    """Kernel files answer a page at most; a pipe that is filled by less than a page stands for one."""
    data = large_file()
    pipe = tmp_path / "numa_maps"
    os.mkfifo(pipe)

    def fill() -> None:
        with pipe.open("wb", buffering=0) as end:
            for start in range(0, len(data), 4000):
                end.write(data[start : start + 4000])

    writer = threading.Thread(target=fill, daemon=True)
    writer.start()
    read = list(read_pieces(str(pipe)))
    writer.join()
    assert b"".join(read) == data
    assert all(piece.endswith(b"\n") for piece in read[:-1])
    assert sum_pages(read) == plain_sums(data)


def test_this_process_is_summed_alike_by_area_and_by_word() -> None:
    data = read_numa_maps(Root(), os.getpid()) or b""  # a kernel without NUMA has no such file
    pages = sum_pages(cut_pieces(data))
    assert pages == plain_sums(data)
    assert bool(pages) == bool(data)


def test_a_line_that_is_none_is_named() -> None:
    with pytest.raises(BadInput, match="line 2"):
        parse_numa_maps(b"7f00 default\n\x00\xff\n")


BEFORE, CELLS = ("anon", "dirty", "mapped", "mapmax", "active"), ("N0", "N1", "N17")
"""The order of show_numa_map, and what has a page size has a cell."""


def lines_on(*, most_cells: int) -> st.SearchStrategy[str]:
    return st.builds(
        lambda address, policy, file, counts, cells, size: (
            f"{address:x} {policy}{file}"
            + "".join(f" {key}={counts[key]}" for key in BEFORE if key in counts)
            + "".join(f" {key}={cells[key]}" for key in CELLS if key in cells)
            + f" kernelpagesize_kB={size}"
        ),
        st.integers(0, 1 << 47),
        st.sampled_from(["default", "bind:0", "prefer (many):0-1", "interleave:0-3"]),
        st.sampled_from(["", " heap", " stack", " file=/usr/lib/x.so", " file=/dev/hugepages/x huge"]),
        st.dictionaries(st.sampled_from(BEFORE), st.integers(1, 1 << 33)),
        st.dictionaries(st.sampled_from(CELLS), st.integers(1, 1 << 33), min_size=1, max_size=most_cells),
        st.sampled_from([4, 64, 2048, 1048576]),
    )


LINE = lines_on(most_cells=len(CELLS))


@given(st.lists(LINE, max_size=12))
def test_the_fast_sum_is_the_sum_over_the_areas(lines: list[str]) -> None:
    data = "\n".join(lines).encode()
    sums = sum_numa_maps(data)
    assert {(one.host_cell, one.page_kib): one.pages for one in sums.cells} == plain_sums(data)
    assert sum_pages([data]) == read_pages([data]) == sum_pages(cut_pieces(data)) == plain_sums(data)
    words = [dict(word.partition("=")[::2] for word in line.split()) for line in lines]
    assert sums.anon_kib == sum(int(one.get("anon", 0)) * int(one["kernelpagesize_kB"]) for one in words)
    assert sums.mapmax == max((int(one.get("mapmax", 0)) for one in words), default=0)


@given(
    st.lists(lines_on(most_cells=1), max_size=12),
    st.sampled_from(["", "7f00 default", "7f00 default heap anon=1 N0=1 pages=3 kernelpagesize_kB=4"]),
)
def test_areas_on_one_cell_each_are_read_as_they_are(lines: list[str], another: str) -> None:
    """Those of one page size, and of no words that kernels do not have today, together."""
    data = "\n".join([*lines, another, ""]).encode()
    assert read_pages([data]) == sum_pages([data]) == plain_sums(data)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"7f00 default anon=12 N1=12 kernelpagesize_kB=4\n7f01 default\n", 1),
        (b"7f02 default anon=3 N0=1 N1=2 kernelpagesize_kB=4\n", 2),
        (b"7f03 default anon=9999999999 N1=9999999999 kernelpagesize_kB=4\n", 1),
        (b"7f04 default anon=10000000000 N1=10000000000 kernelpagesize_kB=4\n", 0),  # too long
        (b"7f05 default file=/LC_NAME mapped=5 N0=5 kernelpagesize_kB=4\n", 0),
        (b"7f06 default file=/LC_NAME\n7f07 default anon=1 N0=1 kernelpagesize_kB=4\n", 0),
        (b"7f08 default anon=3 N0=1 new=2 kernelpagesize_kB=4\n", 0),
        (HUGE + b"7f09 default anon=1 N0=1 kernelpagesize_kB=4\n", 0),
    ],
)
def test_words_are_read_together_where_they_can_be(line: bytes, words: int) -> None:
    """All of a piece of one page size, with no N in a file's name; else each is read on its own."""
    taken: list[int] = []

    def read(text: bytes) -> list[int]:
        taken.append(len(numbers := read_numbers(text)))
        return numbers

    for times in 1, 3:
        taken.clear()
        assert sum_areas([line * times], read=read)[0] == sum_pages([line * times]) == plain_sums(line * times)
        assert taken == ([2 * words * times] if words else [])


@pytest.mark.parametrize(
    "word", ["N0=", "N=1", "Nx=1", "N0=x", "N0=-1", "N0=1.0", "N0=+1", "N0=1,N1=2", "N0=1\t", "N0=1\n"]
)
def test_pages_that_no_kernel_writes_are_refused(word: str) -> None:
    """Beside an area that is right, and alone."""
    for other in "", "7f01 default anon=1 N0=1 kernelpagesize_kB=4\n":
        data = f"7f00 default anon=1 {word} kernelpagesize_kB=4\n{other}".encode()
        for read in None, read_numbers:
            with pytest.raises(ValueError, match="N"):
                sum_areas([data], read=read)


@given(st.text("N017=,kernlZ_", max_size=30), st.sampled_from(["", " mapped=7 N0=3 N1=4 kernelpagesize_kB=4"]))
def test_no_name_is_taken_for_pages(name: str, pages: str) -> None:
    odd, plain = (
        [f"7f00 default file=/{one}{pages}\n7f01 default anon=1 N0=1 kernelpagesize_kB=4\n".encode()]
        for one in (name, "usr/lib/x.so")
    )
    assert sum_pages(odd) == read_pages(odd) == sum_pages(plain)


@given(st.lists(LINE, max_size=4), st.sampled_from([" shared=3", " migrate", " N3=x"]))
def test_a_word_that_no_kernel_has_today_changes_nothing_else(lines: list[str], word: str) -> None:
    """Then lines are read word by word; in the kernel's own order they are read by one search."""
    data = "\n".join(lines).encode()
    odd = "\n".join([*lines, f"7f00 default{word}"]).encode()
    assert parse_numa_maps(odd)[:-1] == parse_numa_maps(data)
