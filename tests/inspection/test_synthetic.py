"""Hosts from one string: what the words make, and which words are refused."""

import pytest

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.topology import PagePool
from agent.inspection.synthetic import parse_synthetic


def test_every_word_shows_in_the_host() -> None:
    host = parse_synthetic(
        "socket:2 cell:1 die:2 l3:2 core:2 thread:2 memory:8GiB,4GiB pages:2M=512,1G=1 distance:10/31,31/10 "
        "numbering:near dedicated:4-15 shared:0-3 name:osdev-01"
    )
    assert (host.hostname, host.sockets, host.dies, host.cores, host.threads_per_core) == ("osdev-01", 2, 4, 16, 2)
    assert [str(cell.cpus) for cell in host.cells] == ["0-15", "16-31"]
    assert [cell.memory_kib for cell in host.cells] == [8 << 20, 4 << 20]
    assert host.cells[0].huge_pools() == (PagePool(2048, 512, 512), PagePool(1 << 20, 1, 1))
    assert host.cells[1].distances == {0: 31, 1: 10}
    assert [len(cell.caches) for cell in host.cells] == [4, 4]
    assert host.cells[0].cores[1].cpus == CpuSet([2, 3])
    assert (host.dedicated_set, host.shared_set) == (CpuSet.parse("4-15"), CpuSet.parse("0-3"))


def test_siblings_are_far_apart_where_nothing_else_is_said() -> None:
    assert [str(core.cpus) for core in parse_synthetic("core:2 thread:2").cells[0].cores] == ["0,2", "1,3"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing described"),
        ("cores:2", "'cores:2'; allowed: WORD:VALUE with socket, cell"),
        ("core", "'core'; allowed"),
        ("core:0", "'core:0': not a count; allowed: 1 to 8192"),
        ("core:²", "not a count"),
        ("socket:100 core:100", "10000 pCPUs; allowed: up to 8192"),
        ("core:2 pages:2M=1 pages:1G=1", "pages is said twice; allowed: once, pages as pages:2M=512,1G=4"),
        ("core:2 pages:2M=²", "pages:2M=²; allowed: SIZE=COUNT"),
        ("core:2 pages:1G=17", "do not fit into cell 0"),
        ("cell:2 core:2 memory:1G,2G,3G", "3 sizes for 2 cells; allowed: 1 or 2"),
        ("core:2 distance:²", "distance"),
        ("core:2 numbering:odd", "numbering"),
        ("core:2 dedicated:0-9", "dedicated"),
    ],
)
def test_a_wrong_word_is_named(text: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_synthetic(text)
    assert said in str(refused.value)
