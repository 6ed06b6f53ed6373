"""What the agent measures, as Prometheus' text (exposition format 0.0.4); names and units by its conventions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from agent.compute.daemon.view import HostView
from agent.compute.repair import Result
from agent.core.errors import CellwrightError
from agent.core.observation import Role
from agent.core.usage import CellUsage, Usage
from agent.core.verdict import Verdict

Sample = tuple[Mapping[str, object], float]
UPKEEP = {
    "asleep_pcpus": "Dedicated pCPUs that power management has taken offline.",
    "steered_irqs": "Interrupts that were moved off owned pCPUs.",
    "stuck_irqs": "Interrupts on owned pCPUs that the kernel moves for nobody.",
}


def render_metrics(
    view: HostView,
    held: Usage,
    *,
    quick: Verdict | None,
    full: Verdict | None,
    drifted: Mapping[tuple[str, str], int],
    repairs: Mapping[Result, int],
    upkeep: Mapping[str, int],
    report_age_s: float | None,
) -> str:
    """All metrics of one moment; ``held`` is what every running guest holds, ``report_age_s`` None before the first.

    ``upkeep`` has the numbers of UPKEEP.
    """
    host = view.topology
    used = {cell.id: cell for cell in held.cells}
    free, owned, broken, pages_free, pages_held = [], [], [], [], []
    for cell in host.cells:
        mine = used.get(cell.id, CellUsage(cell.id))
        dedicated = cell.cpus & host.dedicated()
        left = dedicated - mine.pinned
        label: dict[str, object] = {"cell": cell.id}
        free.append((label, len(left)))
        owned.append((label, len(mine.pinned)))
        parts = [core.cpus & dedicated for core in cell.cores if core.cpus & dedicated]
        broken.append((label, sum(1 for core in parts if core & left and core & mine.pinned)))
        taken = {page.size_kib: page.used for page in mine.pages}
        for pool in cell.pages:
            size = {**label, "page_kib": pool.size_kib}
            pages_held.append((size, taken.get(pool.size_kib, 0)))
            if pool.free is not None:
                pages_free.append((size, pool.free))
    guests = quick.guests if quick else ()
    findings = [({"guest": guest.name}, len(guest.findings)) for guest in guests]
    delay = [
        ({"guest": guest.name, "vcpu": thread.number}, thread.wait_ns / 1e9)
        for guest in guests
        for thread in guest.threads
        if thread.role is Role.VCPU and thread.wait_ns is not None
    ]
    resident = [
        ({"guest": guest.name, "cell": pages.host_cell, "page_kib": pages.page_kib}, pages.pages)
        for guest in (full.guests if full else ())
        if guest.memory
        for pages in guest.memory.cells
    ]
    blocks = [
        _block("free_pcpus", "gauge", "Dedicated pCPUs that no guest owns.", free),
        _block("owned_pcpus", "gauge", "pCPUs that guests own, idle siblings included.", owned),
        _block("broken_cores", "gauge", "Cores with some dedicated threads owned and some free.", broken),
        _block("free_pages", "gauge", "Pages that the kernel has free.", pages_free),
        _block("guest_pages", "gauge", "Pages that running guests were given.", pages_held),
        _block("guest_resident_pages", "gauge", "Pages of a guest's process that are resident.", resident),
        _block("guest_findings", "gauge", "Threads that are not where they were placed.", findings),
        _block("vcpu_run_delay_seconds_total", "counter", "Time a vCPU was runnable and had to wait.", delay),
        _block(
            "drift_total",
            "counter",
            "Findings that appeared, by what was seen and who did it.",
            [({"code": code, "cause": cause}, count) for (code, cause), count in sorted(drifted.items())],
        ),
        _block(
            "repairs_total",
            "counter",
            "Repairs by what became of them.",
            [({"result": str(result)}, count) for result, count in sorted(repairs.items())],
        ),
        *(_block(name, "gauge", text, [({}, upkeep[name])]) for name, text in UPKEEP.items()),
        _block("instances", "gauge", "Running guests of the scheduler.", [({}, len(view.running))]),
    ]
    if report_age_s is not None:
        help_text = "Seconds since the scheduler last took a report."
        blocks.append(_block("report_age_seconds", "gauge", help_text, [({}, report_age_s)]))
    return "".join(blocks)


def write_textfile(path: Path, text: str) -> None:
    """Put the text where node_exporter's textfile collector reads it, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text)
        draft.chmod(0o644)
        draft.replace(path)
    except OSError as why:
        raise CellwrightError(f"metrics file {path}: {why.strerror}") from why


def _block(name: str, kind: str, help_text: str, samples: Iterable[Sample]) -> str:
    lines = [f"cellwright_{name}{_labels(labels)} {value}" for labels, value in samples]  # every digit of a counter
    return "\n".join([f"# HELP cellwright_{name} {help_text}", f"# TYPE cellwright_{name} {kind}", *lines]) + "\n"


def _labels(labels: Mapping[str, object]) -> str:
    if not labels:
        return ""
    texts = (f'{key}="{_escape(str(value))}"' for key, value in labels.items())
    return "{" + ",".join(texts) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
