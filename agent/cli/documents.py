"""Documents that commands take as files: requests and flavors in JSON, TOML or YAML, usage and limits in JSON."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from agent.cli.hosts import read_input
from agent.core.codec import convert, decode
from agent.core.errors import BadInput
from agent.core.request import Flavor, Request
from agent.core.usage import Limits, Usage

FORMATS = ".json, .toml, .yaml or .yml"


def load_request(path: str) -> Request:
    """A request file, read as its name ends, JSON without an ending; BadInput names the file and the place in it."""
    return convert(_read_tree(path), Request, source=path)


def load_flavor(path: str) -> Request:
    """A flavor file, read the same way, as a request for that flavor and nothing else; a request file is one too."""
    tree = _read_tree(path)
    if isinstance(tree, dict) and "flavor" in tree:
        return convert(tree, Request, source=path)
    flavor = convert(tree, Flavor, source=path)
    return Request(flavor=flavor, name=flavor.name)


def _read_tree(path: str) -> Any:
    data = read_input(path)
    suffix = PurePath(path).suffix.lower()
    if suffix in ("", ".json"):
        return decode(data, dict[str, Any], source=path)
    if suffix == ".toml":
        return _toml(data, path)
    if suffix in (".yaml", ".yml"):
        return _yaml(data, path)
    raise BadInput(f"{path}: what format is this? allowed: a name that ends in {FORMATS}, and JSON without an ending")


def load_usage(path: str | None) -> Usage:
    """A usage document; nothing is used where no file is named."""
    return Usage() if path is None else decode(read_input(path), Usage, source=path)


def load_limits(path: str | None) -> Limits | None:
    """A limits document; None where no file is named."""
    return None if path is None else decode(read_input(path), Limits, source=path)


def _toml(data: bytes, path: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as why:  # TOMLDecodeError is one, and so is a number of 5,000 digits
        raise BadInput(f"{path}: {why}") from why


def _yaml(data: bytes, path: str) -> Any:
    try:
        import yaml
    except ImportError as why:
        raise BadInput(f"{path}: reading YAML needs PyYAML: pip install 'cellwright[host]'") from why
    try:
        return yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as why:
        raise BadInput(f"{path}: {why}") from why
    except (ValueError, OverflowError, LookupError, AttributeError) as why:  # PyYAML's own, of 2001-99-99 and !!bool x
        raise BadInput(f"{path}: a value that is none of its type in YAML: {why}") from why
