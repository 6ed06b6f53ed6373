"""``make install-system`` into a folder, as a packager calls it, or as an administrator does who has no package."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGER = ("PREFIX=/usr", "UNITDIR=/usr/lib/systemd/system")


def install_system(folder: Path, *settings: str) -> None:
    command = ["make", "-s", "install-system", f"DESTDIR={folder}", *settings]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
