"""Run the central scheduler.

One scheduler keeps its data in SQLite; several share one PostgreSQL, and each stays right when another is killed.
SIGHUP reads filters, weighers, their parameters, and the TLS certificate again; other settings want a restart.

Backup: sqlite3 FILE "VACUUM INTO 'backup.db'" while it runs, or pg_dump -Fc.  Restore: put the copy in place of the
file and remove FILE-wal and FILE-shm of the old one, or pg_restore into an empty database, then start.  A newer
cellwright upgrades the database when it starts, with what is in it; an older one refuses it by name, so make a copy
before an upgrade.  SQLite keeps every acknowledged claim when the process is killed; a power cut may take those of the
last seconds (their guests are then counted as foreign), PostgreSQL keeps those too.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from agent.cli.daemon_log import add_log_option, start_logging

if TYPE_CHECKING:
    from agent.settings.document import Settings


def configure(parser: ArgumentParser) -> None:
    """The options of ``cellwright scheduler``."""
    parser.add_argument("--listen", metavar="ADDR:PORT", help="default: 127.0.0.1:8774")
    parser.add_argument("--database", metavar="URL", help="sqlite:///PATH, or postgresql://USER@HOST/NAME for several")
    parser.add_argument("--region", metavar="NAME", help="this scheduler's region")
    parser.add_argument("--token-file", metavar="FILE", help="where the first operator token is written")
    add_log_option(parser)
    parser.add_argument("--config", metavar="FILE", help="this file instead of /etc/cellwright")
    parser.add_argument(
        "--insecure-loopback", action="store_true", help="serve a loopback address without tokens, for trials"
    )


def run(args: Namespace) -> int:
    """Serve until told to stop."""
    from functools import partial

    from agent.scheduler.serve import serve

    start_logging(args.log_level)
    return serve(partial(read_scheduler_settings, args), insecure_loopback=args.insecure_loopback)


def read_scheduler_settings(args: Namespace) -> Settings:
    """The settings in force, with what the command line says."""
    from msgspec.structs import replace

    from agent.settings.load import read_settings

    settings = read_settings(args.config).settings
    said = {key: getattr(args, key) for key in ("listen", "database", "region", "token_file")}
    service = replace(settings.scheduler, **{key: value for key, value in said.items() if value is not None})
    return replace(settings, scheduler=service)
