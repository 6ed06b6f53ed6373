"""Live re-pin of a guest's vCPUs: ours against one `virsh vcpupin` a vCPU, and against one virsh with all commands.

    python benchmarks/repin.py [--vcpus 64] [--rounds 5]

Needs a libvirtd and QEMU on this machine, as root.  The guest is TCG, paused, and taken away again.  Ours is the whole
of connecting, pinning and closing in this process; the whole command `cellwright pin` also starts Python, places the
guest and proves every thread.
"""

import argparse
import os
import statistics
import subprocess
import time
from collections.abc import Callable

from agent.compute.driver import Driver
from agent.core.cpuset import CpuSet

URI = "qemu:///system"
GUEST = """<domain type='qemu'>
  <name>{name}</name><memory unit='MiB'>64</memory><vcpu>{vcpus}</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices><controller type='usb' model='none'/><memballoon model='none'/></devices>
</domain>"""


def ours(name: str, vcpus: int, cpu: int) -> None:
    with Driver(URI) as libvirt:
        libvirt.pin_vcpus(name, dict.fromkeys(range(vcpus), CpuSet([cpu])))


def virsh_each(name: str, vcpus: int, cpu: int) -> None:
    for vcpu in range(vcpus):
        subprocess.run(["virsh", "-q", "-c", URI, "vcpupin", name, str(vcpu), str(cpu), "--live"], check=True)


def virsh_once(name: str, vcpus: int, cpu: int) -> None:
    commands = "".join(f"vcpupin {name} {vcpu} {cpu} --live\n" for vcpu in range(vcpus))
    subprocess.run(["virsh", "-q", "-c", URI], input=commands, text=True, check=True, stdout=subprocess.DEVNULL)


def seconds(act: Callable[[str, int, int], None], name: str, vcpus: int, cpu: int) -> float:
    began = time.perf_counter()
    act(name, vcpus, cpu)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vcpus", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    name = f"cellwright-bench-{os.getpid()}"
    contenders = {"cellwright": ours, "virsh, one a vCPU": virsh_each, "virsh, one for all": virsh_once}
    times: dict[str, list[float]] = {what: [] for what in contenders}
    with Driver(URI) as libvirt:
        try:
            libvirt.define(GUEST.format(name=name, vcpus=args.vcpus), name=name)
            libvirt.start(name, paused=True)
            cpus = sorted(libvirt.vcpu_pins(name)[0])
            for number in range(args.rounds):
                for what, act in contenders.items():
                    times[what].append(seconds(act, name, args.vcpus, cpus[number % len(cpus)]))
                    assert set(libvirt.vcpu_pins(name).values()) == {CpuSet([cpus[number % len(cpus)]])}
        finally:
            if libvirt.exists(name):
                if libvirt.domain(name).active:
                    libvirt.destroy(name)
                libvirt.undefine(name)
    base = statistics.median(times["cellwright"])
    print(f"live re-pin of {args.vcpus} vCPUs, medians of {args.rounds}, ms:")
    for what, found in times.items():
        middle = statistics.median(found)
        print(f"  {what:<20} {middle * 1000:8.1f}   {middle / base:5.1f} x ours")


if __name__ == "__main__":
    main()
