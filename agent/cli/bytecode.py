"""A finder of our own modules by their byte code: four system calls a module, where Python's own finder makes twelve.

Python's serves every layout, and takes as long to find a module as that takes to load; people wait for it.  The command
that `make install` makes asks ours first: here a package is a folder, with byte code in its usual place.  What is not
exactly so (no byte code, byte code of an older source or with a hash) is left to Python's finder, which comes next.
"""

from __future__ import annotations

import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType

_HEAD = 16
"""Bytes before the code: the interpreter's number, no flags, time and size of the source (PEP 552)."""

_LONGEST = 1 << 16


class Finder:
    """Finds what is below ``agent`` where its byte code is of its source; it is an entry of sys.meta_path."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, _target: object = None) -> ModuleSpec | None:
        """The module's specification; None leaves it to the next finder."""
        if not path or not name.startswith("agent."):
            return None
        stem = f"{path[0]}/{name.rpartition('.')[2]}"
        return _specify(name, *_files(stem)) or _specify(name, *_files(f"{stem}/__init__"), package=stem)


def _files(stem: str) -> tuple[str, str]:
    """The source of a module and its byte code."""
    folder, _, name = stem.rpartition("/")
    return f"{stem}.py", f"{folder}/__pycache__/{name}.{sys.implementation.cache_tag}.pyc"


def _specify(name: str, source: str, cached: str, *, package: str | None = None) -> ModuleSpec | None:
    try:
        facts = posix.stat(source)
        fd = posix.open(cached, posix.O_RDONLY | posix.O_CLOEXEC)
        data = posix.read(fd, _LONGEST)
        posix.close(fd)
    except OSError:
        return None
    head = MAGIC_NUMBER + bytes(4) + _word(int(facts.st_mtime)) + _word(facts.st_size)
    if not data.startswith(head) or len(data) == _LONGEST:
        return None
    spec = ModuleSpec(name, _Loader(name, source, data), origin=source, is_package=package is not None)
    if package is not None:
        spec.submodule_search_locations = [package]
    spec.has_location, spec.cached = True, cached
    return spec


class _Loader(SourceFileLoader):
    def __init__(self, name: str, source: str, data: bytes) -> None:
        super().__init__(name, source)
        self._code = memoryview(data)[_HEAD:]

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = loads(self._code)
        return code


def _word(number: int) -> bytes:
    return (number & 0xFFFFFFFF).to_bytes(4, "little")
