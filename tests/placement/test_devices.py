"""How near its cells a guest's devices must be: hw:pci_numa_affinity_policy on a host with devices in three places."""

import msgspec
import pytest

from agent.core.claims import claim, release
from agent.core.cpuset import CpuSet
from agent.core.placement import Misfit, Placement
from agent.core.request import Flavor, Request
from agent.core.topology import Device, HostTopology
from agent.core.usage import CellUsage, Usage
from agent.inspection.synthetic import parse_synthetic
from agent.placement import place
from tests.placement import validator


def device_host() -> HostTopology:
    """Two sockets of two cells: a GPU on cell 0, network cards on cells 0 and 2 and on no cell that is known."""
    host = parse_synthetic("socket:2 cell:2 core:4 thread:2 memory:16GiB name:devices")
    gpu = Device("gpu", "gpu0", "0000:3b:00.0", "10de", "20b5")
    near, far = Device("net", "eno1", "0000:18:00.0", "8086", "1572"), Device("net", "eno2", "0000:af:00.0")
    loose = Device("net", "eno3", "0000:ff:00.0")
    devices = {0: (gpu, near), 2: (far,)}
    cells = tuple(msgspec.structs.replace(cell, devices=devices.get(cell.id, ())) for cell in host.cells)
    return msgspec.structs.replace(host, cells=cells, unplaced_devices=(loose,))


HOST = device_host()
FULL = {number: CellUsage(number, CpuSet(cell.cpus), 0, 0) for number, cell in ((cell.id, cell) for cell in HOST.cells)}


def wanting(alias: str, **specs: str) -> Request:
    keys = {f"hw:{key}": value for key, value in specs.items()}
    return Request(
        Flavor(4, 1024, extra_specs={"hw:cpu_policy": "dedicated", "pci_passthrough:alias": alias} | keys), name="g"
    )


@pytest.mark.parametrize(
    ("sentence", "policy", "alias", "full", "cell", "devices"),
    [
        ("the cell with the device is chosen", "required", "gpu", (), 0, ["0000:3b:00.0"]),
        ("required refuses when the device's cell is full", "required", "gpu", (0,), None, []),
        ("legacy too, for the device's cell is known", "legacy", "gpu", (0,), None, []),
        ("preferred goes elsewhere", "preferred", "gpu", (0,), 1, ["0000:3b:00.0"]),
        ("socket takes the other cell of the socket", "socket", "gpu", (0,), 1, ["0000:3b:00.0"]),
        ("but no cell of the other socket", "socket", "gpu", (0, 1), None, []),
        ("legacy takes a device of unknown cell", "legacy", "eno3", (0,), 1, ["0000:ff:00.0"]),
        ("required refuses it", "required", "eno3", (), None, []),
        ("a device is known by its address", "required", "0000:af:00.0", (), 2, ["0000:af:00.0"]),
        ("by vendor and product", "required", "8086.1572:1", (), 0, ["0000:18:00.0"]),
        ("two kinds on one cell", "required", "gpu:1, net:1", (), 0, ["0000:3b:00.0", "0000:18:00.0"]),
        ("local ones first, then of unknown cell", "legacy", "net:2", (), 0, ["0000:18:00.0", "0000:ff:00.0"]),
        ("every card, wherever", "preferred", "net:3", (), 0, ["0000:18:00.0", "0000:ff:00.0", "0000:af:00.0"]),
        ("more than there are", "preferred", "net:4", (), None, []),
    ],
)
def test_affinity(
    sentence: str, policy: str, alias: str, full: tuple[int, ...], cell: int | None, devices: list[str]
) -> None:
    usage = Usage(tuple(FULL[number] for number in full))
    request = wanting(alias, pci_numa_affinity_policy=policy)
    answer = place(HOST, usage, request)
    validator.check(HOST, usage, request, None, answer)
    if cell is None:
        assert isinstance(answer, Misfit), sentence
        return
    assert isinstance(answer, Placement), sentence
    assert answer.cells[0].host_cell == cell, sentence
    assert sorted(device.pci for device in answer.devices) == sorted(devices), sentence


def test_the_cells_of_a_guest_surround_its_devices() -> None:
    answer = place(HOST, Usage(), wanting("gpu:1,eno2:1", numa_nodes="2", pci_numa_affinity_policy="required"))
    assert isinstance(answer, Placement)
    assert sorted(cell.host_cell for cell in answer.cells) == [0, 2]


def test_a_device_has_one_owner_at_a_time() -> None:
    request = wanting("gpu")
    answer = place(HOST, Usage(), request)
    assert isinstance(answer, Placement)
    taken = claim(Usage(), answer)
    refused = place(HOST, taken, request)
    assert isinstance(refused, Misfit)
    assert refused.misfits[0].code == "not-enough-devices"
    assert release(taken, answer) == Usage()


def test_a_floating_guest_takes_a_device_from_anywhere() -> None:
    request = Request(Flavor(2, 512, extra_specs={"pci_passthrough:alias": "eno2"}), name="g")
    answer = place(HOST, Usage(), request)
    assert isinstance(answer, Placement)
    assert (answer.cells, answer.devices[0].pci) == ((), "0000:af:00.0")
