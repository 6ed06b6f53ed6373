"""How long a whole ``cellwright topology --format json`` takes, beside lscpu, lstopo and virsh in the same run.

    python benchmarks/topology.py [--runs 15] [--hosts FILE.tar.xz]

Whole processes, interleaved, medians of wall time and of CPU time (which a busy machine falsifies less), on this host
and on the largest of the saved machines where they are at hand; ``files`` are successful opens, counted by strace.  A
peer that cannot read a tree shows ``-``.  Everything is byte-compiled first, as an installation does; the command is
the one beside the interpreter, as `make install` leaves it.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
HOSTS = ROOT.parent / "shared/data/hosts/hosts-slim.tar.xz"
LARGEST = (
    "hwloc/256ppc-8n8s4t",
    "hwloc/256ia64-64n2s2c",
    "openshift/nto-master",
    "nri-plugins/server",
    "util-linux/x86_64-epyc_7451",
    "nri-plugins/2-socket-4-node-40-core",
    "util-linux/x86_64-64cpu-linux6.2",
)
BARE = "python3 -I -c pass"


def commands(tree: str | None) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Name → the command and what it needs in its environment."""
    ours = [str(Path(sys.executable).with_name("cellwright")), "topology", "--format", "json"]
    found: dict[str, tuple[list[str], dict[str, str]]] = {BARE: ([sys.executable, "-I", "-c", "pass"], {})}
    if tree is None:
        found["cellwright"] = (ours, {})
        found["lscpu -J"] = (["lscpu", "-J"], {})
        found["lstopo xml"] = (["lstopo-no-graphics", "--of", "xml"], {})
        found["virsh capabilities"] = (["virsh", "-c", "qemu:///system", "capabilities"], {})
    else:
        saved = {"HWLOC_FSROOT": tree}
        found["cellwright"] = ([*ours, "--sysroot", tree], {})
        found["lscpu -J"] = (["lscpu", "-J", "--sysroot", tree], {})
        found["lstopo xml"] = (["lstopo-no-graphics", "--of", "xml"], saved)
    return {name: command for name, command in found.items() if shutil.which(command[0][0])}


def run(command: list[str], extra: dict[str, str]) -> tuple[float, float, bool]:
    """Wall and CPU milliseconds, and whether the command did its work."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start = time.perf_counter()
    process = subprocess.Popen(command, env=os.environ | extra, **quiet)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    return wall * 1000, (used.ru_utime + used.ru_stime) * 1000, process.returncode == 0


def files_opened(command: list[str], extra: dict[str, str]) -> str:
    """Successful opens of the command and its children; ``?`` without strace."""
    if not shutil.which("strace"):
        return "?"
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as log:
        trace = ["strace", "-f", "-o", log.name, "-e", "trace=open,openat"]
        subprocess.run([*trace, *command], env=os.environ | extra, capture_output=True, check=False)
        return str(sum("open" in line and " = -1 " not in line and "resumed" not in line for line in log))


def measure(title: str, tree: str | None, runs: int) -> None:
    """Print one table: a row a command."""
    wanted = commands(tree)
    times: dict[str, list[float]] = {name: [] for name, (command, extra) in wanted.items() if run(command, extra)[2]}
    busy: dict[str, list[float]] = {name: [] for name in times}
    for _ in range(runs):
        for name in times:
            wall, cpu, _ = run(*wanted[name])
            times[name].append(wall)
            busy[name].append(cpu)
    print(f"\n{title}: medians of {runs}, the CPU time of each beside it")
    ours, bare = median(times["cellwright"]), median(times[BARE])
    for name, (command, extra) in wanted.items():
        if name not in times:
            print(f"  {name:<20} {'-':>8}")
            continue
        middle = median(times[name])
        ratio = (
            f"{ours / middle:5.2f} × of it is cellwright"
            if name != "cellwright"
            else f"{ours - bare:5.1f} ms over bare"
        )
        cpu = median(busy[name])
        print(f"  {name:<20} {middle:8.1f} ms {cpu:7.1f} ms CPU  {files_opened(command, extra):>6} files  {ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--hosts", type=Path, default=HOSTS, help="the saved machines (default: %(default)s)")
    args = parser.parse_args()
    compileall.compile_dir(ROOT / "agent", quiet=1)
    measure("this host", None, args.runs)
    if not args.hosts.exists():
        print(f"\n{args.hosts} is absent: saved machines are not measured")
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "xJf", args.hosts, "-C", folder, *LARGEST], check=True)
        for name in LARGEST:
            measure(name, str(Path(folder, name)), args.runs)


if __name__ == "__main__":
    main()
