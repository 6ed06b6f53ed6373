"""Documents to JSON and back: the one place that knows how CpuSets travel and which schema versions are read.

>>> decode(b'{"cells": []}', Usage)
Usage(cells=(), schema='cellwright.usage/1')
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from agent.core.cpulist import BadCpuList, format_list
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.placement import SCHEMA, Misfit, Placement, find_contradiction

T = TypeVar("T")

KINDS = {None.__class__: "null", list: "array", dict: "object"}
"""What msgspec calls the kinds of values, where it is not Python's word."""


MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for text that is no JSON, or none that it reads; a document of wrong keys among them."""


def _to_builtin(value: Any) -> Any:
    if isinstance(value, CpuSet):
        return format_list(value.mask)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def from_builtin(wanted: type, value: Any) -> Any:
    """What msgspec asks for a type that it does not know (``dec_hook``): a CpuSet from its kernel list."""
    if wanted is CpuSet:
        if not isinstance(value, str):
            raise ValueError(f"expected a CPU list such as '0-3,8', got {value!r}")
        try:
            return CpuSet.parse(value)
        except BadCpuList as why:
            raise ValueError(str(why)) from why  # msgspec adds the path inside the document
    raise TypeError(f"{wanted.__name__} has no JSON form")


def encode(obj: Any) -> bytes:
    """The document as compact JSON, UTF-8; keys in the order the document declares them."""
    return msgspec.json.encode(obj, enc_hook=_to_builtin)


def decode(data: bytes | str, type: type[T], *, source: str = "document") -> T:
    """Read a JSON document; BadInput names ``source``, the path inside it, what was expected and what was found."""
    try:
        value = msgspec.json.decode(data, type=type, dec_hook=from_builtin)
    except MALFORMED as why:
        if not data.strip():
            raise BadInput(f"{source}: it is empty; allowed: a JSON document") from why
        try:
            tree = msgspec.json.decode(data)
        except MALFORMED as broken:  # further on than the first key that is wrong, it may be
            raise BadInput(f"{source}: {_said(broken)}") from broken
        raise _refusal(why, tree, type, source=source) from why
    check_schema(value, type, source=source)
    return value


def convert(tree: Any, type: type[T], *, source: str = "document") -> T:
    """The same from dicts and lists that were read already, from TOML or YAML say."""
    try:
        value = msgspec.convert(tree, type=type, dec_hook=from_builtin, str_keys=True)
    except (msgspec.ValidationError, RecursionError) as why:
        raise _refusal(why, tree, type, source=source) from why
    check_schema(value, type, source=source)
    return value


def to_tree(obj: Any) -> Any:
    """The document as dicts, lists, strings and numbers."""
    return msgspec.to_builtins(obj, enc_hook=_to_builtin, str_keys=True)


def decode_answer(data: bytes | str, *, source: str = "document") -> Placement | Misfit:
    """Read a Placement document from elsewhere, which has one of two shapes, told apart by ``fits``."""
    if not decode(data, _AnswerHead, source=source).fits:
        return decode(data, Misfit, source=source)
    return decode_placement(data, source=source)


def decode_placement(data: bytes | str, *, source: str = "document") -> Placement:
    """Read a Placement from elsewhere: as ``decode``, and BadInput when its parts contradict each other."""
    placement = decode(data, Placement, source=source)
    if wrong := find_contradiction(placement):
        raise BadInput(f"{source}: {wrong}")
    return placement


class _AnswerHead(msgspec.Struct):
    fits: bool
    schema: str = SCHEMA


def _said(broken: Exception) -> str:
    """Why a text is no JSON; Python's own words for two of the reasons are about Python."""
    if isinstance(broken, UnicodeDecodeError):
        return f"it is no UTF-8: {broken.reason}"
    return "it is nested too deeply" if isinstance(broken, RecursionError) else str(broken)


def _refusal(why: Exception, tree: Any, type: Any, *, source: str) -> BadInput:
    """What msgspec says, or that the document is of another major version."""
    check_head(tree, type, source=source)
    return BadInput(f"{source}: {_with_key(str(why), tree)}{_allowed(str(why), type)}")


def _with_key(why: str, tree: Any) -> str:
    """msgspec's complaint, with the key where it says ``[...]`` of a dict: the first whose value is of that kind."""
    before, dots, after = why.partition("[...]")
    kind, here = before.partition(", got `")[2].partition("`")[0], tree
    if not dots or not kind:
        return why
    for step in before.partition("`$")[2].replace("[", ".[").split(".")[1:]:
        here = here[int(step[1:-1])] if step.startswith("[") else here[step]
    items = here.items() if isinstance(here, dict) else ()
    keys = [key for key, value in items if KINDS.get(value.__class__, value.__class__.__name__) == kind]
    return f"{before}[{str(keys[0])!r}]{after}" if keys else why


def _allowed(why: str, type: Any) -> str:
    """The keys or words that may stand where msgspec met an unknown one; nothing for any other complaint."""
    if "unknown field" not in why and "enum value" not in why:
        return ""
    import msgspec.inspect as shapes

    _, _, path = why.partition(" - at `$")
    here = [shapes.type_info(type)]
    for step in path.rstrip("`").replace("[", ".[").split(".")[1:] if path else ():
        here = [inner for shape in here for inner in _step_into(shape, step)]
    allowed: list[str] = []
    for shape in [member for outer in here for member in getattr(outer, "types", (outer,))]:
        if isinstance(shape, shapes.StructType):
            allowed += [field.encode_name for field in shape.fields]
        elif isinstance(shape, shapes.EnumType):
            allowed += [str(member.value) for member in shape.cls]
    return f"; allowed: {', '.join(allowed)}" if allowed else ""


def _step_into(shape: Any, step: str) -> list[Any]:
    """One step further in: each member's shape of a union, the items' of a list or dict, the field's of a struct."""
    if hasattr(shape, "types"):
        return [inner for member in shape.types for inner in _step_into(member, step)]
    if step.startswith("["):
        return [getattr(shape, name) for name in ("item_type", "value_type") if hasattr(shape, name)]
    return [field.type for field in getattr(shape, "fields", ()) if field.encode_name == step]


def check_head(tree: Any, type: Any, *, source: str) -> None:
    """The same as ``check_schema`` of a tree that was not looked at yet: in another version its keys may be others."""
    if isinstance(tree, dict):
        _check_schema(tree.get("schema"), type, source=source)


def check_schema(value: Any, type: Any, *, source: str) -> None:
    """Refuse a document of another major version with BadInput, which names both, and one that holds such a document.

    Others have none to check.
    """
    found = getattr(value, "schema", None)
    if not isinstance(found, str):
        return
    _check_schema(found, type, source=source)
    for key in value.__struct_fields__:
        inner = getattr(value, key)
        if isinstance(inner, msgspec.Struct):
            check_schema(inner, inner.__class__, source=f"{source}: {key}")


def _check_schema(found: object, type: Any, *, source: str) -> None:
    known = _schema_of(type)
    if known and isinstance(found, str) and found.split(".")[:2] != known.split(".")[:2]:
        raise BadInput(f"{source}: schema is {found!r}, this version reads {known!r}")


@lru_cache
def _schema_of(type: Any) -> str | None:
    """The schema of a type's documents; None where they name none."""
    if "schema" not in getattr(type, "__struct_fields__", ()):
        return None
    schema: str = next(field.default for field in msgspec.structs.fields(type) if field.name == "schema")
    return schema
