"""What may name an aggregate, a flavor, a group, a host or a project, and what text may go with it."""

from __future__ import annotations

from agent.core.errors import BadInput

LONGEST = 255
LONGEST_VALUE = 4000
SHOWN = 80


def check_name(what: str, name: str) -> None:
    """BadInput unless a name can stand on a line of a table and in an address.

    >>> check_name("flavor", "m1.tiny")
    """
    if not 0 < len(name) <= LONGEST or "/" in name or not name.isprintable() or name != name.strip():
        allowed = f"1 to {LONGEST} printable characters, no / among them and no blank at the ends"
        raise BadInput(f"{what} {name[:SHOWN]!r} is no name; allowed: {allowed}")


def check_host(name: str) -> None:
    """BadInput unless a name can be a host's: lists of hosts have commas between."""
    check_name("host", name)
    if "," in name:
        raise BadInput(f"host {name[:SHOWN]!r} is no name; allowed: a name without commas")


def check_text(what: str, text: str, *, most: int = LONGEST) -> None:
    """BadInput unless a text, which may be empty, can stand on a line."""
    if len(text) > most or not text.isprintable():
        raise BadInput(f"{what} {text[:SHOWN]!r}; allowed: at most {most} printable characters")


def check_property(key: str, value: str | None) -> None:
    """BadInput unless this can be a property of an aggregate or a flavor; None takes one away."""
    if not key:
        raise BadInput(f"property '={(value or '')[:SHOWN]}' has no key; allowed: KEY=VALUE")
    check_text("property", key)
    check_text(f"property {key}", value or "", most=LONGEST_VALUE)
