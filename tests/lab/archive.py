"""The initial RAM disk, and the firmware table in front of it that numbers the CPUs.

Linux numbers CPUs in the order of the ACPI table MADT.  QEMU writes it by APIC id, which makes siblings neighbours
(0-1, 2-3); most servers list the first threads of all cores first, so that siblings are i and i+N.  A table of our own
in an uncompressed archive before the RAM disk replaces QEMU's (kernel: admin-guide/acpi/initrd_table_override.rst).
"""

import struct
from pathlib import Path

FOLDER = 0o40755
PROGRAM = 0o100755
FILE = 0o100644


def render_cpio(entries: list[tuple[str, int, bytes]]) -> bytes:
    """An archive in cpio's ``newc`` format, the one the kernel unpacks; entries are (path, mode, content)."""
    return b"".join(render_entry(*entry) for entry in [*entries, ("TRAILER!!!", 0, b"")])


def render_entry(name: str, mode: int, content: bytes) -> bytes:
    path = name.encode() + b"\0"
    fields = (1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def render_folders(path: str) -> list[tuple[str, int, bytes]]:
    """The entries of every folder above ``path``."""
    return [(str(folder), FOLDER, b"") for folder in reversed(Path(path).parents) if str(folder) != "."]


def render_cpu_order(apic_ids: tuple[int, ...]) -> bytes:
    """An archive with a MADT that lists the CPUs by these APIC ids: the first becomes cpu0."""
    local_apic, io_apic = 0xFEE00000, 0xFEC00000
    body = struct.pack("<II", local_apic, 1)
    for apic_id in apic_ids:
        body += struct.pack("<BBBBI", 0, 8, apic_id, apic_id, 1)
    body += struct.pack("<BBBBII", 1, 12, 0, 0, io_apic, 0)
    body += struct.pack("<BBBBIH", 2, 10, 0, 0, 2, 0)  # the timer arrives on pin 2
    for irq in (5, 9, 10, 11):
        body += struct.pack("<BBBBIH", 2, 10, 0, irq, irq, 0xD)
    body += struct.pack("<BBBHB", 4, 6, 0xFF, 0, 1)
    table = bytearray(
        struct.pack("<4sIBB6s8sI4sI", b"APIC", 36 + len(body), 3, 0, b"BOCHS ", b"BXPC    ", 2, b"BXPC", 1)
    )
    table += body
    table[9] = -sum(table) & 0xFF
    path = "kernel/firmware/acpi/madt.aml"
    return render_cpio([*render_folders(path), (path, FILE, bytes(table))])
