"""Check the configuration: print every setting in force, but for passwords, and the file it came from.

Files are read as the other verbs read them; CPU sets and cells are held against the host.  Exit codes: 0 it can be
used, 2 it cannot, and the one line on stderr names the file, the key and what is allowed.
"""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.topology import HostTopology
    from agent.settings.document import Settings


def configure(parser: ArgumentParser) -> None:
    """The options of ``cellwright config``."""
    parser.add_argument("action", choices=["check"], help="read all configuration files and print what is in force")
    parser.add_argument("--config", metavar="FILE", help="this file instead of /etc/cellwright")
    parser.add_argument(
        "--nova-conf", metavar="FILE", help="take CPU sets, ratios and reservations from this nova.conf"
    )
    parser.add_argument("--sysroot", metavar="DIR", default="/", help="check the CPU sets against this saved host")
    parser.add_argument("--format", choices=["table", "json"], default="table", help="default: table")


def run(args: Namespace) -> int:
    """0 when the configuration can be used; what is wrong with it ends as one line and exit code 2."""
    from agent.core.codec import encode, to_tree
    from agent.inspection.host import read_host
    from agent.settings.load import read_settings
    from agent.settings.sets import apply_sets

    effective = read_settings(args.config, nova_conf=args.nova_conf)
    host = apply_sets(read_host(args.sysroot), effective.settings)
    check_words(effective.settings, host)
    tree = to_tree(effective)
    tree["settings"]["scheduler"]["database"] = _without_password(effective.settings.scheduler.database)
    if args.format == "json":
        print(encode(tree).decode())
        return 0
    rows = [
        (f"{section}.{key}", _shown(value), effective.origins.get(f"{section}.{key}", "default"))
        for section, table in tree["settings"].items()
        for key, value in table.items()
    ]
    widths = [min(max(len(row[column]) for row in rows), 48) for column in (0, 1)]
    for name, value, origin in rows:
        print(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}")
    return 0


def check_words(settings: Settings, host: HostTopology) -> None:
    """BadInput for what only its user finds wrong: an address, a name that nothing has, a cell that is not there."""
    from agent.core.address import parse_http, parse_listen
    from agent.core.errors import BadInput
    from agent.settings.scheduling import check_service

    check_service(settings.scheduler)
    parse_http(settings.agent.scheduler, what="[agent] scheduler")
    if settings.agent.metrics_listen is not None:
        parse_listen(settings.agent.metrics_listen, what="metrics_listen")
    kept = settings.host
    cells = {cell.id for cell in host.cells}
    for cell in (*kept.reserved_memory_mb, *(pages.cell for pages in kept.reserved_huge_pages)):
        if cell not in cells:
            raise BadInput(f"reserved memory of cell {cell}; allowed: {', '.join(map(str, sorted(cells)))}")
    with suppress(ImportError):  # no agent can run here, and nothing else reads its template
        from agent.domain.templates import read_template

        read_template(settings.agent.template)
    try:
        from agent.scheduler.registry import all_filters, all_weighers, chosen_filters, chosen_weighers
        from agent.scheduler.store.database import parse_url
    except ImportError:
        return  # no scheduler can run here, and nothing else reads these names
    parse_url(settings.scheduler.database)
    chosen_filters(settings.scheduling, all_filters())
    chosen_weighers(settings.scheduling, all_weighers())


def _without_password(url: str) -> str:
    return re.sub(r"(password=)[^&]*", r"\1***", re.sub(r"(://[^:/@]*:)[^@]*@", r"\1***@", url))


def _shown(value: object) -> str:
    if value is None or value in ("", [], (), {}):
        return "-"
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(_shown(item) for item in value)
    return str(value)
