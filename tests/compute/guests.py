"""Throw-away guests of the tests on a real libvirtd: TCG, no disk, names unique to this test run."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from agent.compute.driver import Driver
from agent.core.cpuset import CpuSet

URI = "qemu:///system"


def name_of(what: str) -> str:
    """A domain name that no other test run uses."""
    return f"cwa-{os.getpid()}-{what}"


def tiny_xml(name: str, *, vcpus: int = 2, extra: str = "", memory_kib: int = 65536) -> str:
    """A guest that starts fast and does nothing; ``extra`` goes in behind <vcpu>."""
    return f"""<domain type='qemu'>
  <name>{name}</name>
  <memory unit='KiB'>{memory_kib}</memory>
  <vcpu>{vcpus}</vcpu>
  {extra}
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices><controller type='usb' model='none'/><memballoon model='none'/></devices>
</domain>"""


def virsh(*words: str, check: bool = True, stdin: str = "") -> str:
    command = ["virsh", "-q", "-c", URI, *words]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


def remove(name: str) -> None:
    """Take the guest away whatever state it is in."""
    virsh("destroy", name, check=False)
    virsh("undefine", "--nvram", "--managed-save", name, check=False)


def pid_of(libvirt: Driver, name: str) -> int:
    """The running guest's QEMU process."""
    pid = libvirt.domain(name).pid
    assert pid is not None
    return pid


class Thread(NamedTuple):
    """A thread of a process, and the pCPUs that the kernel lets it run on."""

    tid: int
    name: str
    allowed: CpuSet


def threads_of(pid: int) -> list[Thread]:
    """The process' threads; one that ends while it is looked at is none."""
    found = []
    for folder in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found.append(
                Thread(
                    tid=int(folder.name),
                    name=(folder / "comm").read_text().strip(),
                    allowed=CpuSet(os.sched_getaffinity(int(folder.name))),
                )
            )
    return found
