"""Which process is a running domain."""

from __future__ import annotations

import os

from agent.inspection.files import Root
from agent.inspection.process import read_command_line


def read_pid(uri: str, name: str, uuid: str) -> int | None:
    """The QEMU process of a running domain; None for a driver without processes, or without the right to look.

    libvirt keeps a pid file per running domain; the process it names must carry the domain's UUID, because a pid file
    can outlive its process.
    """
    if not uri.startswith("qemu:"):
        return None
    text = Root().read(_pid_file(uri, name).lstrip("/")) or b""
    if text.strip().isdigit() and uuid in read_command_line(Root(), int(text)):
        return int(text)
    return _search(uuid)


def _search(uuid: str) -> int | None:
    """Among all processes: for who may not read libvirt's pid files, which are root's."""
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        if uuid in (process.info["cmdline"] or ()):
            return int(process.pid)
    return None


def _pid_file(uri: str, name: str) -> str:
    if not uri.endswith("/session"):
        return f"/run/libvirt/qemu/{name}.pid"
    from pathlib import Path

    runtime = os.environ.get("XDG_RUNTIME_DIR") or Path.home() / ".cache"
    return f"{runtime}/libvirt/qemu/run/{name}.pid"
