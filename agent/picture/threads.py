"""The pCPUs of a picture: one small box each, in cores, told apart by pattern, stroke and letters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from agent.core.cpuset import CpuSet
from agent.core.topology import Core, HostTopology
from agent.picture.blocks import Block, arrange, escape, flow, frame, grid, text

KINDS = {
    "dedicated": "dedicated: pinned guests own them",
    "shared": "shared: floating guests",
    "any": "for pinned and for floating guests",
    "none": "not for guests",
    "offline": "offline",
    "isolated": "isolated from the scheduler",
    "slow": "efficiency core",
}
"""Kinds of pCPU in the order of the legend, and what it says about them."""


class Threads:
    """Draws the pCPUs of one host, all in the size that suits their number."""

    def __init__(self, host: HostTopology, guests: Mapping[str, CpuSet]) -> None:
        self._host = host
        self._dedicated, self._shared = host.dedicated(), host.shared()
        self._labels = {name: _label(number) for number, name in enumerate(sorted(guests))}
        self._guests = {name: guests[name] for name in sorted(guests)}
        count = len(host.online)
        self._font = 15 if count <= 16 else 12 if count <= 160 else 10
        digits = max(2, len(str(max(host.online | host.offline, default=0))))
        self._width = round(digits * self._font * 0.66) + (22 if count <= 16 else 12)
        height = round(self._font * (1.9 if count <= 16 else 1.6))
        self._height = height + (self._font + 4 if guests else 0)
        self._number_y = round(height / 2 + self._font * 0.36)

    def kind(self, cpu: int) -> str:
        """Which of KINDS a pCPU is, isolation and core kind aside."""
        if cpu in self._host.offline:
            return "offline"
        if cpu in self._dedicated:
            return "any" if cpu in self._shared else "dedicated"
        return "shared" if cpu in self._shared else "none"

    def used_kinds(self) -> tuple[tuple[str, str], ...]:
        """The kinds that occur, with their words, in the order of the legend."""
        host = self._host
        found = {self.kind(cpu) for cpu in host.online | host.offline}
        if host.isolated & host.online:
            found.add("isolated")
        if any(core.kind == "efficiency" for cell in host.cells for core in cell.cores):
            found.add("slow")
        return tuple((kind, words) for kind, words in KINDS.items() if kind in found)

    def guests(self) -> tuple[tuple[str, str, CpuSet], ...]:
        """Letter, name and pCPUs of each guest."""
        return tuple((self._labels[name], name, cpus) for name, cpus in self._guests.items())

    def cores(self, cores: Iterable[Core]) -> Block:
        """Cores side by side, siblings of each below one another."""
        blocks = [
            frame(self._threads(core.cpus, core), "", "slow" if core.kind == "efficiency" else "core")
            for core in sorted(cores, key=lambda core: core.cpus.first() if core.cpus else -1)
        ]
        return arrange(blocks, 3.2, gap=4)

    def strip(self, cpus: CpuSet, width: int) -> Block:
        """pCPUs without a core, in lines of at most ``width``."""
        return flow([self._thread(cpu, None) for cpu in cpus], width, gap=3)

    def _threads(self, cpus: CpuSet, core: Core) -> Block:
        return grid([self._thread(cpu, core) for cpu in cpus], 1 if len(cpus) < 3 else 2, gap=3)

    def _thread(self, cpu: int, core: Core | None) -> Block:
        kind = self.kind(cpu)
        labels = [self._labels[name] for name, cpus in self._guests.items() if cpu in cpus]
        isolated = cpu in self._host.isolated and kind != "offline"
        title = escape(self._title(cpu, core, kind))
        font, number_y = self._font, self._number_y

        def draw(width: int, height: int) -> str:
            middle = width // 2
            parts = [f'<rect class="{kind}" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="2"/>']
            if kind == "offline":
                parts.append(f'<path class="cross" d="M2 2L{width - 2} {height - 2}M{width - 2} 2L2 {height - 2}"/>')
            if isolated:
                parts.append(f'<path class="corner" d="M{width - 9} 1h8v8z"/>')
            on = " on-dedicated" if kind == "dedicated" else ""
            parts.append(f'<text class="m{on}" x="{middle}" y="{number_y}" font-size="{font}">{cpu}</text>')
            if labels:
                shown = "".join(labels) if len("".join(labels)) <= 2 else f"{len(labels)}×"
                top = height - font - 5
                parts.append(f'<rect class="guest" x="3" y="{top}" width="{width - 6}" height="{font + 2}" rx="3"/>')
                baseline = top + round(font * 0.95)
                parts.append(
                    f'<text class="m on-guest" x="{middle}" y="{baseline}" font-size="{font - 1}">{shown}</text>'
                )
            return f"<g><title>{title}</title>{''.join(parts)}</g>"

        return Block(self._width, self._height, draw)

    def _title(self, cpu: int, core: Core | None, kind: str) -> str:
        words = [f"pCPU {cpu}", KINDS[kind].partition(":")[0]]
        if cpu in self._host.isolated:
            words.append("isolated")
        if core is not None and core.core is not None:
            words.append(f"core {core.core}" + ("" if core.socket is None else f" of socket {core.socket}"))
        if core is not None and core.kind:
            words.append(core.kind)
        names = [name for name, cpus in self._guests.items() if cpu in cpus]
        return ", ".join([*words, *(f"guest {name}" for name in names)])


def _label(number: int) -> str:
    """A, B … Z, then A1, B1 …."""
    rounds, letter = divmod(number, 26)
    return chr(ord("A") + letter) + (str(rounds) if rounds else "")


def sample(kind: str, words: str) -> Sequence[Block]:
    """A legend's swatch of one kind, with its words."""

    def draw(_width: int, _height: int) -> str:
        parts = f'<rect class="{"any" if kind == "isolated" else kind}" x="0.5" y="0.5" width="23" height="15" rx="2"/>'
        if kind == "offline":
            parts += '<path class="cross" d="M2 2L22 14M22 2L2 14"/>'
        if kind == "isolated":
            parts += '<path class="corner" d="M15 1h8v8z"/>'
        return parts

    return Block(24, 16, draw), text(words, size=12)
