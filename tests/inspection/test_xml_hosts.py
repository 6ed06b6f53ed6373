"""Hosts from libvirt's and hwloc's XML: what they say, and what is refused."""

import re
import subprocess

import pytest

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.topology import Cell, HostTopology
from agent.inspection.capabilities import parse_capabilities, parse_offline_sockets
from agent.inspection.host import read_host
from agent.inspection.lstopo import parse_bitmap, parse_lstopo
from tests.inspection.test_saved_hosts import EXCEPTIONS

HWLOC_DIFFERS = {
    "hwloc/64amd64-4s2n4ca2co": "hwloc takes the modules of AMD family 15h for cores",
    "prometheus/procfs-fixtures": "hwloc leaves out cpu2, which has no topology folder",
}

CAPABILITIES = b"""<capabilities><host><cpu><arch>x86_64</arch><model>Haswell</model><vendor>Intel</vendor></cpu>
<topology><cells num='2'>
 <cell id='0'><memory unit='KiB'>4194304</memory><pages unit='KiB' size='4'>786432</pages>
  <pages unit='KiB' size='2048'>512</pages>
  <distances><sibling id='0' value='10'/><sibling id='1' value='21'/></distances>
  <cpus num='3'><cpu id='0' socket_id='0' die_id='0' core_id='0' siblings='0,2'/>
   <cpu id='2' socket_id='0' die_id='0' core_id='0' siblings='0,2'/><cpu id='3'/></cpus></cell>
 <cell id='1'><memory unit='KiB'>2097152</memory><cpus num='1'>
  <cpu id='1' socket_id='1' die_id='0' core_id='0' siblings='1'/></cpus></cell>
</cells></topology><cache><bank id='0' level='3' type='both' size='8' unit='MiB' cpus='0-2'/></cache>
</host></capabilities>"""

HWLOC1 = b"""<?xml version="1.0"?><!DOCTYPE topology SYSTEM "hwloc.dtd">
<topology><object type="Machine" cpuset="0x0000000f" complete_cpuset="0x0000001f" allowed_cpuset="0x0000000f">
 <distances nbobjs="2" latency_base="10.000000"><latency value="1.0"/><latency value="2.1"/><latency value="2.1"/>
  <latency value="1.0"/></distances><info name="HostName" value="old"/>
 <object type="NUMANode" os_index="0" cpuset="0x00000003" local_memory="1073741824">
  <page_type size="4096" count="262144"/>
  <object type="Socket" os_index="0" cpuset="0x00000003"><object type="Cache" depth="2" cache_size="4194304"
    cache_type="0" cpuset="0x00000003"><object type="Core" os_index="0" cpuset="0x00000003">
   <object type="PU" os_index="0" cpuset="0x1"/><object type="PU" os_index="1" cpuset="0x2"/></object></object></object>
 </object>
 <object type="NUMANode" os_index="1" cpuset="0x0000000c" local_memory="1073741824">
  <object type="Socket" os_index="1" cpuset="0x0000000c">
   <object type="PU" os_index="2" cpuset="0x4"/><object type="PU" os_index="3" cpuset="0x8"/></object></object>
</object></topology>"""


def test_libvirts_capabilities() -> None:
    host = parse_capabilities(CAPABILITIES)
    assert (str(host.online), str(host.offline)) == ("0-2", "3"), "a CPU without siblings is offline"
    assert (host.sockets, host.cores, host.threads_per_core, host.smt, host.arch) == (2, 2, 2, True, "x86_64")
    first = host.cells[0]
    assert (first.memory_kib, first.free_kib, first.distances) == (4194304, None, {0: 10, 1: 21})
    assert [(pool.size_kib, pool.total) for pool in first.pages] == [(4, 786432), (2048, 512)]
    assert [(cache.size_kib, str(cache.cpus)) for cache in first.caches] == [(8192, "0,2")]


def test_cores_that_repeat_an_id_are_no_siblings() -> None:
    """AMD counts cores anew in each die, and libvirt gives every core id 0 where the kernel has none."""
    host = parse_capabilities(CAPABILITIES.replace(b"siblings='0,2'/>", b"siblings='0'/>", 1).replace(b"'0,2'", b"'2'"))
    assert (host.cores, host.threads_per_core, host.smt) == (3, 1, False)


def test_hwloc_version_1() -> None:
    host = parse_lstopo(HWLOC1)
    assert (host.hostname, str(host.online), str(host.offline)) == ("old", "0-3", "4")
    assert [str(core.cpus) for cell in host.cells for core in cell.cores] == ["0-1", "2", "3"]
    assert [cell.distances for cell in host.cells] == [{0: 10, 1: 21}, {0: 21, 1: 10}]
    assert host.cells[0].caches[0].size_kib == 4096


def test_bitmaps_with_empty_words() -> None:
    assert parse_bitmap("0x00000001,,0x0000000f") == CpuSet([0, 1, 2, 3, 64])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no well-formed XML"),
        (b"<capabilities>", "no well-formed XML"),
        (b"<capabilities/>", "no host/topology/cells/cell"),
        (b"<domain/>", "expected <capabilities>"),
        (b"<!DOCTYPE capabilities [<!ENTITY e 'x'>]><capabilities>&e;</capabilities>", "DTD"),
        (b"<!DOCTYPE capabilities SYSTEM 'file:///etc/passwd'><capabilities/>", "DTD"),
        (b"<a>" * 100_000, "no well-formed XML"),
        (b" " * (17 << 20), "bytes; allowed"),
        (CAPABILITIES.replace(b"siblings='0,2'", b"siblings='2-0'"), "backwards"),
        (CAPABILITIES.replace(b"<cell id='1'>", b"<cell>"), "without id"),
        (CAPABILITIES.replace(b"value='21'", b"value='far'"), "not a number"),
        (CAPABILITIES.replace(b"<cpu id='1'", b"<cpu id='65536'"), "not a number below 65536"),
        (CAPABILITIES.replace(b"<cpu id='1'", b"<cpu id='0'"), "pCPUs 0 are in another cell too"),
        (CAPABILITIES.replace(b"size='4'", b"size='0'"), "pages of 0 KiB"),
        (CAPABILITIES.replace(b"'KiB'>2097152", b"'TiB'>2097152000"), "too large a size"),
    ],
    ids=range(15),
)
def test_what_is_no_capabilities_document_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=rf"file\.xml: .*{said}"):
        parse_capabilities(data, "file.xml")


def test_a_pool_that_wrapped_below_nothing_is_empty() -> None:
    """libvirt and hwloc subtract huge pages from memory, and say 2^52 less a bit where there are more of them."""
    capabilities = parse_capabilities(CAPABILITIES.replace(b">786432<", b">4503599626321921<"), "file.xml")
    hwloc = parse_lstopo(re.sub(rb'(size="4096" count)="\d+"', rb'\1="4503599626321921"', HWLOC1), "file.xml")
    for host in (capabilities, hwloc):
        pool = host.cells[0].pages[0]
        assert (pool.size_kib, pool.total) == (4, 0)


def test_the_sockets_of_offline_pcpus_are_refused_by_the_documents_name() -> None:
    with pytest.raises(BadInput, match=r"file\.xml: <cpu id='x'>"):
        parse_offline_sockets(CAPABILITIES.replace(b"<cpu id='3'/>", b"<cpu id='x'/>"), "file.xml")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (HWLOC1.replace(b'SYSTEM "hwloc.dtd"', b"[<!ENTITY e SYSTEM 'file:///etc/passwd'>]"), "DTD"),
        (HWLOC1.replace(b'SYSTEM "hwloc.dtd"', b"SYSTEM \"hwloc.dtd\" [<!ENTITY e 'x'>]"), "DTD"),
        (HWLOC1.replace(b'cpuset="0x00000003"', b'cpuset="0xno"'), "not a bitmap"),
        (HWLOC1.replace(b'<latency value="2.1"/>', b""), "2 distances for 2 cells"),
        (b"<topology/>", "no <object"),
        (HWLOC1.replace(b'"PU" os_index="3"', b'"PU" os_index="65536"'), "not a number below 65536"),
        (HWLOC1.replace(b'size="4096"', b'size="4"'), "pages of 0 KiB"),
    ],
    ids=range(7),
)
def test_what_is_no_hwloc_document_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=rf"file\.xml: .*{said}"):
        parse_lstopo(data, "file.xml")


def core_sets(cells: tuple[Cell, ...]) -> list[list[str]]:
    return [sorted(str(core.cpus) for core in cell.cores) for cell in cells]


def test_hwlocs_xml_of_the_saved_machines_reads_as_their_kernel_files(
    expected: dict[str, bytes], machines: dict[str, tuple[HostTopology, object]]
) -> None:
    differ, compared = [], 0
    for name, (host, _) in machines.items():
        document = expected.get(f"{name}.expect/peers/hwloc.xml", b"")
        if len(document) < 100 or ("cores", name) in EXCEPTIONS or name in HWLOC_DIFFERS:
            continue
        theirs = parse_lstopo(document, name)
        compared += 1
        if theirs.online != host.online:
            differ.append(f"{name}: online {theirs.online}, not {host.online}")
        elif [cell.id for cell in theirs.cells] == [cell.id for cell in host.cells] and [
            cell.cpus for cell in theirs.cells
        ] == [cell.cpus for cell in host.cells]:
            if core_sets(theirs.cells) != core_sets(host.cells):
                differ.append(f"{name}: cores")
        else:
            differ.append(
                f"{name}: cells {[str(c.cpus) for c in theirs.cells]}, not {[str(c.cpus) for c in host.cells]}"
            )
    assert compared > 70
    assert differ == []


def test_this_hosts_own_libvirt_agrees(libvirt_uri: str) -> None:
    answer = subprocess.run(["virsh", "-c", libvirt_uri, "capabilities"], capture_output=True, check=True)
    theirs, ours = parse_capabilities(answer.stdout), read_host()
    assert (theirs.online, theirs.sockets, theirs.cores, theirs.smt) == (
        ours.online,
        ours.sockets,
        ours.cores,
        ours.smt,
    )
    assert core_sets(theirs.cells) == core_sets(ours.cells)
