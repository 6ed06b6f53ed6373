"""Which boot of the machine this is (/proc/sys/kernel/random/boot_id, Documentation/admin-guide/sysctl/kernel.rst)."""

from __future__ import annotations

from agent.inspection.files import Root


def read_boot_id(root: Root) -> str | None:
    """The random id of the running boot; None where the kernel does not tell."""
    return root.line("proc/sys/kernel/random/boot_id")
