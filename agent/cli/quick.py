"""The plainest uses of two verbs, answered before argparse and packages are loaded: people and monitors wait for them.

JSON is made without msgspec too, and nothing is imported that the report does not need.
"""

from __future__ import annotations

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.inspection.files import Root

SETTINGS = "/etc/cellwright"
"""Where the operator's sets come from; a machine without it has nothing to read but its kernel."""

ASKS_LIBVIRT = ("svg",)
"""Formats that show this host's guests when libvirt answers."""

OPTIONS = ("--format", "--sysroot", "--snapshot")


def run_quick_topology(argv: list[str]) -> int | None:
    """``--format FORMAT`` of a whole host, this one or one of ``--sysroot`` or ``--snapshot``; None for all else."""
    words = [part for word in argv for part in word.split("=", 1)]
    options = dict(zip(words[::2], words[1::2], strict=False))
    if len(words) != 2 * len(options) or not all(option in OPTIONS for option in options):
        return None
    form = options.pop("--format", "table")
    if len(options) > 1 or (not options and (_is_folder(SETTINGS) or form in ASKS_LIBVIRT)):
        return None
    if form != "json":
        return _run_typed(form, options)
    from agent.core.plainjson import dump
    from agent.inspection.document import read_document

    sys.stdout.write(dump(read_document(_files(options))) + "\n")
    return 0


def run_quick_pages(argv: list[str]) -> int | None:
    """Processes by number, as a table, with ``--keys`` or without; None for all else."""
    from agent.cli.pages import is_number, tell

    pids = [int(word) for word in argv if is_number(word)]
    if not pids or argv.count("--keys") + len(pids) != len(argv):
        return None
    sys.stdout.write(tell(dict.fromkeys(pids), keys="--keys" in argv))
    return 0


def _run_typed(form: str, options: dict[str, str]) -> int | None:
    """All other formats are made of a HostTopology."""
    from agent.cli.packages import find_packages
    from agent.cli.topology import FORMATS, render

    if form not in FORMATS:
        return None
    find_packages()
    from agent.inspection.host import read_host

    sys.stdout.write(render(read_host(_files(options)), form))
    return 0


def _files(options: dict[str, str]) -> Root:
    from agent.inspection.files import Root

    if "--snapshot" not in options:
        return Root(options.get("--sysroot", "/"))
    from agent.cli.packages import find_packages

    find_packages()  # zstandard is one
    from agent.inspection.archive import read_archive

    return read_archive(options["--snapshot"])


def _is_folder(path: str) -> bool:
    try:
        return posix.stat(path).st_mode & 0o170000 == 0o040000
    except OSError:
        return False


QUICK = {"topology": run_quick_topology, "pages": run_quick_pages}
"""Verb → who answers its plainest uses."""
