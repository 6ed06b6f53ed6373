"""Every parser of text that comes from outside, as a function of bytes that may only end well or in BadInput."""

import inspect
import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import Any

import agent.inspection
import agent.settings
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.units import parse_size_kib

FURTHER = {"last": 7, "source": "fuzzed", "root": "capabilities"}
"""What parsers take beside the text."""


def targets() -> dict[str, Callable[[bytes], None]]:
    """Name → target, for each ``parse_*`` of inspection and settings; a new parser is one without being listed."""
    found: dict[str, Callable[..., Any]] = {
        "core.cpu_list": CpuSet.parse,
        "core.cpu_mask": CpuSet.from_mask,
        "core.size": parse_size_kib,
    }
    for package in (agent.inspection, agent.settings):
        for module_info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            module = import_module(module_info.name)
            for name, function in vars(module).items():
                if name.startswith("parse_") and getattr(function, "__module__", "") == module_info.name:
                    short = module_info.name.removeprefix("agent.")
                    found[f"{short}.{name.removeprefix('parse_')}"] = function
    return {name: _target(found[name]) for name in sorted(found)}


def _target(function: Callable[..., Any]) -> Callable[[bytes], None]:
    first, *others = inspect.signature(function).parameters.values()
    needed = {other.name: FURTHER[other.name] for other in others if other.default is inspect.Parameter.empty}
    kind = str(first.annotation)

    def run(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        value = data if kind == "bytes" else text.split("\n") if kind.startswith("list") else text
        try:
            function(value, **needed)
        except BadInput as why:
            if not str(why).strip():
                raise RuntimeError(f"{function.__name__}: an error that says nothing") from why

    return run
