"""Devices: what the saved machines' kernels say of them, against hwloc's localities, and odd modaliases."""

import json
import os
import tarfile
from pathlib import Path

import pytest

from agent.core.codec import decode, encode
from agent.core.topology import HostTopology
from agent.inspection.archive import Archive, read_archive
from agent.inspection.devices import parse_modalias, place_devices, read_devices
from agent.inspection.document import PCI_DEVICES
from agent.inspection.files import LONGEST, Root
from agent.inspection.host import read_host
from agent.inspection.snapshot import Recorder, write_snapshot
from tests.inspection.trees import CPU, two_cells, write

MACHINES = {
    # machine → devices a guest could be given, and how many of them have an unknown cell
    "hwloc/fakepcilocalities": (8, 0),
    "hwloc/32em64t-2n8c+dax+nvme+mic+dimms": (12, 1),
    "hwloc/40intel64-4n10c+pci-conflicts": (1, 1),
    "hwloc/2pa-pcidomain32bits": (5, 0),  # PCI domain 10000, and a kernel without NUMA: all on the only cell
    "ghw/xeon-L5640": (23, 13),
    "ghw/i7-1270P": (14, 0),
    "openshift/nto-worker1": (18, 0),
}


@pytest.fixture(scope="module")
def machines(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("machines")
    wanted = tuple(name + end for name in MACHINES for end in ("/", ".expect/oracle.json"))
    with tarfile.open(shared_data / "hosts" / "hosts.tar.xz") as archive:
        members = [member for member in archive if member.name.removeprefix("./").startswith(wanted)]
        archive.extractall(folder, members=members, filter="tar")
    return folder


@pytest.mark.parametrize("name", MACHINES)
def test_saved_machine(machines: Path, name: str) -> None:
    host = read_host(str(machines / name))
    placed = [(cell.id, device) for cell in host.cells for device in cell.devices]
    assert (len(placed) + len(host.unplaced_devices), len(host.unplaced_devices)) == MACHINES[name]
    oracle = json.loads((machines / f"{name}.expect" / "oracle.json").read_text())["canonical"]["pci"]
    known = {entry["addr"]: entry for entry in oracle}
    for cell, device in placed:
        entry = known.get(device.pci or "")
        if entry is None:  # hwloc leaves out PCI domains past 16 bits
            assert (device.pci or "").startswith("10000:")
            continue
        assert cell in entry["nodes"], device
        if entry["devices"]:
            # hwloc also tells parts of a device: controlD64 beside card0
            assert set(filter(None, device.name.split(","))) <= set(entry["devices"]), device


class WithoutAliases(Root):
    """A machine whose files ``modalias`` were not saved."""

    gone = ("/modalias",)

    def read(self, path: str, limit: int = LONGEST) -> bytes | None:
        return None if path.endswith(self.gone) else super().read(path, limit)


class WithoutClasses(WithoutAliases):
    gone = ("/modalias", "/class")


def devices_of(root: Root, unknown: list[str]) -> list[tuple[int | None, dict[str, str | int | None]]]:
    return read_devices(root, unknown, folder=PCI_DEVICES, addresses=root.names(PCI_DEVICES) or [])


@pytest.mark.parametrize("name", MACHINES)
def test_class_vendor_and_device_say_the_same_as_modalias(machines: Path, name: str) -> None:
    unknown: list[str] = []
    folder = str(machines / name)
    assert devices_of(WithoutAliases(folder), unknown) == devices_of(Root(folder), unknown)
    assert unknown == []
    assert devices_of(WithoutClasses(folder), unknown) == []
    assert unknown == ["devices (no file tells their class)"]


def test_what_is_known_of_one_device(machines: Path) -> None:
    found = {device["pci"]: (cell, device) for cell, device in devices_of(Root(str(machines / "ghw/i7-1270P")), [])}
    assert found["0000:04:00.0"] == (
        None,
        {
            "kind": "storage",
            "name": "nvme0n1",
            "pci": "0000:04:00.0",
            "vendor": "144d",
            "product": "a80a",
            "root": "pci0000:00",
            "iommu_group": 14,
            "physical_function": None,
        },
    )


def test_virtual_functions_partitions_and_infiniband(tmp_path: Path) -> None:
    devices = tmp_path / "sys/devices/pci0000:3a"
    bus = tmp_path / "sys/bus/pci/devices"
    for path in (bus, tmp_path / "sys/class/net", tmp_path / "sys/class/block"):
        path.mkdir(parents=True)
    for address, alias in {
        "0000:3b:00.0": "pci:v000015B3d00001017sv000015B3sd00000020bc02sc07i00",
        "0000:3b:00.2": "pci:v000015B3d00001018sv000015B3sd00000020bc02sc07i00",
        "0000:3c:00.0": "pci:v0000144Dd0000A80Asv0000144Dsd0000A801bc01sc08i02",
        "0000:3d:00.0": "pci:v00001077d00007322sv00001077sd00007322bc0Csc06i00",
        "0000:3e:00.0": "pci:v00008086d00002030sv00008086sd00000000bc06sc04i00",
    }.items():
        (devices / address).mkdir(parents=True)
        (devices / address / "modalias").write_text(alias + "\n")
        (devices / address / "numa_node").write_text("-1\n" if address.startswith("0000:3d") else "1\n")
        (bus / address).symlink_to(f"../../../devices/pci0000:3a/{address}")
    (devices / "0000:3b:00.2/physfn").symlink_to("../0000:3b:00.0")
    (tmp_path / "sys/class/net/ens1").symlink_to("../../devices/pci0000:3a/0000:3b:00.0/net/ens1")
    disk = "../../devices/pci0000:3a/0000:3c:00.0/nvme/nvme0/nvme0n1"
    (tmp_path / "sys/class/block/nvme0n1").symlink_to(disk)
    (tmp_path / "sys/class/block/nvme0n1p1").symlink_to(f"{disk}/nvme0n1p1")
    found = devices_of(Root(str(tmp_path)), [])
    assert [(cell, device["kind"], device["name"], device["physical_function"]) for cell, device in found] == [
        (1, "net", "ens1", None),
        (1, "net", "", "0000:3b:00.0"),
        (1, "storage", "nvme0n1", None),  # its partition is no device
        (None, "net", "", None),  # InfiniBand of the old class; the bridge 3e is left out
    ]


def test_an_interface_whose_name_is_no_utf_8(tmp_path: Path) -> None:
    write(tmp_path, two_cells() | {"sys/bus/pci/devices/0000:3b:00.0/class": "0x020000\n"})
    for name, text in (("vendor", "0x8086\n"), ("device", "0x1572\n")):
        (tmp_path / "sys/bus/pci/devices/0000:3b:00.0" / name).write_text(text)
    (tmp_path / "sys/class/net").mkdir(parents=True)
    name = os.fsdecode(b"x\xff")
    (tmp_path / "sys/class/net" / name).symlink_to(f"../../devices/pci0000:3a/0000:3b:00.0/net/{name}")
    recorder = Recorder(Root(str(tmp_path)))
    assert [device.name for device in read_host(recorder).unplaced_devices] == ["x\ufffd"]
    write_snapshot(recorder, str(tmp_path / "odd.tar.gz"))
    assert read_host(read_archive(str(tmp_path / "odd.tar.gz"))) == read_host(str(tmp_path))


def test_names_and_numbers_that_no_kernel_gives_still_make_a_document() -> None:
    device = os.fsdecode(b"sys/bus/pci/devices/\xff")
    files = {f"{CPU}/cpu0/online": b"1\n", f"{device}/modalias": b"pci:v00008086d0000159Bsv00008086sd0bc02sc00i00\n"}
    links = {f"{device}/iommu_group": "9" * 5000, f"{device}/physfn": os.fsdecode(b"../\xfe")}
    host = read_host(Archive("made", files, links, set()))
    (found,) = decode(encode(host), HostTopology).cells[0].devices
    assert (found.pci, found.physical_function, found.iommu_group) == ("\ufffd", "\ufffd", None)


def test_only_a_single_cell_takes_devices_of_unknown_cell() -> None:
    device: dict[str, str | int | None] = {"pci": "0000:00:02.0"}
    assert place_devices([(None, device)], [0]) == ({0: [device]}, [])
    assert place_devices([(None, device)], [0, 1]) == ({0: [], 1: []}, [device])
    # a cell that the kernel names for the device and does not have
    assert place_devices([(7, device)], [0, 1]) == ({0: [], 1: []}, [device])


@pytest.mark.parametrize(
    "text",
    [None, "", "pci:", "usb:v1D6Bp0002", "pci:v0000ZZZZd0000A80Abc01sc08i02", "pci:v0000144Dx0000A80Abc01sc08",
     "pci:v0000144Dd0000A80A", "pci:v0000144Dd0000A80Abc", "pci:v-000144Dd0000A80Abc01sc08"],
)  # fmt: skip
def test_a_modalias_that_is_none(text: str | None) -> None:
    assert parse_modalias(text) is None
