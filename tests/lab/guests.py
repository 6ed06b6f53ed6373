"""Guests inside the lab, and what the kernel's own files say of them.

Nothing of the code under test is used to look: threads are /proc/PID/task/*/status, memory is numa_maps, and huge pages
are the pools under /sys/devices/system/node.
"""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import Template
from typing import Any
from xml.etree import ElementTree

from tests.lab.machine import Machine
from tests.lab.waiting import wait_until

DOMAIN = Path(__file__).with_name("domain.xml")
PASSING = re.compile(r"worker|TC .*")
"""Threads that QEMU starts for a piece of work, and that end when there is no more."""
POOL = "/sys/devices/system/node/node{cell}/hugepages/hugepages-2048kB/nr_hugepages"


def parse_cpus(text: str) -> set[int]:
    """A kernel list such as ``0-3,8``."""
    parts = [part.split("-") for part in text.strip().split(",") if part]
    return {cpu for part in parts for cpu in range(int(part[0]), int(part[-1]) + 1)}


def make_request(name: str, vcpus: int, specs: Mapping[str, str], *, ram_mb: int = 128) -> dict[str, Any]:
    """A request; a guest of 128 MiB without a disk starts in a few seconds under emulation."""
    flavor = {"name": "lab", "vcpus": vcpus, "ram_mb": ram_mb, "disk_gb": 0, "extra_specs": dict(specs)}
    return {"name": name, "flavor": flavor}


def render_base(request: Mapping[str, Any]) -> str:
    """A domain of the user's own for the request, to be grafted into: all its memory is allocated at the start."""
    flavor = request["flavor"]
    return Template(DOMAIN.read_text()).substitute(name=request["name"], vcpus=flavor["vcpus"], ram_mb=flavor["ram_mb"])


@dataclass(frozen=True)
class Guest:
    """A running guest: its placement as Cellwright decided it, and the ways to look at what became of it."""

    lab: Machine
    name: str
    placement: dict[str, Any]

    @property
    def pid(self) -> int:
        return int(self.lab.read(f"/run/libvirt/qemu/{self.name}.pid"))

    def read_threads(self) -> list[tuple[int, str, set[int]]]:
        """Every thread's id, name, and the pCPUs the kernel lets it run on; one that ends meanwhile is none."""
        script = f"cd /proc/{self.pid}/task && {{ grep -sH -e ^Name: -e ^Cpus_allowed_list: */status || true; }}"
        found: dict[int, dict[str, str]] = {}
        for line in self.lab.shell(script).stdout.splitlines():
            tid, key, value = re.fullmatch(r"(\d+)/status:(\w+):\t(.*)", line).groups()  # type: ignore[union-attr]
            found.setdefault(int(tid), {})[key] = value
        whole = [(tid, one) for tid, one in found.items() if len(one) == 2]
        return [(tid, one["Name"], parse_cpus(one["Cpus_allowed_list"])) for tid, one in whole]

    def read_lasting(self) -> list[tuple[int, str, set[int]]]:
        """The threads that live as long as the guest does."""
        return [thread for thread in self.read_threads() if not PASSING.fullmatch(thread[1])]

    def read_vcpus(self) -> dict[int, set[int]]:
        """vCPU → the pCPUs its thread may run on."""
        matches = [(re.fullmatch(r"CPU (\d+)/\w+", name), cpus) for _, name, cpus in self.read_threads()]
        return {int(match[1]): cpus for match, cpus in matches if match}

    def read_others(self) -> set[int]:
        """The pCPUs that any thread but the vCPUs may run on."""
        return set().union(*(cpus for _, name, cpus in self.read_threads() if not name.startswith("CPU ")))

    def read_memory(self) -> dict[str, Counter[int]]:
        """Policy → KiB by cell, of anonymous areas that have a policy, and of huge ones: the guest's memory.

        Under ``interleave`` and ``prefer`` the whole process has a policy, so QEMU's own memory is among them.
        """
        found: dict[str, Counter[int]] = {}
        for line in self.lab.read(f"/proc/{self.pid}/numa_maps").splitlines():
            policy = line.split()[1]
            if " huge " not in line and (policy == "default" or " anon=" not in line):
                continue
            page_kib = int(re.search(r"kernelpagesize_kB=(\d+)", line)[1]) if "kernelpagesize" in line else 0  # type: ignore[index]
            for cell, pages in re.findall(r" N(\d+)=(\d+)", line):
                found.setdefault(policy, Counter())[int(cell)] += int(pages) * page_kib
        return found

    def read_cells(self) -> Counter[int]:
        """KiB of anonymous memory by cell: the guest's, and what QEMU allocated for itself."""
        found: Counter[int] = Counter()
        for line in self.lab.read(f"/proc/{self.pid}/numa_maps").splitlines():
            if " anon=" in line:
                page_kib = int(line.rpartition("kernelpagesize_kB=")[2])
                for cell, pages in re.findall(r" N(\d+)=(\d+)", line):
                    found[int(cell)] += int(pages) * page_kib
        return found

    def verify(self, *, status: int | None = 0) -> dict[str, Any]:
        """The verdict of ``cellwright verify`` on this guest alone."""
        verdict = self.lab.run("cellwright", "verify", self.name, "--format", "json", status=status).json()
        guest: dict[str, Any] = verdict["guests"][0]
        return guest


def read_siblings(lab: Machine, cpu: int) -> set[int]:
    return parse_cpus(lab.read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"))


def read_cell_cpus(lab: Machine, cell: int) -> set[int]:
    return parse_cpus(lab.read(f"/sys/devices/system/node/node{cell}/cpulist"))


def read_free_pages(lab: Machine, size_kib: int) -> list[int]:
    """Free huge pages of this size on the two cells."""
    pool = f"hugepages/hugepages-{size_kib}kB/free_hugepages"
    return [int(lab.read(f"/sys/devices/system/node/node{cell}/{pool}")) for cell in (0, 1)]


@contextlib.contextmanager
def huge_pages(lab: Machine, *pages: int) -> Iterator[None]:
    """So many huge pages of 2 MiB on the first cells, none at the end."""
    try:
        for cell, count in enumerate(pages):
            wait_until(f"{count} huge pages on cell {cell}", partial(fill_pool, lab, POOL.format(cell=cell), count))
        yield
    finally:
        lab.shell("".join(f"echo 0 >{POOL.format(cell=cell)}\n" for cell in range(len(pages))))


def fill_pool(lab: Machine, pool: str, pages: int) -> bool:
    """Whether the kernel found so many; if not, its memory is in pieces, and put together for the next attempt."""
    lab.shell(f"echo {pages} >{pool}")
    if int(lab.read(pool)) == pages:
        return True
    lab.shell("sync; echo 3 >/proc/sys/vm/drop_caches; echo 1 >/proc/sys/vm/compact_memory")
    return False


def check_no_qemu(lab: Machine) -> None:
    """No guest is left, nor a process of one; libvirt's own look at QEMU passes."""
    assert lab.run("virsh", "-q", "list", "--all", "--name").stdout.split() == []
    wait_until("no QEMU runs", lambda: lab.run("pgrep", "-a", "qemu", status=None).stdout == "")


@contextlib.contextmanager
def started(lab: Machine, request: Mapping[str, Any]) -> Iterator[Guest]:
    """The guest that ``cellwright create`` starts for this request; gone at the end, whatever happened."""
    name = request["name"]
    base = f"/tmp/{name}.xml"
    lab.write(base, render_base(request))
    try:
        lab.run("cellwright", "create", "--request", "-", "--domain", base, stdin=json.dumps(request))
        yield Guest(lab, name, read_placement(lab, name))
    finally:
        remove(lab, name)


def read_placement(lab: Machine, name: str) -> dict[str, Any]:
    """The placement that a domain's metadata holds."""
    metadata = lab.run("virsh", "-q", "metadata", name, "urn:cellwright:domain:1").stdout
    text = ElementTree.fromstring(metadata).findtext("{*}placement")
    placement: dict[str, Any] = json.loads(text or "null")
    return placement


def remove(lab: Machine, name: str) -> None:
    """No guest of this name, running or defined."""
    lab.run("virsh", "-q", "destroy", name, status=None)
    lab.run("virsh", "-q", "undefine", name, status=None)
