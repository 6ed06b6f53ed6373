"""What our verbs may change of one domain, as it is at one moment: read it, compare it, put it back."""

from __future__ import annotations

import msgspec

from agent.compute.driver import Driver
from agent.compute.kernel_state import KernelState, read_kernel_state, restore_kernel_state
from agent.compute.move_pages import MemoryState
from agent.core.cpuset import CpuSet
from agent.core.errors import CellwrightError
from agent.domain.metadata import NAMESPACE


class Masks(msgspec.Struct, frozen=True):
    """The pCPUs that libvirt allows each thread of a running guest."""

    vcpus: dict[int, CpuSet] = {}
    emulator: CpuSet = CpuSet()
    iothreads: dict[int, CpuSet] = {}


class GuestState(msgspec.Struct, frozen=True, kw_only=True):
    """A domain at one moment: ``config`` is its persistent XML (None: not defined), the rest is the running guest's.

    ``kernel`` is None where libvirt has no processes; ``memory`` is there when pages are about to be put back.
    """

    uuid: str | None = None
    running: bool = False
    config: str | None = None
    masks: Masks = Masks()
    metadata: str | None = None
    kernel: KernelState | None = None
    memory: MemoryState | None = None


ABSENT = GuestState()
"""There is no domain of that name."""


def read_masks(libvirt: Driver, name: str) -> Masks:
    """The masks of a running guest, as libvirt keeps them."""
    return Masks(libvirt.vcpu_pins(name), libvirt.emulator_pin(name), libvirt.iothread_pins(name))


def read_state(libvirt: Driver, name: str) -> GuestState:
    """The domain as it is now; ABSENT when there is none of that name."""
    domain = libvirt.find(name)
    if domain is None:
        return ABSENT
    return GuestState(
        uuid=domain.uuid,
        running=domain.active,
        config=libvirt.xml(name, config=True) if domain.persistent else None,
        masks=read_masks(libvirt, name) if domain.active else Masks(),
        metadata=libvirt.metadata(name, NAMESPACE) if domain.active else None,
        kernel=read_kernel_state(domain.pid) if domain.active else None,
    )


def apply_masks(libvirt: Driver, name: str, *, wanted: Masks, now: Masks) -> None:
    """Give each thread of a running guest its wanted mask, those that have it already excepted.

    Each mask goes from old to new in one step, so no thread is ever without one.  The emulator comes first: threads
    that QEMU starts meanwhile inherit from it.
    """
    if wanted.emulator and wanted.emulator != now.emulator:
        libvirt.pin_emulator(name, wanted.emulator)
    libvirt.pin_iothreads(name, changed(wanted.iothreads, now.iothreads))
    libvirt.pin_vcpus(name, changed(wanted.vcpus, now.vcpus))


def changed(wanted: dict[int, CpuSet], now: dict[int, CpuSet]) -> dict[int, CpuSet]:
    """The wanted masks of threads that exist and have another one now."""
    return {thread: cpus for thread, cpus in sorted(wanted.items()) if thread in now and cpus != now[thread]}


def restore_state(libvirt: Driver, name: str, before: GuestState, *, uuid: str | None) -> None:
    """Make the domain again what it was ``before``; a domain of another ``uuid`` is not ours to touch.

    A guest that ran before and does not now stays as it is: its masks live in its configuration alone.
    """
    now = read_state(libvirt, name)
    if now.uuid is not None and uuid is not None and now.uuid != uuid:
        raise CellwrightError(f"domain {name} is now another one, with UUID {now.uuid} instead of {uuid}: left alone")
    if before.uuid is None:
        if now.running:
            libvirt.destroy(name)
        if now.config is not None:
            libvirt.undefine(name)
        return
    if before.config is not None and before.config != now.config:
        libvirt.define(before.config, name=name)
    if before.running and now.running:
        apply_masks(libvirt, name, wanted=before.masks, now=now.masks)
        if before.kernel is not None and now.kernel is not None and before.kernel.pid == now.kernel.pid:
            restore_kernel_state(before.kernel, helpers=before.masks.emulator)
        if before.metadata != now.metadata:
            libvirt.set_metadata(name, NAMESPACE, before.metadata, live=True, config=False)
