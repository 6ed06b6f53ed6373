"""How fast numa_maps is summed: ours against perl doing the well-known script's job, and against numastat -p.

Times are CPU times, children included, so that a busy machine does not decide; the jobs take turns, each has a median
and its least.  Each job is told twice: summing, in MB/s without the start of the program, which is measured with an
empty file; and the whole process, start included.  A peer's time by ours is of medians, then of the least.

1. A generated numa_maps, by perl, by `numastat -p` and by `cellwright pages` as whole processes, and by the same
   functions inside one that runs already, as `verify`, the agent and `pages GUEST` have them; once as large as the
   kernel lets a process have it (vm.max_map_count), once six times that.  perl sums every key, and so does ours with
   --keys; numastat sums pages by cell alone, and so does ours without.  numastat tells heap, stack, huge and private
   pages apart, ours page sizes.  Besides numa_maps it reads the list of cells, /proc/meminfo and the process's status,
   ours its name, which is a part of the start here.  Both read nothing but /proc, so the file is mounted over a
   process's own (as root, in a mount namespace that ends with this program).
2. Live processes with few and with very many areas: `numastat -p PID` against `cellwright pages PID`, whole processes
   both; what of that is the kernel's page-table walk, and what is the start of a program that has nothing to read; and
   the rest by megabyte.
3. --quick: masks, cgroups and scheduling of the threads of a live process.

    python benchmarks/verify.py [--areas N …] [--rounds 9]
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from agent.inspection.files import Root  # noqa: E402
from agent.inspection.numa_maps import read_numbers, sum_numa_maps  # noqa: E402
from agent.inspection.numa_sums import cut_pieces, read_pieces, sum_areas  # noqa: E402
from agent.inspection.threads import read_threads  # noqa: E402

PERL = r"""
my %sum;
while (<>) {
    my ($address, $policy, @words) = split;
    foreach (@words) {
        my ($key, $value) = split /=/;
        $sum{$key} += defined $value && $key ne "file" ? $value : 1;
    }
}
printf "%-18s %14u (%8.2f GB)\n", $_, $sum{$_}, $sum{$_} * 4096 / 1024 ** 3 foreach sort keys %sum;
"""
"""The job of the summary scripts that are passed around: split each line into words, each word at its =, add up."""

LIVE = """
import mmap, sys
held = []
for number in range(int(sys.argv[1]) // 2):
    area = mmap.mmap(-1, int(sys.argv[2]) << 10)
    area.madvise(15)  # MADV_NOHUGEPAGE
    for page in range(0, len(area), 4096):
        area[page] = 1
    held += [area, mmap.mmap(-1, 4096, prot=mmap.PROT_READ)]
print("ready", flush=True)
sys.stdin.read()
"""
"""A process of so many areas, every second one with so many KiB of base pages, until its stdin ends."""

CLONE_NEWNS = 0x20000
LEAST_S = 1e-3
"""What is left of a process without its start and the kernel's part is noise below this."""

EMPTY = "1"
"""The process over whose numa_maps an empty file is mounted: what is taken for it is a program's start."""

PAGES = (str(Path(sys.executable).with_name("cellwright")), "pages")
"""The command beside the interpreter, as `make install` leaves it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--areas", type=int, nargs="+", default=[65_000, 400_000])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    cells = len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))) or 1
    mounts = shutil.which("numastat") is not None and may_mount()
    if not mounts:
        print(
            "whole processes are left out: numastat needs to be installed (Debian package numactl), and root to give a"
        )
        print("file to it and to ours")
    for areas in options.areas:
        with tempfile.NamedTemporaryFile(suffix=".numa_maps") as file:
            data = generate(areas, cells)
            file.write(data)
            file.flush()
            summing(data, file.name, options.rounds, mounts=mounts)
    if not mounts:
        return
    most = int(Path("/proc/sys/vm/max_map_count").read_text()) - 2000
    live(3000, 256, options.rounds)
    live(min(60_000, most), 16, options.rounds)


def generate(areas: int, cells: int) -> bytes:
    """A numa_maps like that of a large QEMU: heaps, stacks, libraries, guest RAM, every area at its own address.

    Only on cells that this host has: numastat is slow on others.
    """
    chance = random.Random(1)
    lines = []
    address = 0x55D000000000
    for _ in range(areas):
        address += chance.randrange(1, 5000) << 12
        pages = chance.choice([1, 2, 3, chance.randrange(1, 512), chance.randrange(1, 200_000)])
        other = chance.randrange(0, pages + 1)
        split = ((0, pages),) if cells == 1 else ((0, other), (1, pages - other))
        counts = "".join(f" N{cell}={count}" for cell, count in split if count)
        lines.append(
            chance.choice(
                [
                    f"{address:012x} default",
                    f"{address:012x} default anon={pages} dirty={pages} active=0{counts} kernelpagesize_kB=4",
                    f"{address:012x} default stack anon=3 dirty=3 N0=3 kernelpagesize_kB=4",
                    f"{address:012x} default file=/usr/lib/x86_64-linux-gnu/libcapstone.so.4 mapped={pages} mapmax=26"
                    f" active={other}{counts} kernelpagesize_kB=4",
                    f"{address:012x} bind:0 anon={pages} dirty={pages} active=0{counts} kernelpagesize_kB=4",
                ]
            )
        )
    return ("\n".join(lines) + "\n").encode()


def may_mount() -> bool:
    """Whether files can be mounted that nobody else sees; if so, an empty one is."""
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(CLONE_NEWNS) != 0:
        return False
    run("mount", "--make-rprivate", "/")
    run("mount", "--bind", os.devnull, f"/proc/{EMPTY}/numa_maps")
    return True


def summing(data: bytes, path: str, rounds: int, *, mounts: bool) -> None:
    megabytes = len(data) / 1e6
    wholes = {"every key: perl": (("perl", "-e", PERL, path), ("perl", "-e", PERL, os.devnull))}
    if mounts:
        pid = str(os.getpid())
        run("mount", "--bind", path, f"/proc/{pid}/numa_maps")
        wholes["every key: ours"] = ((*PAGES, "--keys", pid), (*PAGES, "--keys", EMPTY))
        wholes["pages by cell: ours"] = ((*PAGES, pid), (*PAGES, EMPTY))
        wholes["pages by cell: numastat -p"] = (("numastat", "-p", pid), ("numastat", "-p", EMPTY))
    insides: dict[str, Callable[[], object]] = {
        "every key: ours, inside": lambda: sum_numa_maps(Path(path).read_bytes()),
        "pages by cell: ours, inside": lambda: sum_areas(read_pieces(path), read=read_numbers),
    }
    commands = [partial(run, *command) for both in wholes.values() for command in both]
    taken = interleaved(rounds, *commands, *insides.values())
    if mounts:
        run("umount", f"/proc/{pid}/numa_maps")
    print(f"summing a numa_maps of {megabytes:.1f} MB, {len(data.splitlines())} areas ({rounds} rounds)")
    for middle, of in (("median", statistics.median), ("least", min)):
        times = [of(one) for one in taken]
        spent = {what: (times[2 * at], times[2 * at + 1]) for at, what in enumerate(wholes)}
        spent |= {what: (times[2 * len(wholes) + at], 0.0) for at, what in enumerate(insides)}
        table(middle, spent, megabytes)


def table(middle: str, spent: dict[str, tuple[float, float]], megabytes: float) -> None:
    """Each job's time, and of that its start, in seconds."""
    print(f"  {middle:<28} {'summing':>12} {'peer/this':>9}   {'whole process, of which start':>29} {'peer/this':>9}")
    for what in sorted(spent):
        whole, start = spent[what]
        peer = spent.get("every key: perl" if what.startswith("every") else "pages by cell: numastat -p")
        line = f"  {what:<28} {megabytes / (whole - start):7.1f} MB/s "
        line += f"{(peer[0] - peer[1]) / (whole - start):9.2f}" if peer and "ours" in what else " " * 9
        if start:
            line += f"   {whole * 1e3:12.1f} ms {start * 1e3:10.1f} ms "
            line += f"{peer[0] / whole:9.2f}" if peer and "ours" in what else ""
        print(line.rstrip())


def live(areas: int, kib: int, rounds: int) -> None:
    """A process of so many areas, which both peers look at; its numa_maps is text that the kernel makes anew."""
    command = [sys.executable, "-c", LIVE, str(areas), str(kib)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        pid = str(process.pid)
        maps = f"/proc/{pid}/numa_maps"
        data = Path(maps).read_bytes()
        taken = interleaved(
            rounds,
            lambda: run(*PAGES, pid),
            lambda: run(*PAGES, EMPTY),
            lambda: sum_numa_maps(data),
            lambda: sum_areas(cut_pieces(data), read=read_numbers),
            lambda: sum_areas(read_pieces(maps), read=read_numbers),
            lambda: list(read_pieces(maps)),
            lambda: read_like_stdio(maps),
            lambda: run("numastat", "-p", pid),
            lambda: run("numastat", "-p", EMPTY),
            lambda: read_threads(Root(), int(pid)),
        )
        process.stdin.close()
    whole, empty, sums, pages, inside, kernel, stdio, numastat, started, quick = map(statistics.median, taken)
    least = [min(one) for one in taken]
    megabytes = len(data) / 1e6
    theirs = numastat - started - stdio
    rate = f"{megabytes / theirs:.0f} MB/s" if theirs > LEAST_S else "too short a time to tell"
    print(f"a live process of {len(data.splitlines())} areas, {megabytes:.2f} MB of numa_maps (median of {rounds})")
    print(f"  the kernel, making it       {kernel * 1e3:8.1f} ms, read as numastat does {stdio * 1e3:.1f} ms")
    print(f"  ours, whole process         {whole * 1e3:8.1f} ms, of which starting {empty * 1e3:.1f} ms")
    print(f"  numastat -p, whole process  {numastat * 1e3:8.1f} ms, of which starting {started * 1e3:.1f} ms")
    print(f"  numastat / ours             {numastat / whole:8.2f} (of the least {least[7] / least[0]:.2f})")
    ratios = f"{numastat / inside:.2f} (of the least {least[7] / least[4]:.2f})"
    print(f"  ours inside the agent       {inside * 1e3:8.1f} ms, numastat / this {ratios}")
    rates = [f"{what} {megabytes / spent:.0f}" for what, spent in (("ours", sums), ("pages by cell alone", pages))]
    print(f"  without start and kernel    {', '.join(rates)} MB/s; numastat {rate}")
    print(f"  --quick, one thread         {quick * 1e6:8.0f} µs")


def read_like_stdio(path: str) -> None:
    """As C programs read /proc, numastat among them: a file there says that it likes to be read by the KiB."""
    descriptor = os.open(path, os.O_RDONLY)
    while os.read(descriptor, 1024):
        pass
    os.close(descriptor)


def interleaved(rounds: int, *jobs: Callable[[], object]) -> list[list[float]]:
    """CPU seconds of each job, round by round, child processes included; the jobs take turns."""
    times: list[list[float]] = [[] for _ in jobs]
    for _ in range(rounds):
        for job, spent in zip(jobs, times, strict=True):
            start = cpu_seconds()
            job()
            spent.append(cpu_seconds() - start)
    return times


def cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def run(*command: str) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
