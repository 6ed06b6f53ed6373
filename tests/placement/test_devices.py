"""How near its cells a guest's devices must be: hw:pci_numa_affinity_policy on a host with devices in three places."""

from itertools import permutations
from random import Random

import msgspec
import pytest

from agent.core.claims import claim, release
from agent.core.cpuset import CpuSet
from agent.core.guest import DeviceWish
from agent.core.placement import Misfit, Placement
from agent.core.request import Flavor, Request
from agent.core.topology import Device, HostTopology
from agent.core.usage import CellUsage, Usage
from agent.inspection.synthetic import parse_synthetic
from agent.placement import place
from agent.placement.devices import choose_devices, matches
from agent.placement.language import parse_guest
from agent.placement.layout import layout_of
from agent.placement.room import measure_room
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


def test_two_aliases_of_one_card_share_the_cards_so_that_both_are_met() -> None:
    gpus = tuple(Device("gpu", f"gpu{n}", f"0000:3{n}:00.0") for n in range(2))
    host = parse_synthetic("core:4 memory:4GiB")
    host = msgspec.structs.replace(host, cells=(msgspec.structs.replace(host.cells[0], devices=gpus),))
    answer = place(host, Usage(), wanting("gpu:1,gpu0:1"))
    assert isinstance(answer, Placement), "any GPU is gpu1, for the other is asked for by name"
    assert [device.name for device in answer.devices] == ["gpu1", "gpu0"]


def test_devices_are_the_nearest_that_meet_all_wishes() -> None:
    """Against every way to give devices to wishes that overlap."""
    rng, counted = Random(4), {True: 0, False: 0}
    host = parse_synthetic("cell:2 core:4 memory:4GiB")
    for _ in range(400):
        where = [[], [], []]
        for number in range(rng.randint(1, 5)):
            device = Device(rng.choice(("gpu", "net")), f"d{number % 3}", f"0000:0{number}:00.0", "10de", "1")
            rng.choice(where).append(device)
        cells = tuple(msgspec.structs.replace(cell, devices=tuple(where[cell.id])) for cell in host.cells)
        room = measure_room(
            layout_of(msgspec.structs.replace(host, cells=cells, unplaced_devices=tuple(where[2]))), Usage()
        )
        aliases = rng.sample(("gpu", "net", "d0", "d1", "10de.1", "0000:00:00.0"), rng.randint(1, 3))
        wish = wanting(
            ",".join(f"{alias}:{rng.randint(1, 2)}" for alias in aliases), pci_numa_affinity_policy="preferred"
        )
        guest = parse_guest(wish)
        slots = [each.alias for each in guest.devices for _ in range(each.count)]
        ways = [
            sum(far for far, _ in way)
            for way in permutations(
                [(far, device) for far, at in ((0, 0), (2, 1), (1, 2)) for device in where[at]], len(slots)
            )
            if all(matches(device, alias) for (_, device), alias in zip(way, slots, strict=True))
        ]
        found = choose_devices(room, guest, (0,))
        counted[bool(ways)] += 1
        if isinstance(found, DeviceWish):
            assert not ways, (slots, where)
        else:
            assert found[1] == min(ways), (slots, where)
            assert len({device.pci for device in found[0]}) == len(slots)
    assert min(counted.values()) > 100, counted
