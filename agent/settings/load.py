"""Settings files to the settings in force.

Sources, weakest first: the nova.conf that ``[host] nova_conf`` names, ``cellwright.toml``, the drop-ins of ``conf.d``
in the order of their names, then what the command line gives.  ``--config FILE`` stands instead of the files in /etc.
"""

from __future__ import annotations

from pathlib import Path

from agent.core.errors import BadInput
from agent.settings.document import Effective, Layer
from agent.settings.merge import merge
from agent.settings.nova import parse_nova_conf
from agent.settings.parse import layer, parse_toml
from agent.settings.present import FOLDER

LARGEST_BYTES = 1 << 20


def read_settings(
    config: str | None = None,
    *,
    folder: str | None = FOLDER,
    nova_conf: str | None = None,
    sets: dict[str, str] | None = None,
) -> Effective:
    """The settings in force; ``sets`` are CPU set texts of the command line by their key.

    ``folder`` is read when no ``config`` is given; None reads neither.  A missing folder or ``cellwright.toml`` is
    fine, a missing ``config`` or nova.conf is BadInput.
    """
    layers = [parse_toml(_read(path), str(path)) for path in _files(config, folder)]
    named = [layer.values["host"]["nova_conf"] for layer in layers if layer.values.get("host", {}).get("nova_conf")]
    if named:
        layers.insert(0, _nova(named[-1]))
    if nova_conf is not None:
        layers.append(_nova(nova_conf, replaces_sets=True))
    if sets:
        layers.append(layer({"host": dict(sets)}, "command line", replaces_sets=True))
    return merge(layers)


def _files(config: str | None, folder: str | None) -> list[Path]:
    if config is not None:
        return [Path(config)]
    if folder is None:
        return []
    main = Path(folder, "cellwright.toml")
    return ([main] if main.exists() else []) + sorted(Path(folder, "conf.d").glob("*.toml"))


def _nova(path: str, *, replaces_sets: bool = False) -> Layer:
    read = parse_nova_conf(_read(Path(path)), path)
    return Layer(path, read.values, replaces_sets)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as why:
        raise BadInput(f"{path}: {why.strerror}; allowed: a readable settings file") from why
    if len(data) > LARGEST_BYTES:
        raise BadInput(f"{path}: more than {LARGEST_BYTES} bytes; allowed: a settings file")
    try:
        return data.decode()
    except UnicodeDecodeError as why:
        raise BadInput(f"{path}: byte {why.start} is no UTF-8; allowed: a text file") from why
