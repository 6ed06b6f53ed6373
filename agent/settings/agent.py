"""``[agent]``: whom the agent talks to, how often it looks, and what it may do on its own."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0.05, le=1e6)]


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the agent of this host runs.

    ``report_interval_s`` unset takes what the scheduler asks for.  Topology is read on kernel events, and every
    ``topology_interval_s`` for what has none (huge-page pools).  Masks are compared every ``masks_interval_s``; pages
    every ``pages_interval_s``, stretched so that reading them takes at most ``pages_share`` of one pCPU.  ``repair``
    lets it put back what drifted, and ``repair_pages_mib_per_s`` pages that strayed too, at most so fast (unset: not at
    all).  ``disk_dir`` holds guests' first disks, NAME.qcow2 or NAME.img, where they have one; ``guests_dir`` is the
    file system whose size is reported.  ``textfile`` is for node_exporter.  ``compute_monitors`` is Nova's: with
    ``cpu.virt_driver`` reports carry the host's load, anew every ``topology_interval_s``, for the Metrics weigher.

    ``irq_steering`` keeps interrupts off the pCPUs that guests own.  ``cpu_power_management`` and its fellows are
    Nova's, in a nova.conf too: dedicated pCPUs on which no guest may run go offline (``cpu_state``) or get the low
    governor (``governor``); pCPU 0 is left alone.  The scheduler is told of all; the command's own verbs see those that
    run.  Both are undone when they are switched off.
    """

    scheduler: str = "http://127.0.0.1:8774"
    token_file: str | None = None
    ca_file: str | None = None
    connect: str = "qemu:///system"
    state_dir: str | None = None
    report_interval_s: Seconds | None = None
    topology_interval_s: Seconds = 60.0
    masks_interval_s: Seconds = 5.0
    pages_interval_s: Seconds = 300.0
    pages_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.001
    repair: bool = False
    repair_pages_mib_per_s: Annotated[int, msgspec.Meta(ge=1)] | None = None
    resume_guests_on_boot: bool = True
    template: str = "plain"
    virt_type: Literal["auto", "kvm", "qemu"] = "auto"
    disk_dir: str | None = None
    guests_dir: str = "/var/lib/libvirt/images"
    irq_steering: bool = False
    cpu_power_management: bool = False
    cpu_power_management_strategy: Literal["cpu_state", "governor"] = "cpu_state"
    cpu_power_governor_low: str = "powersave"
    cpu_power_governor_high: str = "performance"
    compute_monitors: tuple[Literal["cpu.virt_driver"], ...] = ()
    textfile: str | None = None
    metrics_listen: str | None = None
