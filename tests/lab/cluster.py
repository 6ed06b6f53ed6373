"""The packaged agent inside a lab, its scheduler outside, and one guest between them."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from tests.lab.guests import Guest
from tests.lab.machine import Machine
from tests.lab.waiting import wait_until
from tests.scheduler.conftest import Service

T = TypeVar("T")
UNIT = "cellwright-agent"
AUDIT = "cellwright-audit"
DROP_IN = f"/etc/systemd/system/{UNIT}.service.d/lab.conf"
AUDIT_DROP_IN = f"/etc/systemd/system/{AUDIT}.timer.d/lab.conf"
TEMPLATE = "/opt/cellwright/templates/tiny.xml"
HALT = '<loader readonly="yes" type="rom">/usr/share/lab/halt.bin</loader>'
SETTINGS = """\
[agent]
scheduler = "http://10.0.2.2:{port}"
token_file = "/etc/cellwright/agent.token"
template = "tiny"
virt_type = "qemu"
repair = true
report_interval_s = 5
masks_interval_s = 3
topology_interval_s = 10
"""


class Cluster:
    """A host named ``lab`` with its agent, and a scheduler on this computer's loopback."""

    def __init__(self, lab: Machine, service: Service) -> None:
        self.lab = lab
        self.service = service

    # ---------------------------------------------------------------- inside

    def install(self) -> None:
        """What an administrator does: users and folders, settings, the host's token, the unit enabled and started.

        The audit that comes due is one that a test can wait for, a start may take its time, and guests' firmware halts.
        """
        made = self.service.run("host", "token", "lab")
        assert made.returncode == 0, made.stderr
        self.lab.shell("systemd-sysusers cellwright.conf && systemd-tmpfiles --create cellwright.conf")
        self.lab.write("/etc/cellwright/conf.d/lab.toml", SETTINGS.format(port=self.service.port))
        self.lab.write("/etc/cellwright/agent.token", made.stdout)
        self.lab.shell(f"chmod 600 /etc/cellwright/agent.token; sed -i 's|hvm</type>|&{HALT}|' {TEMPLATE}")
        self.lab.write(DROP_IN, "[Service]\nTimeoutStartSec=infinity\n")
        self.lab.write(AUDIT_DROP_IN, "[Timer]\nRandomizedDelaySec=0\nAccuracySec=1s\n")
        self.lab.shell(f"systemctl daemon-reload && systemctl enable --now {UNIT}")

    def remove(self) -> None:
        """The host as it was, without a guest that a failed test left."""
        self.lab.shell(
            f"systemctl disable --now {UNIT} {AUDIT}.timer; systemctl reset-failed;"
            " for name in $(virsh -q list --all --name); do virsh -q destroy $name; virsh -q undefine $name; done;"
            f" rm -r {DROP_IN} {AUDIT_DROP_IN}"
            f" /etc/cellwright/conf.d/lab.toml /etc/cellwright/agent.token; sed -i 's|{HALT}||' {TEMPLATE};"
            " systemctl daemon-reload"
        )

    def show(self, key: str, unit: str = UNIT) -> str:
        return self.lab.run("systemctl", "show", "-P", key, unit).stdout.strip()

    def status(self) -> str:
        """What the unit says of itself."""
        return self.show("StatusText")

    def journal(self, *words: str) -> list[str]:
        """The unit's lines of this boot that the journal has by now."""
        return self.lab.run("journalctl", "-b", "-u", UNIT, "-o", "cat", *words).stdout.splitlines()

    def wait(self, what: str, ask: Callable[[], T]) -> T:
        """What ``ask`` answers once it is true."""
        return wait_until(what, ask, told=lambda: "\n".join([self.status(), *self.journal("-n", "30")]))

    def wait_logged(self, text: str, *words: str) -> None:
        """The journal has a line with this text: systemd's journal takes lines a moment after they were written."""
        self.wait(f"the journal has {text!r}", lambda: any(text in line for line in self.journal(*words)))

    def wait_up(self) -> None:
        """The scheduler takes the host's reports."""
        self.wait("the host is up", lambda: self.host().get("state") == "up")

    # ---------------------------------------------------------------- outside

    def host(self) -> dict[str, Any]:
        """The host's row; empty before it was heard of."""
        return next((row for row in self.service.ask("hosts") if row["name"] == "lab"), {})

    def instance(self, name: str) -> dict[str, Any]:
        """The instance as the scheduler has it; empty when it has none of that name."""
        if name not in [row["name"] for row in self.service.ask("instances")]:
            return {}
        found: dict[str, Any] = self.service.ask("instances", name)
        return found

    def request(self, name: str, flavor: str) -> None:
        """``cellwright instance create``, as a user outside types it, for a host that takes guests."""
        self.wait_up()
        done = self.service.run("instance", "create", "--flavor", flavor, name, "-f", "json")
        assert done.returncode == 0, done.stderr + done.stdout
        assert json.loads(done.stdout)["host"] == "lab"

    def wait_active(self, name: str) -> Guest:
        """The guest inside, once the scheduler has heard that it runs where it was placed."""
        found = self.wait(
            f"instance {name} is ACTIVE",
            lambda: (one := self.instance(name)).get("status") == "ACTIVE" and one,
        )
        return Guest(self.lab, name, found["placement"])

    def delete(self, name: str) -> None:
        done = self.service.run("instance", "delete", name)
        assert done.returncode == 0, done.stderr
        self.wait(f"instance {name} is gone", lambda: not self.instance(name))
