"""Scheduler and agent of one host in one process, on SQLite: a whole Cellwright for one machine.

The agent gets its token by itself; the operators' first one is where the scheduler writes it.  SIGTERM ends both;
guests run on.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from agent.cli.daemon_log import add_log_option, start_logging


def configure(parser: ArgumentParser) -> None:
    """The options of both halves, where their being one does not decide them."""
    parser.add_argument("--listen", metavar="ADDR:PORT", help="default: 127.0.0.1:8774")
    parser.add_argument("--database", metavar="URL", help="default: SQLite below /var/lib/cellwright-scheduler")
    parser.add_argument("--operator-token-file", metavar="FILE", help="where the first operator token is written")
    add_log_option(parser)
    parser.add_argument("--config", metavar="FILE", help="this file instead of /etc/cellwright")
    parser.add_argument("--connect", metavar="URI", help="libvirt (default: qemu:///system)")
    parser.add_argument("--state-dir", metavar="DIR", help="journal and state file (default: /var/lib/cellwright)")
    parser.set_defaults(scheduler=None, token_file=None, ca_file=None, textfile=None, metrics_listen=None)


def run(args: Namespace) -> int:
    """Serve until told to stop: the scheduler from a thread, the agent from the main one, which has the signals."""
    from msgspec.structs import replace

    from agent.cli import agent
    from agent.scheduler.serve import serve_beside

    start_logging(args.log_level)
    settings = agent.read_agent_settings(args)
    said = {"listen": args.listen, "database": args.database, "token_file": args.operator_token_file}
    service = replace(settings.scheduler, **{key: value for key, value in said.items() if value is not None})
    beside = serve_beside(replace(settings, scheduler=service), host=os.uname().nodename)
    try:
        args.scheduler, args.ca_file = beside.url, service.tls_certificate
        worker, link = agent.build(agent.read_agent_settings(args), token=beside.token)
        worker.remember()
        return agent.serve(worker, link, args)
    finally:
        beside.stop()
