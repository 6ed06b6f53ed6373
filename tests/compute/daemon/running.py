"""A scheduler and an agent as processes of their own, and the words to wait with."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from agent.compute.daemon.state import AgentState
from agent.core.codec import encode
from agent.core.errors import BadInput
from tests.compute.guests import virsh
from tests.scheduler.conftest import Service

T = TypeVar("T")
HOST = os.uname().nodename
KILLED = Path(__file__).parents[2] / "killed.py"

SETTINGS = """
[host]
cpu_allocation_ratio = 1000
[agent]
scheduler = "{url}"
token_file = "{folder}/agent.token"
state_dir = "{folder}/state"
template = "tiny"
virt_type = "qemu"
report_interval_s = 1
masks_interval_s = 0.5
{more}
"""


LIMIT_S = 240.0
"""What has not happened by then, on a slow machine that is busy too, does not happen."""


def wait_for(what: str, ask: Callable[[], T], *, limit_s: float = LIMIT_S) -> T:
    """What ``ask`` answers once it is true."""
    until = time.monotonic() + limit_s
    while not (found := ask()):
        assert time.monotonic() < until, f"not within {limit_s:.0f} s: {what}"
        time.sleep(0.1)
    return found


class AgentProcess:
    """``cellwright agent`` against one scheduler, with a state of its own."""

    def __init__(self, folder: Path, service: Service, *, more: str = "", id: str = "tests") -> None:
        self.folder = folder
        self.service = service
        self.process: subprocess.Popen[bytes] | None = None
        made = service.run("host", "token", HOST)
        assert made.returncode == 0, made.stderr
        (folder / "agent.token").write_text(made.stdout)
        (folder / "state").mkdir(exist_ok=True)
        if not (folder / "state/agent.json").exists():  # the tests' agents are one after the other, not two of one name
            (folder / "state/agent.json").write_bytes(encode(AgentState(agent=id)))
        self.config = folder / "cellwright.toml"
        self.config.write_text(SETTINGS.format(url=service.url, folder=folder, more=more))

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "agent", "agent", "--config", str(self.config), *words]

    def start(self, **environment: str) -> None:
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, env={**os.environ, **environment})

    def once(self, *, killed: tuple[str, int] | None = None) -> subprocess.CompletedProcess[str]:
        """One round; with ``killed`` it ends with -9 when it is about to call that method for that time."""
        command = self.command("--once")
        if killed is not None:
            command = [sys.executable, str(KILLED), killed[0], str(killed[1]), *command[3:]]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def stop(self, *, kill: bool = False) -> int:
        assert self.process is not None
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        return self.process.wait(LIMIT_S)

    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    def wait_up(self) -> None:
        wait_for(f"host {HOST} is up\n{self.log()}", lambda: self.host().get("state") == "up")

    def host(self) -> dict[str, Any]:
        return next((row for row in self.service.ask("hosts") if row["name"] == HOST), {})


def instance(service: Service, name: str) -> dict[str, Any]:
    """The instance as the scheduler has it; empty when it has none of that name."""
    try:
        return dict(service.ask("instances", name))
    except BadInput as why:
        if "is not known" not in str(why):
            raise
        return {}


def wait_status(service: Service, name: str, status: str) -> dict[str, Any]:
    """The instance once it has that status."""

    def ask() -> dict[str, Any]:
        found = instance(service, name)
        return found if found.get("status") == status else {}

    return wait_for(f"instance {name} is {status}; it is {instance(service, name)}", ask)


def domain_state(name: str) -> str:
    """virsh's word; "" when there is no such domain."""
    return virsh("domstate", name, check=False).strip()


def delete(service: Service, name: str) -> None:
    """The instance is deleted, and its agent says that its guest is gone."""
    service.run("instance", "delete", name)
    wait_for(f"the instance {name} is gone", lambda: not instance(service, name))
