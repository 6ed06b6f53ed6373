"""How fast numa_maps is summed: ours against perl doing the well-known script's job, and against numastat -p.

Times are CPU times, children included, so that a busy machine does not decide.

1. Summing: a generated numa_maps of many areas, by perl as a whole process, by ours as one and inside one.
2. A live process with many areas: `numastat -p PID` against reading and summing its numa_maps, whole processes both,
   and what of that is the kernel's page-table walk.
3. --quick: masks, cgroups and scheduling of the threads of a live process.

    python benchmarks/verify.py [--areas 200000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from agent.inspection.files import Root  # noqa: E402
from agent.inspection.numa_maps import sum_numa_maps  # noqa: E402
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

OURS = """
import sys
from agent.inspection.numa_maps import sum_numa_maps
print(sum_numa_maps(open(sys.argv[1], "rb").read()))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--areas", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.NamedTemporaryFile(suffix=".numa_maps") as file:
        data = generate(options.areas)
        file.write(data)
        file.flush()
        summing(data, file.name, options.rounds)
    live(options.rounds)


def generate(areas: int) -> bytes:
    """A numa_maps like that of a large QEMU: heaps, stacks, libraries, guest RAM, every area at its own address."""
    chance = random.Random(1)
    lines = []
    address = 0x55D000000000
    for _ in range(areas):
        address += chance.randrange(1, 5000) << 12
        pages = chance.choice([1, 2, 3, chance.randrange(1, 512), chance.randrange(1, 200_000)])
        other = chance.randrange(0, pages + 1)
        cells = "".join(f" N{cell}={count}" for cell, count in ((0, other), (1, pages - other)) if count)
        lines.append(
            chance.choice(
                [
                    f"{address:012x} default",
                    f"{address:012x} default anon={pages} dirty={pages} active=0{cells} kernelpagesize_kB=4",
                    f"{address:012x} default stack anon=3 dirty=3 N0=3 kernelpagesize_kB=4",
                    f"{address:012x} default file=/usr/lib/x86_64-linux-gnu/libcapstone.so.4 mapped={pages} mapmax=26"
                    f" active={other}{cells} kernelpagesize_kB=4",
                    f"{address:012x} bind:1 anon={pages} dirty={pages} active=0{cells} kernelpagesize_kB=4",
                ]
            )
        )
    return ("\n".join(lines) + "\n").encode()


def summing(data: bytes, path: str, rounds: int) -> None:
    megabytes = len(data) / 1e6
    inside, process, perl = interleaved(
        rounds,
        lambda: sum_numa_maps(data),
        lambda: run(sys.executable, "-c", OURS, path),
        lambda: run("perl", "-e", PERL, path),
    )
    areas = len(data.splitlines())
    print(f"summing a numa_maps of {megabytes:.1f} MB, {areas} areas (median of {rounds})")
    print(f"  ours, in one process      {megabytes / inside:8.1f} MB/s")
    print(f"  ours, whole process       {megabytes / process:8.1f} MB/s")
    print(f"  perl, whole process       {megabytes / perl:8.1f} MB/s")
    print(f"  perl / ours               {perl / process:8.2f} (whole processes)   {perl / inside:.2f} (summing alone)")


def live(rounds: int) -> None:
    """A process with 2,000 areas and 512 MiB of base pages, which both peers look at."""
    held = []
    for number in range(2000):
        area = mmap.mmap(-1, 256 << 10)
        area.madvise(mmap.MADV_NOHUGEPAGE if hasattr(mmap, "MADV_NOHUGEPAGE") else 15)
        for page in range(0, 256 << 10, 4096):
            area[page] = 1
        held.append(area)
        if number % 2:
            held.append(mmap.mmap(-1, 4096, prot=mmap.PROT_READ))
    pid = str(os.getpid())
    maps = f"/proc/{pid}/numa_maps"
    if shutil.which("numastat") is None:
        print("numastat is not installed (Debian package numactl): the live comparison is left out")
        return
    ours, inside, kernel, numastat, quick = interleaved(
        rounds,
        lambda: run(sys.executable, "-c", OURS, maps),
        lambda: sum_numa_maps(Path(maps).read_bytes()),
        lambda: Path(maps).read_bytes(),
        lambda: run("numastat", "-p", pid),
        lambda: read_threads(Root(), int(pid)),
    )
    areas = len(Path(maps).read_bytes().splitlines())
    print(f"a live process of {areas} areas, 512 MiB of 4 KiB pages (median of {rounds})")
    print(f"  ours, whole process       {ours * 1e3:8.1f} ms")
    print(f"  ours, inside the agent    {inside * 1e3:8.1f} ms, of which the kernel {kernel * 1e3:.1f} ms")
    print(f"  numastat -p, whole        {numastat * 1e3:8.1f} ms")
    print(f"  numastat / ours           {numastat / ours:8.2f} (whole processes)   {numastat / inside:.2f} (inside)")
    print(f"  --quick, one thread       {quick * 1e6:8.0f} µs")


def interleaved(rounds: int, *jobs: Callable[[], object]) -> list[float]:
    """Median CPU seconds of each job, child processes included; the jobs take turns."""
    times: list[list[float]] = [[] for _ in jobs]
    for _ in range(rounds):
        for job, spent in zip(jobs, times, strict=True):
            start = cpu_seconds()
            job()
            spent.append(cpu_seconds() - start)
    return [statistics.median(spent) for spent in times]


def cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def run(*command: str) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
