"""KVM or TCG: /dev/kvm may be there and still not run a guest, so ``auto`` tries one, once a boot.

Seen on real machines: /dev/kvm that libvirt's QEMU may not open, nested KVM that aborts on the first MSR, and nested
KVM that emulates every instruction and is a thousand times slower than TCG.  The trial guest finds out all three: it is
64 KiB of firmware that enters long mode, adds to memory ten million times, and then writes one letter to its serial
port.  KVM does it in some 20 ms; a KVM that takes longer than TCG would is none.
"""

from __future__ import annotations

import os
import struct
import time
from enum import StrEnum
from pathlib import Path

import msgspec

from agent.compute.domains import Refused, RefusedXml
from agent.compute.driver import Driver
from agent.core.codec import decode, encode
from agent.core.errors import BadInput
from agent.domain.document import quote_attribute

ROUNDS = 10_000_000
PATIENCE_S = 5.0
DONE = b"K"


class VirtType(StrEnum):
    """libvirt's ``<domain type>``, or ``auto``: KVM where it runs guests, TCG elsewhere."""

    AUTO = "auto"
    KVM = "kvm"
    QEMU = "qemu"


class Trial(msgspec.Struct, frozen=True):
    """What the trial on this boot of the host found; ``why`` is empty when KVM ran the guest."""

    boot_id: str | None
    uri: str
    type: VirtType
    why: str = ""


def choose_virt_type(libvirt: Driver, wanted: VirtType, *, boot_id: str | None, folder: Path) -> Trial:
    """The type to start guests with, and why not KVM; the trial's result is kept in ``folder`` for this boot."""
    if wanted is not VirtType.AUTO:
        return Trial(boot_id, libvirt.uri, wanted)
    kept = folder / "virt-type.json"
    found = _read_kept(kept)
    if found is not None and boot_id and (found.boot_id, found.uri) == (boot_id, libvirt.uri):
        return found
    folder.mkdir(parents=True, exist_ok=True)
    why = try_kvm(libvirt, folder)
    found = Trial(boot_id, libvirt.uri, VirtType.QEMU if why else VirtType.KVM, why)
    draft = kept.with_suffix(f".{os.getpid()}")
    draft.write_bytes(encode(found))
    draft.replace(kept)
    return found


def try_kvm(libvirt: Driver, folder: Path) -> str:
    """Start the trial guest under KVM; "" when it ran within ``PATIENCE_S``, else why not."""
    if "<domain type='kvm'" not in libvirt.capabilities():
        return "libvirt offers no KVM on this host"
    name = f"cellwright-trial-{os.getpid()}"
    firmware, answer = folder / f"{name}.bin", folder / f"{name}.out"
    try:
        firmware.write_bytes(render_firmware())
        libvirt.start_transient(render_trial(name, firmware=firmware, answer=answer), name=name)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if answer.is_file() and DONE in answer.read_bytes():
                return ""
            time.sleep(0.02)
        return f"a trial guest under KVM was not done after {PATIENCE_S:.0f} s; TCG would have been"
    except (Refused, RefusedXml) as why:
        return str(why)
    finally:
        if libvirt.exists(name):
            libvirt.destroy(name)
        firmware.unlink(missing_ok=True)
        answer.unlink(missing_ok=True)


def render_trial(name: str, *, firmware: Path, answer: Path) -> str:
    """The trial guest's domain XML: one vCPU, 16 MiB, its firmware, a serial port that is a file."""
    return f"""<domain type='kvm'>
  <name>{name}</name>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type><loader type='rom'>{firmware}</loader></os>
  <on_reboot>destroy</on_reboot>
  <devices>
    <controller type='usb' model='none'/>
    <serial type='file'><source path={quote_attribute(str(answer))}/></serial>
    <memballoon model='none'/>
  </devices>
</domain>"""


def render_firmware() -> bytes:
    """64 KiB that a PC starts in at its last 16 bytes: into long mode, ``ROUNDS`` additions in memory, one letter out.

    Page tables lie at 0x1000-0x3fff (the first 2 MiB mapped to themselves), the GDT at 0x500, the 64-bit code at 0x600.
    """
    work = (
        b"\xb9" + struct.pack("<I", ROUNDS)  # mov ecx, ROUNDS
        + b"\x48\x01\x0c\x25\x00\x08\x00\x00"  # add [0x800], rcx
        + b"\xff\xc9\x75\xf4"  # dec ecx; jnz back to the add
        + b"\xb0" + DONE + b"\x66\xba\xf8\x03\xee"  # mov al, DONE; mov dx, 0x3f8; out dx, al
        + b"\xf4\xeb\xfd"  # hlt, for ever
    )  # fmt: skip
    work += bytes(-len(work) % 4)
    words = {0x1000: 0x2003, 0x2000: 0x3003, 0x3000: 0x83}
    words |= {0x500: 0, 0x504: 0, 0x508: 0, 0x50C: 0x00AF9A00}
    words |= {0x520: 0x0500000F, 0x524: 0}  # the operand of lgdt: limit 15, base 0x500
    words |= {
        0x600 + at: value for at, (value,) in zip(range(0, len(work), 4), struct.iter_unpack("<I", work), strict=True)
    }
    code = b"\xea\x05\x00\x00\xf0\xfa\x31\xc0\x8e\xd8"  # ljmp f000:0005; cli; xor ax, ax; mov ds, ax
    for address, value in words.items():
        code += b"\x66\xc7\x06" + struct.pack("<HI", address, value)  # movl $value, address
    code += b"\x66\xb8\x00\x10\x00\x00\x0f\x22\xd8"  # cr3 = 0x1000
    code += b"\x66\xb8\x20\x00\x00\x00\x0f\x22\xe0"  # cr4 = PAE
    code += b"\x66\xb9\x80\x00\x00\xc0\x0f\x32\x66\x0d\x00\x01\x00\x00\x0f\x30"  # EFER |= LME
    code += b"\x66\x0f\x01\x16\x20\x05"  # lgdtl 0x520
    code += b"\x0f\x20\xc0\x66\x0d\x01\x00\x00\x80\x0f\x22\xc0"  # cr0 |= PG | PE
    code += b"\x66\xea\x00\x06\x00\x00\x08\x00"  # ljmp 8:0x600
    return code.ljust(0xFFF0, b"\xf4") + b"\xe9\x0d\x00" + bytes(13)  # reset vector: jmp to the start


def _read_kept(path: Path) -> Trial | None:
    try:
        return decode(path.read_bytes(), Trial, source=str(path))
    except (OSError, BadInput):
        return None  # absent, or from another version: the trial is cheap
