import pytest

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.observation import CellPages, RamBackend
from agent.inspection.guest_ram import match_ram, parse_maps, parse_ram
from agent.inspection.numa_maps import parse_numa_maps
from tests.inspection.qemu import COMMAND_LINE, MAPS, NUMA_MAPS


def words(*options: str) -> bytes:
    return "\0".join(["qemu", *options, ""]).encode()


def test_json_options_name_blocks_and_guest_cells() -> None:
    first, second = parse_ram(COMMAND_LINE.encode())
    assert (first.id, first.size_kib, first.guest_cell, first.policy) == ("ram-node0", 1 << 20, 0, "bind")
    assert (second.id, second.guest_cell, second.host_cells) == ("ram-node1", 1, CpuSet([1]))


def test_older_options_are_key_and_value() -> None:
    line = words(
        "-object",
        "memory-backend-file,id=ram-node0,mem-path=/dev/hugepages/a,,b,share=on,size=512M,host-nodes=0,host-nodes=2,"
        "policy=interleave",
        *("-numa", "node,nodeid=3,cpus=0-1,memdev=ram-node0"),
    )
    (block,) = parse_ram(line)
    assert (block.size_kib, block.guest_cell, block.policy) == (512 << 10, 3, "interleave")
    assert (block.host_cells, block.path) == (CpuSet([0, 2]), "/dev/hugepages/a,b")


@pytest.mark.parametrize(("size", "kib"), [("64", 65536), ("size=65536k,slots=4", 65536), ("2G", 2 << 20)])
def test_a_guest_without_backends_has_the_memory_of_its_m_option(size: str, kib: int) -> None:
    assert parse_ram(words("-m", size)) == (RamBackend(id="pc.ram", size_kib=kib),)


def test_a_memory_module_belongs_to_the_cell_of_its_device() -> None:
    line = words(
        *("-object", '{"qom-type":"memory-backend-ram","id":"memdimm0","size":536870912}'),
        *("-device", '{"driver":"pc-dimm","node":1,"memdev":"memdimm0","id":"dimm0"}'),
    )
    assert parse_ram(line)[0].guest_cell == 1


def test_a_command_line_that_is_no_qemu_has_no_ram() -> None:
    assert parse_ram(b"") == ()
    assert parse_ram(words("-object", "{broken", "-m", "much")) == ()


def test_blocks_are_found_by_size_and_policy_even_when_the_kernel_split_them() -> None:
    areas = parse_numa_maps(NUMA_MAPS.encode())
    first, second = match_ram(parse_ram(COMMAND_LINE.encode()), parse_maps(MAPS.encode()), areas)
    assert (first.identified_by, second.identified_by) == ("size and policy", "size and policy")
    assert first.addresses == (0x7F0080000000, 0x7F00A0000000)
    assert first.pages == (CellPages(0, 4, 131082),)
    assert second.pages == (CellPages(0, 4, 1000), CellPages(1, 4, 259000))


def test_anonymous_memory_right_below_a_block_is_not_part_of_it() -> None:
    block = parse_ram(words("-object", "memory-backend-ram,id=ram-node0,size=1M,host-nodes=1,policy=bind"))
    maps = parse_maps(
        b"7f0000000000-7f0000010000 rw-p 00000000 00:00 0 \n7f0000010000-7f0000110000 rw-p 00000000 00:00 0 \n"
    )
    areas = parse_numa_maps(
        b"7f0000000000 default anon=2 dirty=2 N0=2 kernelpagesize_kB=4\n"
        b"7f0000010000 bind:1 anon=9 N1=9 kernelpagesize_kB=4\n"
    )
    (found,) = match_ram(block, maps, areas)
    assert (found.identified_by, found.addresses) == ("size and policy", (0x7F0000010000,))


def test_blocks_that_are_alike_are_told_by_order_and_that_is_said() -> None:
    alike = [RamBackend(id=f"ram-node{cell}", size_kib=1024, guest_cell=cell) for cell in (0, 1)]
    maps = b"10000000-10100000 rw-p 0 00:00 0\n20000000-20100000 rw-p 0 00:00 0\n"
    areas = parse_numa_maps(
        b"10000000 default anon=1 N1=1 kernelpagesize_kB=4\n20000000 default anon=2 N0=2 kernelpagesize_kB=4\n"
    )
    first, second = match_ram(alike, parse_maps(maps), areas)
    assert (first.identified_by, first.pages) == ("order", (CellPages(0, 4, 2),))
    assert (second.identified_by, second.pages) == ("order", (CellPages(1, 4, 1),))


def test_a_file_with_the_name_of_the_block_is_certain() -> None:
    block = RamBackend(id="ram-node0", size_kib=2048, guest_cell=0, policy="bind", host_cells=CpuSet([1]))
    maps = b"10000000-10200000 rw-s 0 00:2f 99 /dev/hugepages/qemu_back_mem._objects_ram-node0.fK3x (deleted)\n"
    areas = parse_numa_maps(b"10000000 bind:1 file=/dev/x huge dirty=1 N1=1 kernelpagesize_kB=2048\n")
    (found,) = match_ram([block], parse_maps(maps), areas)
    assert (found.identified_by, found.pages, found.policies) == ("file", (CellPages(1, 2048, 1),), ("bind:1",))


def test_memory_under_another_policy_is_found_by_its_size() -> None:
    block = RamBackend(id="ram-node0", size_kib=1024, guest_cell=0, policy="bind", host_cells=CpuSet([1]))
    areas = parse_numa_maps(b"10000000 default anon=1 N0=1 kernelpagesize_kB=4\n")
    (found,) = match_ram([block], parse_maps(b"10000000-10100000 rw-p 0 00:00 0\n"), areas)
    assert (found.identified_by, found.policies) == ("size", ("default",))


def test_a_block_that_is_nowhere_is_not_known() -> None:
    (found,) = match_ram([RamBackend(id="ram-node0", size_kib=77)], parse_maps(MAPS.encode()), ())
    assert (found.identified_by, found.pages) == (None, ())


def test_a_broken_line_of_maps_is_named() -> None:
    with pytest.raises(BadInput, match="maps line 1"):
        parse_maps(b"7f00 rw-p\n")


@pytest.mark.parametrize("policy", ["bind:0", "default"])
def test_areas_of_others_right_beside_a_block_do_not_hide_it(policy: str) -> None:
    """Seen on a real QEMU: a malloc arena below guest RAM, without a byte between them."""
    cells = CpuSet([0]) if policy == "bind:0" else CpuSet()
    block = RamBackend(id="ram-node0", size_kib=1024, guest_cell=0, policy="bind", host_cells=cells)
    maps = b"0fff0000-10000000 rw-p 0 00:00 0\n10000000-10100000 rw-p 0 00:00 0\n10100000-10101000 rw-p 0 00:00 0\n"
    lines = f"0fff0000 default\n10000000 {policy} anon=7 N0=7 kernelpagesize_kB=4\n10100000 default\n"
    (found,) = match_ram([block], parse_maps(maps), parse_numa_maps(lines.encode()))
    assert (found.identified_by, found.pages) == ("size and policy", (CellPages(0, 4, 7),))


def test_a_block_in_a_file_of_any_name_is_known_by_its_path() -> None:
    block = RamBackend(id="ram-node0", size_kib=1024, path="/mnt/pmem/guest.img")
    maps = b"10000000-10100000 rw-s 0 00:2f 99 /mnt/pmem/guest.img\n20000000-20100000 rw-p 0 00:00 0\n"
    (found,) = match_ram([block], parse_maps(maps), ())
    assert (found.identified_by, found.addresses) == ("file", (0x10000000,))
