"""What goes into the lab: the checkout's package and templates, what `make install-system` installs, and the Python
packages a host needs.

The packages are copied as pip installed them: Debian 12 has the Python 3.11 that runs the tests.
"""

import io
import re
import tarfile
import tempfile
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tests.systemd.installed import PACKAGER, install_system

ROOT = Path(__file__).parents[2]
TARGET = "opt/cellwright"
HALT = bytes(0x10000 - 16) + bytes.fromhex("faf4ebfd") + bytes(12)
"""Firmware that stops at once (cli; hlt; jump back): a guest whose BIOS runs takes a whole pCPU under emulation."""
FOLDERS = ("agent", "templates")
ROOMS = ("core", "inspection", "placement", "domain", "verification", "picture", "settings", "compute")
UNUSED = ("zstandard/_cffi", "lxml/objectify", "lxml/html", "lxml/includes")
"""The larger parts of packages that nothing of ours imports."""


def pack_checkout() -> bytes:
    """A tar to be unpacked over a host's root."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name in FOLDERS:
            tar.add(ROOT / name, f"{TARGET}/{name}")
        for package in sorted(find_packages()):
            for file in distribution(package).files or ():
                path = Path(str(file.locate()))
                if ".." not in file.parts and not str(file).startswith(UNUSED) and path.is_file():
                    tar.add(path, f"{TARGET}/site-packages/{file}")
        with tempfile.TemporaryDirectory() as folder:
            install_system(Path(folder), *PACKAGER)
            for path in sorted(Path(folder).iterdir()):
                tar.add(path, path.name)
        firmware = tarfile.TarInfo("usr/share/lab/halt.bin")
        firmware.size, firmware.mode = len(HALT), 0o644
        tar.addfile(firmware, io.BytesIO(HALT))
    return whole.getvalue()


def list_modules() -> list[str]:
    """The modules of ours that commands on a host import."""
    paths = sorted(path for room in ROOMS for path in (ROOT / "agent" / room).rglob("*.py"))
    return ["agent.cli.main", *(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)]


def find_packages() -> set[str]:
    """What pyproject.toml asks for on a host, and what those need in turn."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    wanted = [*project["dependencies"], *project["optional-dependencies"]["host"]]
    while wanted:
        requirement = wanted.pop()
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        if name in found:
            continue
        try:
            wanted += [need for need in distribution(name).requires or () if "extra ==" not in need]
        except PackageNotFoundError:
            assert ";" in requirement, f"pip has not installed {name}: run `make install`"
            continue  # for another Python or system
        found.add(name)
    return found
