"""An existing nova.conf to a Layer: only the options that decide what guests may use on this host.

The format is oslo.config's (``oslo_config.iniparser``): ``key = value`` or ``key: value``, indented lines continue a
value, an option given twice is a list for multi-valued options, and the last one counts for all others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.core.errors import BadInput
from agent.core.units import parse_size_kib
from agent.settings.document import Layer
from agent.settings.parse import layer

Options = dict[tuple[str, str], list[str]]


def parse_nova_conf(text: str, source: str) -> Layer:
    """CPU sets, ratios, reservations, packing and CPU power of a nova.conf; all other options are passed over.

    BadInput names ``source``, the option, what was found and what is allowed.
    """
    options = _options(text, source)
    tree: dict[str, dict[str, Any]] = {}
    for (section, option), (ours, key, read) in _READ.items():
        texts = options.get((section, option))
        if texts is None:
            continue
        try:
            value = read(texts)
        except BadInput as why:
            raise BadInput(f"{source}: [{section}] {option}: {why}") from why
        if value is not None:
            tree.setdefault(ours, {})[key] = value
    return layer(tree, source)


def _options(text: str, source: str) -> Options:
    found: Options = {}
    section: str | None = None
    last: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        body = line.strip()
        if not body:
            last = None
        elif body[0] in "#;":
            continue
        elif line[0] in " \t" and last is not None:
            last[-1] = f"{last[-1]} {body}".strip()
        elif body[0] == "[":
            if body[-1] != "]" or len(body) == 2:
                raise BadInput(f"{source}: line {number}: {_short(body)} is no section; allowed: [name]")
            section, last = body[1:-1], None
        else:
            at = min((body.index(sign) for sign in "=:" if sign in body), default=0)
            if at == 0:
                raise BadInput(f"{source}: line {number}: {_short(body)} is no option; allowed: key = value")
            if section is None:
                raise BadInput(
                    f"{source}: line {number}: {_short(body)} is in no section; allowed: [DEFAULT] before it"
                )
            last = found.setdefault((section, body[:at].rstrip()), [])
            last.append(_unquoted(body[at + 1 :].strip()))
    return found


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _text(texts: list[str]) -> str:
    return texts[-1]


def _ratio(texts: list[str]) -> float | None:
    try:
        ratio = float(texts[-1])
    except ValueError as why:
        raise BadInput(f"found {_short(texts[-1])}; allowed: a number such as 4.0") from why
    return ratio or None  # Nova reads 0.0 as unset


def _count(texts: list[str]) -> int:
    if not (texts[-1].isascii() and texts[-1].isdigit()) or len(texts[-1]) > 15:
        raise BadInput(f"found {_short(texts[-1])}; allowed: a whole number of MiB")
    return int(texts[-1])


def _switch(texts: list[str]) -> bool:
    word = texts[-1].lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise BadInput(f"found {_short(texts[-1])}; allowed: true or false")


def _packing(texts: list[str]) -> str:
    return "pack" if _switch(texts) else "spread"


def _strategy(texts: list[str]) -> str:
    if texts[-1] not in ("cpu_state", "governor"):
        raise BadInput(f"found {_short(texts[-1])}; allowed: cpu_state or governor")
    return texts[-1]


def _huge_pages(texts: list[str]) -> list[dict[str, int]]:
    return [_reserved(text) for text in texts if text]


def _reserved(text: str) -> dict[str, int]:
    parts = dict(item.partition(":")[::2] for item in text.replace(" ", "").split(","))
    if set(parts) != {"node", "size", "count"} or not all(
        parts[key].isascii() and parts[key].isdigit() and len(parts[key]) < 16 for key in ("node", "count")
    ):
        raise BadInput(f"found {_short(text)}; allowed: node:0,size:2048,count:64")
    return {"cell": int(parts["node"]), "size_kib": parse_size_kib(parts["size"]), "count": int(parts["count"])}


_READ: dict[tuple[str, str], tuple[str, str, Callable[[list[str]], Any]]] = {
    ("DEFAULT", "vcpu_pin_set"): ("host", "vcpu_pin_set", _text),
    ("compute", "cpu_dedicated_set"): ("host", "cpu_dedicated_set", _text),
    ("compute", "cpu_shared_set"): ("host", "cpu_shared_set", _text),
    ("DEFAULT", "cpu_allocation_ratio"): ("host", "cpu_allocation_ratio", _ratio),
    ("DEFAULT", "ram_allocation_ratio"): ("host", "ram_allocation_ratio", _ratio),
    ("compute", "packing_host_numa_cells_allocation_strategy"): ("host", "packing", _packing),
    ("DEFAULT", "reserved_host_memory_mb"): ("host", "reserved_host_memory_mb", _count),
    ("DEFAULT", "reserved_huge_pages"): ("host", "reserved_huge_pages", _huge_pages),
    ("libvirt", "cpu_power_management"): ("agent", "cpu_power_management", _switch),
    ("libvirt", "cpu_power_management_strategy"): ("agent", "cpu_power_management_strategy", _strategy),
    ("libvirt", "cpu_power_governor_low"): ("agent", "cpu_power_governor_low", _text),
    ("libvirt", "cpu_power_governor_high"): ("agent", "cpu_power_governor_high", _text),
}
"""(section, option) of nova.conf → our section and key, and how its texts are read."""
