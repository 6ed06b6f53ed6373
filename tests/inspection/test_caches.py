"""Caches of cores that are not all alike: few files are read, and still none is told that is not there."""

from agent.core.cpuset import CpuSet
from agent.inspection.archive import Archive
from agent.inspection.host import read_host
from tests.inspection.trees import CPU

L1 = (1, "Data", 32)
L2 = (2, "Unified", 512)
L3 = (3, "Unified", 4096)


def host_of(caches: list[list[tuple[int, str, int]]], capacities: list[int] | None = None) -> Archive:
    """A core a list: its caches by index; the L3 is everybody's."""
    files = {f"{CPU}/online": f"0-{len(caches) - 1}\n"}
    for cpu, mine in enumerate(caches):
        files[f"{CPU}/cpu{cpu}/topology/thread_siblings_list"] = f"{cpu}\n"
        if capacities:
            files[f"{CPU}/cpu{cpu}/cpu_capacity"] = f"{capacities[cpu]}\n"
        for index, (level, kind, size) in enumerate(mine):
            folder = f"{CPU}/cpu{cpu}/cache/index{index}"
            everybody = (1 << len(caches)) - 1
            files[f"{folder}/level"], files[f"{folder}/type"], files[f"{folder}/size"] = f"{level}", kind, f"{size}K"
            files[f"{folder}/shared_cpu_map"] = f"{everybody if level == 3 else 1 << cpu:08x}\n"
    return Archive("made", {name: text.encode() for name, text in files.items()}, {}, set())


def test_small_cores_without_an_l2_have_the_l3_in_its_place() -> None:
    small, large = [L1, L3], [L1, L2, L3]
    host = read_host(host_of([small, small, small, large, large, large], [400, 400, 400, 1024, 1024, 1024]))
    assert [(cache.level, cache.size_kib, str(cache.cpus)) for cache in host.cells[0].caches] == [
        (3, 4096, "0-5"),
        *((2, 512, str(cpu)) for cpu in (3, 4, 5)),
        *((1, 32, str(cpu)) for cpu in range(6)),
    ]


def test_cores_of_one_kind_that_differ_are_all_read() -> None:
    """Two makes of socket: the second has an L2 where the first has its instruction cache."""
    code = (1, "Instruction", 32)
    first, second = [L1, code, L3], [L1, L2, L3]
    host = read_host(host_of([first] * 3 + [second] * 3))
    assert sorted(
        (cache.level, cache.type, str(cache.cpus)) for cache in host.cells[0].caches if cache.cpus < host.online
    ) == [
        *((1, "Data", str(cpu)) for cpu in range(6)),
        *((1, "Instruction", str(cpu)) for cpu in range(3)),
        *((2, "Unified", str(cpu)) for cpu in range(3, 6)),
    ]


def test_a_core_whose_sibling_is_offline_says_nothing_of_whole_cores() -> None:
    """AMD family 15h: the threads of a core share all but their L1; here every core that is sampled has one thread."""
    archive = host_of([[L1, L3]] * 7)
    for cpus in ("1-2", "4-5"):
        for cpu in CpuSet.parse(cpus):
            archive.files[f"{CPU}/cpu{cpu}/topology/thread_siblings_list"] = cpus.encode()
    caches = read_host(archive).cells[0].caches
    assert [str(cache.cpus) for cache in caches] == ["0-6", *map(str, range(7))]
