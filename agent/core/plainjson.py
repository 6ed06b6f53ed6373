"""JSON of plain dicts and lists without importing a JSON library: byte for byte what codec.encode writes.

``json`` takes 8 ms to import (for ``re``, which only reading needs), msgspec 25; a whole topology report takes 10.  The
C encoder inside the interpreter needs neither; where an interpreter has none, ``json`` itself does it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def dump(tree: Any) -> str:
    """Compact JSON of dicts with string keys, lists, strings, ints, booleans and None."""
    try:
        from _json import encode_basestring, make_encoder
    except ImportError:
        import json

        return json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
    # (markers, default, string encoder, indent, key separator, item separator, sort_keys, skipkeys, allow_nan)
    encode = make_encoder(None, _refuse, encode_basestring, None, ":", ",", False, False, False)

    def text(part: Any) -> str:
        return "".join(encode(part, 0))

    if not isinstance(tree, dict):
        return text(tree)
    # an item at a time: the encoder keeps every little piece until its end, a megabyte of them for 64 cells
    fields = [
        f"{text(key)}:[{','.join(map(text, value))}]" if isinstance(value, list) else f"{text(key)}:{text(value)}"
        for key, value in tree.items()
    ]
    return f"{{{','.join(fields)}}}"


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} has no JSON form")
