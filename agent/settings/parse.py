"""Settings text to a Layer: unknown sections and keys are refused by name, with the list of what is allowed."""

from __future__ import annotations

import tomllib
from typing import Any

from agent.core.codec import convert
from agent.core.errors import BadInput
from agent.settings.document import CPU_SETS, Layer, Settings, sections


def parse_toml(text: str, source: str) -> Layer:
    """What a TOML settings file says; BadInput names ``source``, the key, what was found and what is allowed.

    An empty CPU set text unsets the set, as in nova.conf; a text that excludes all it names is an error.
    """
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as why:  # TOMLDecodeError is one, and so is a number of 5,000 digits
        raise BadInput(f"{source}: not TOML: {why}") from why
    return layer(tree, source)


def layer(tree: dict[str, Any], source: str, *, replaces_sets: bool = False) -> Layer:
    """The Layer of section → key → plain value."""
    for section, keys in sections().items():
        table = tree.get(section, {})
        if not isinstance(table, dict):
            raise BadInput(f"{source}: {section}: found {table!r}; allowed: a table, [{section}]")
        _refuse_unknown(table, keys, f"{source}: [{section}]", "key")
        for key, value in table.items():
            if isinstance(value, str) and "\0" in value:
                raise BadInput(f"{source}: [{section}] {key}: found {value!r}; allowed: text without NUL")
    _refuse_unknown(tree, tuple(sections()), source, "section")
    plain = {
        section: {key: None if key in CPU_SETS and value == "" else value for key, value in table.items()}
        for section, table in tree.items()
    }
    typed = convert(plain, Settings, source=source)
    values = {
        section: {key: getattr(getattr(typed, section), key) for key in table} for section, table in plain.items()
    }
    for key in CPU_SETS:
        cpus = values.get("host", {}).get(key)
        if cpus is not None and not cpus:
            raise BadInput(
                f"{source}: [host] {key}={tree['host'][key]!r} leaves no pCPU; allowed: a list such as 4-12,^8"
            )
    return Layer(source, values, replaces_sets)


def _refuse_unknown(table: dict[str, Any], allowed: tuple[str, ...], where: str, what: str) -> None:
    for name in table:
        if name not in allowed:
            raise BadInput(f"{where}: unknown {what} {name!r}; allowed: {', '.join(allowed)}")
