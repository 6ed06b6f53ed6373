"""Run this host's agent: report to the scheduler, make its guests so through libvirt, prove them, keep them so.

Guests never stop because the agent or the scheduler does.  SIGHUP reads the settings again, SIGTERM ends the agent.
With --once it reports, carries out what is assigned, proves every guest, and ends: 0 all is as placed, 4 something is
not, 5 libvirt or the scheduler is not reachable.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.errors import FINDINGS

if TYPE_CHECKING:
    from agent.compute.daemon.link import Link
    from agent.compute.daemon.worker import Worker
    from agent.settings.document import Settings

WORDS = {"scheduler": "scheduler", "token_file": "token_file", "connect": "connect", "state_dir": "state_dir"}
WORDS |= {"textfile": "textfile", "metrics_listen": "metrics_listen", "ca_file": "ca_file"}


def configure(parser: ArgumentParser) -> None:
    """The options of ``cellwright agent``; each stands instead of its key in ``[agent]``."""
    address = os.environ.get("CELLWRIGHT_SCHEDULER")
    parser.add_argument(
        "--scheduler", metavar="URL", default=address, help="or CELLWRIGHT_SCHEDULER; default: http://127.0.0.1:8774"
    )
    parser.add_argument("--token-file", metavar="FILE", help="the file with this host's token; or CELLWRIGHT_TOKEN")
    parser.add_argument("--ca-file", metavar="FILE", help="the authority that signed the scheduler's certificate")
    parser.add_argument("--config", metavar="FILE", help="this file instead of /etc/cellwright")
    parser.add_argument("--connect", metavar="URI", help="libvirt (default: qemu:///system)")
    parser.add_argument("--state-dir", metavar="DIR", help="journal and state file (default: /var/lib/cellwright)")
    parser.add_argument("--textfile", metavar="PATH", help="write metrics here for node_exporter's textfile collector")
    parser.add_argument("--metrics-listen", metavar="ADDR:PORT", help="serve metrics here (default: nowhere)")
    parser.add_argument("--once", action="store_true", help="one round, then end")


def run(args: Namespace) -> int:
    """Run until told to stop."""
    from agent.cli.daemon_log import start_logging

    start_logging()
    settings = read_agent_settings(args)
    worker, link = build(settings, token=read_token(settings.agent.token_file))
    worker.remember()
    if args.once:
        return run_once(worker, link)
    return serve(worker, link, args)


def read_agent_settings(args: Namespace) -> Settings:
    """The settings in force, with what the command line says."""
    from msgspec.structs import replace

    from agent.settings.load import read_settings

    settings = read_settings(args.config).settings
    said = {key: getattr(args, key) for key in WORDS if getattr(args, key) is not None}
    return replace(settings, agent=replace(settings.agent, **said))


def build(settings: Settings, *, token: str | None) -> tuple[Worker, Link]:
    """The worker of this host, and its line to the scheduler."""
    from uuid import uuid4

    from agent.compute.client import Client
    from agent.compute.daemon.carry_out import Tools
    from agent.compute.daemon.link import Link
    from agent.compute.daemon.state import read_agent_state
    from agent.compute.daemon.worker import Worker
    from agent.compute.driver import Driver
    from agent.compute.journal import Journal
    from agent.compute.paths import run_dir, state_dir
    from agent.inspection.boot import read_boot_id
    from agent.inspection.files import Root

    agent = settings.agent
    folder = Path(agent.state_dir) if agent.state_dir else state_dir()
    state, wrong = read_agent_state(folder / "agent.json", new_id=str(uuid4()))
    if wrong:
        print(f"cellwright: {wrong}; beginning anew", file=sys.stderr)
    tools = Tools(Driver(agent.connect), Journal(folder / "journal"), agent, run_dir())
    link = Link(Client(agent.scheduler, token, ca_file=agent.ca_file, keep=True), os.uname().nodename)
    worker = Worker(tools, link, settings, state=state, state_file=folder / "agent.json", boot_id=read_boot_id(Root()))
    return worker, link


def read_token(path: str | None) -> str | None:
    """The token: of the file, of systemd's credential ``agent.token``, or of the environment."""
    from agent.core.errors import BadInput

    if path is None and "CREDENTIALS_DIRECTORY" in os.environ:
        credential = Path(os.environ["CREDENTIALS_DIRECTORY"], "agent.token")
        path = str(credential) if credential.is_file() else None
    if path is None:
        return os.environ.get("CELLWRIGHT_TOKEN")
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as why:
        raise BadInput(f"token file {path}: {why}; allowed: a readable file with a token") from why


def run_once(worker: Worker, link: Link) -> int:
    """One report, one reconciling, one proof of everything."""

    from agent.compute.daemon.view import report_of

    worker.read_all()
    assert worker.view is not None
    for whole in (False, True):
        report = report_of(worker.view, agent=worker.state.agent, whole=whole)
        if not link.report(report).send_topology:
            break
    worker.reconcile(accepted=True)
    worker.prove_masks()
    worker.prove_pages()
    verdict = worker.prover.full
    return 0 if verdict is None or verdict.ok else FINDINGS


def serve(worker: Worker, link: Link, args: Namespace) -> int:
    """The service, told of by its manager's environment."""
    from functools import partial
    from random import Random

    from agent.compute.daemon.confine import confine_process
    from agent.compute.daemon.service import Service
    from agent.core.notify import manager_of

    service = Service(
        worker,
        link,
        read_settings=partial(read_agent_settings, args),
        manager=manager_of(os.environ),
        random=Random(),
        confine=confine_process,
    )
    return service.run()
