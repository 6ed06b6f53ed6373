"""The Verdict document (``cellwright.verdict/1``): is every guest where its placement says, and what shows it.

``ok`` means that nothing was found that differs.  ``proven`` means that, and that everything which the reading covers
could be read: a thread that vanished or a file without permission leaves ``ok`` and takes ``proven`` away.
"""

from __future__ import annotations

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.observation import CellPages, PageSums, Role

SCHEMA = "cellwright.verdict/1"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between the placement and what the host really does; ``cause`` is null when it is not known.

    A notice has the same shape: something worth knowing that is no difference, such as a host daemon that may run on
    an owned pCPU.  ``count`` is how often an interrupt was delivered since boot.
    """

    code: str
    message: str
    guest: str
    role: Role | None = None
    number: int | None = None
    tid: int | None = None
    guest_cell: int | None = None
    cpus: CpuSet | None = None
    expected: str | None = None
    actual: str | None = None
    cause: str | None = None
    count: int | None = None


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``cellwright watch``: something appeared, cleared, or happened to a guest or to libvirt.

    ``change`` is ``appeared`` or ``cleared`` with the finding; ``unchecked`` for what could not be read; otherwise
    libvirt's word for what happened (started, stopped, resumed …).
    """

    at: str | None
    guest: str
    change: str
    message: str
    finding: Finding | None = None


class ThreadCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One thread: the mask it should have and the mask it has; ``ok`` is null when that could not be read.

    ``cgroup_cpus`` is the cpuset of its cgroup; ``inside`` tells whether it last ran where it should.
    """

    role: Role
    number: int | None
    tid: int
    name: str
    expected: CpuSet | None
    actual: CpuSet | None
    ok: bool | None
    cgroup: str | None = None
    cgroup_cpus: CpuSet | None = None
    last_cpu: int | None = None
    inside: bool | None = None
    scheduler: str | None = None
    priority: int | None = None
    wait_ns: int | None = None
    mems: CpuSet | None = None


class CellCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of one guest cell: its resident pages by host cell and page size.

    ``local_ratio`` is the part of the resident memory that is on the wanted cell, null while nothing is resident or
    when the pages are not known; ``identified_by`` says how the pages were told from the rest of the process.
    """

    guest_cell: int | None
    host_cells: CpuSet
    memory_kib: int
    resident_kib: int | None
    pages: tuple[CellPages, ...]
    local_ratio: float | None
    wanted_ratio: float
    policies: tuple[str, ...]
    page_kib: int | None
    identified_by: str | None
    ok: bool | None


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping with pages on a cell that the guest should not use: ``kib`` of them there."""

    address: str
    what: str
    policy: str
    host_cell: int
    page_kib: int
    kib: int
    guest_cell: int | None = None


class GuestVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One guest.  ``expectation`` is what it was compared with: ``placement``, or ``domain XML`` for a foreign one."""

    name: str
    pid: int | None
    state: str
    ok: bool
    proven: bool
    expectation: str
    owned: CpuSet
    threads: tuple[ThreadCheck, ...] = ()
    cells: tuple[CellCheck, ...] = ()
    memory: PageSums | None = None
    elsewhere: tuple[Elsewhere, ...] = ()
    findings: tuple[Finding, ...] = ()
    notices: tuple[Finding, ...] = ()
    not_checked: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """All guests that were asked about on one host; ``quick`` when only masks were read."""

    schema: str = SCHEMA
    host: str
    checked_at: str | None
    kernel: str | None = None
    ok: bool
    proven: bool
    quick: bool = False
    guests: tuple[GuestVerdict, ...] = ()
    not_checked: tuple[str, ...] = ()
