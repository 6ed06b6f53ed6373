"""What goes into the lab: the checkout's package and templates, what `make install-system` installs, and the Python
packages a host needs; apart from them, for who asks for them, those that a scheduler needs besides.

The packages are copied as pip installed them: Debian 12 has the Python 3.11 that runs the tests.
"""

import io
import re
import tarfile
import tempfile
import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.systemd.installed import PACKAGER, install_system

ROOT = Path(__file__).parents[2]
TARGET = "opt/cellwright"
HALT = bytes(0x10000 - 16) + bytes.fromhex("faf4ebfd") + bytes(12)
"""Firmware that stops at once (cli; hlt; jump back): a guest whose BIOS runs takes a whole pCPU under emulation."""
FOLDERS = ("agent", "templates")
ROOMS = ("core", "inspection", "placement", "domain", "verification", "picture", "settings", "compute")
APART = "scheduler-packages"
UNUSED = re.compile(
    r"zstandard/_cffi|lxml/(objectify|html|includes)|numpy/f2py|.*/tests/|faker|rich|"
    r"sqlalchemy/(testing|dialects/(mysql|oracle|mssql))"
)
"""The larger parts of packages that nothing of ours imports."""


def pack_checkout() -> bytes:
    """A tar to be unpacked over a host's root, but for what is below ``APART``."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name in FOLDERS:
            tar.add(ROOT / name, f"{TARGET}/{name}")
        host = find_packages("host")
        add_packages(tar, host, f"{TARGET}/site-packages")
        with tempfile.TemporaryDirectory() as folder:
            install_system(Path(folder), *PACKAGER)
            for path in sorted(Path(folder).iterdir()):
                tar.add(path, path.name)
        firmware = tarfile.TarInfo("usr/share/lab/halt.bin")
        firmware.size, firmware.mode = len(HALT), 0o644
        tar.addfile(firmware, io.BytesIO(HALT))
        add_packages(tar, find_packages("scheduler") - host, APART)
    return whole.getvalue()


def add_packages(tar: tarfile.TarFile, names: set[str], folder: str) -> None:
    for name in sorted(names):
        for file in distribution(name).files or ():
            path = Path(str(file.locate()))
            if ".." not in file.parts and not UNUSED.match(str(file)) and path.is_file():
                tar.add(path, f"{folder}/{file}")


def list_modules() -> list[str]:
    """The modules of ours that commands on a host import."""
    paths = sorted(path for room in ROOMS for path in (ROOT / "agent" / room).rglob("*.py"))
    return ["agent.cli.main", *(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)]


def find_packages(extra: str) -> set[str]:
    """What pyproject.toml asks for with this extra, and what those need in turn."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"][extra])]
    found: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if name not in found:
            found.add(name)
            extras = [{"extra": word} for word in ("", *requirement.extras)]
            needs = [Requirement(text) for text in distribution(name).requires or ()]
            wanted += [need for need in needs if not need.marker or any(map(need.marker.evaluate, extras))]
    return found
