"""Where this machine itself gets Debian from: its enabled apt sources, as files that mmdebstrap takes."""

import re
from collections.abc import Iterator
from pathlib import Path

APT = Path("/etc/apt")


class NoSource(Exception):
    """No apt source of this machine serves the suite."""


def find_sources(suite: str, *, apt: Path = APT) -> list[Path]:
    """The files with an enabled binary source of the suite itself, or of its updates and security; NoSource if none."""
    paths = [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]
    suites = {path: set(read_lines(path)) for path in paths if path.is_file()}
    suites |= {path: set(read_stanzas(path)) for path in sorted(apt.glob("sources.list.d/*.sources"))}
    if not any(suite in served for served in suites.values()):
        said = ", ".join(sorted(set().union(*suites.values()))) or "nothing"
        raise NoSource(f"no apt source in {apt} serves Debian {suite}, which the lab's machines run; they serve {said}")
    wanted = {suite, f"{suite}-updates", f"{suite}-security"}
    return [path for path, served in suites.items() if served & wanted]


def read_lines(path: Path) -> Iterator[str]:
    """The suites of a one-line-style list."""
    for line in path.read_text().splitlines():
        if match := re.match(r"\s*deb\s+(?:\[[^]]*\]\s*)?\S+\s+(\S+)", line):
            yield match[1]


def read_stanzas(path: Path) -> Iterator[str]:
    """The suites of a deb822-style file; a field may go on in indented lines."""
    text = "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", text):
        joined = re.sub(r"\n[ \t]+", " ", stanza)
        fields = {key.strip().lower(): value for key, _, value in (line.partition(":") for line in joined.splitlines())}
        enabled = fields.get("enabled", "yes").strip().lower() not in ("no", "false", "off", "0")
        if enabled and "deb" in fields.get("types", "").split():
            yield from fields.get("suites", "").split()
