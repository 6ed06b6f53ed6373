"""Which names a guest that we create may have."""

from __future__ import annotations

from agent.core.errors import BadInput

LONGEST_NAME_BYTES = 251
"""libvirt keeps ``NAME.xml``, ``NAME.log`` and ``NAME.pid``, and a file name has 255 bytes at most."""

_FORBIDDEN = {"/": "a path separator", "\\": "a path separator", "<": "an angle bracket", ">": "an angle bracket"}
_FORBIDDEN |= {"'": "a quote", '"': "a quote", "&": "an ampersand"}


def check_name(name: str) -> str:
    """The name itself, or BadInput with what is wrong with it.

    libvirt (virDomainDefPostParse, ``objectName`` in its schema) refuses only ``/``, line breaks and emptiness.  Names
    end up in paths, shell lines and logs, so for guests of ours quotes, brackets and control characters are out too;
    foreign guests keep whatever name they have, escaped.
    """
    if not name.strip():
        raise BadInput(f"guest name {name!r}: it is empty")
    if name != name.strip():
        raise BadInput(f"guest name {name!r}: it starts or ends with white space")
    if name in (".", ".."):
        raise BadInput(f"guest name {name!r}: it is a folder")
    for position, letter in enumerate(name):
        if letter in _FORBIDDEN:
            raise BadInput(f"guest name {_shown(name)}: {_FORBIDDEN[letter]} ({letter}) at position {position}")
        if not letter.isprintable():
            raise BadInput(f"guest name {_shown(name)}: a control character ({letter!r}) at position {position}")
    length = len(name.encode("utf-8", "surrogatepass"))
    if length > LONGEST_NAME_BYTES:
        raise BadInput(f"guest name {_shown(name)}: {length} bytes; allowed: {LONGEST_NAME_BYTES}")
    return name


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else name[:57] + "...")
