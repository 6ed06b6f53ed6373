"""A host as SVG: sockets around cells around L3 groups around cores around threads, memory, devices and distances.

What a pCPU is for shows in its pattern and its stroke, not in its colour alone: dedicated is solid, shared is hatched,
pCPUs for both kinds of guest are plain, those for none are dotted, offline ones are crossed out, isolated ones have a
marked corner.  Guests are letters on the pCPUs they are pinned to; those that float are named below, where they would
cover every pinned one.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.cpuset import CpuSet
from agent.core.topology import Cell, Core, HostTopology
from agent.core.units import format_kib
from agent.picture.blocks import Block, arrange, at, column, escape, flow, frame, text
from agent.picture.chips import device_chips, distance_matrix, legend, memory_bar
from agent.picture.threads import Threads

STYLE = """
text{font-family:"DejaVu Sans",Verdana,Helvetica,sans-serif;fill:#1c2733}
.b{font-weight:bold}.d{fill:#5b6875;font-weight:normal}.t{fill:#1c2733}.m{text-anchor:middle}
.page{fill:#fff}.socket{fill:#f3f5f7;stroke:#38475a;stroke-width:2}.cell{fill:#fff;stroke:#5c6f84;stroke-width:1.5}
.die{fill:none;stroke:#8a97a6;stroke-dasharray:6 3}.cache{fill:#eef2f6;stroke:#a8b4c0}
.core{fill:#fff;stroke:#c3ccd5}.slow{fill:#fff;stroke:#7a8794;stroke-dasharray:2 2}
.dedicated{fill:#14609e;stroke:#0b3d66;stroke-width:1.5}.on-dedicated{fill:#fff}
.shared{fill:url(#hatch);stroke:#a5671b}.any{fill:#fff;stroke:#38475a}.none{fill:url(#dots);stroke:#98a3ae}
.offline{fill:#fff;stroke:#98a3ae;stroke-dasharray:3 2}.cross{stroke:#c3ccd5;stroke-width:1.2}
.corner{fill:#b3261e;stroke:#fff;stroke-width:.8}.guest{fill:#1c2733;stroke:#fff;stroke-width:.8}
.on-guest{fill:#fff;font-weight:bold}.used{fill:#7d8b99}.free{fill:#dde5ec}.unsure{fill:url(#dots)}.huge{fill:#3a7d5c}.huge-free{fill:url(#grain)}
.edge{fill:none;stroke:#5c6f84}.chip{fill:#fff;stroke:#98a3ae}.near{fill:#fff;stroke:#c3ccd5}
""".strip().replace("\n", "")

PATTERNS = (
    '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" fill="#fdf0dc"/><rect width="2" height="6" fill="#f2cf97"/></pattern>'
    '<pattern id="dots" width="5" height="5" patternUnits="userSpaceOnUse"><rect width="5" height="5" fill="#f3f5f7"/>'
    '<circle cx="2" cy="2" r="0.9" fill="#b9c2cb"/></pattern>'
    '<pattern id="grain" width="4" height="4" patternUnits="userSpaceOnUse"><rect width="4" height="4" fill="#e3f1ea"/>'
    '<rect width="1.4" height="4" fill="#86bda1"/></pattern>'
)
MARGIN = 16
WIDEST_MATRIX = 24
LEAST_WIDTH = 520
NARROWEST_CELL = 220


def render_svg(
    host: HostTopology, guests: Mapping[str, CpuSet] | None = None, *, floating: Mapping[str, CpuSet] | None = None
) -> str:
    """The picture of a host; ``guests`` maps guests to the pCPUs they are pinned to, ``floating`` to where they run."""
    threads = Threads(host, guests or {})
    most_kib = max((cell.memory_kib or 0 for cell in host.cells), default=0)
    many = len(host.cells) > WIDEST_MATRIX
    cpus = {cell.id: _cpus(cell, threads) for cell in host.cells}
    bar_width = max([NARROWEST_CELL, *(block.width for block in cpus.values())])  # of the cell with the most memory
    cells = {
        cell.id: _cell(cell, cpus[cell.id], memory_bar(cell, most_kib, bar_width), many=many) for cell in host.cells
    }
    body = [_sockets(host, cells)]
    width = max(body[0].width, LEAST_WIDTH)
    if host.outside_cells:
        body.append(frame(threads.cores(host.outside_cells), "in no cell", "die"))
    if host.offline:
        crossed = threads.strip(host.offline, width - 2 * MARGIN)
        body.append(frame(crossed, "offline", "die", detail=f"{len(host.offline)} pCPUs in no cell"))
    if host.unplaced_devices:
        chips = flow(device_chips(host.unplaced_devices), width - 2 * MARGIN)
        body.append(frame(chips, "devices of unknown cell", "die"))
    foot = [legend(host.cells, threads.used_kinds(), threads.guests(), floating or {}, width)]
    if 1 < len(host.cells) <= WIDEST_MATRIX and any(cell.distances for cell in host.cells):
        foot.append(distance_matrix(host.cells))
    body.append(flow(foot, width, gap=24))
    return _page(host, column([_heading(host), *body], gap=12))


def _page(host: HostTopology, body: Block) -> str:
    width, height = body.width + 2 * MARGIN, body.height + 2 * MARGIN
    name = escape(host.hostname)
    about = escape(
        f"{_counts(host)}. Dedicated pCPUs: {host.dedicated() or 'none'}. Shared pCPUs: {host.shared() or 'none'}."
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' role="img" aria-labelledby="title desc">\n'
        f'<title id="title">Topology of {name}</title>\n<desc id="desc">{about}</desc>\n'
        f"<style>{STYLE}</style>\n<defs>{PATTERNS}</defs>\n"
        f'<rect class="page" width="{width}" height="{height}"/>\n'
        f"{at(MARGIN, MARGIN, body.draw(body.width, body.height))}\n</svg>\n"
    )


def _heading(host: HostTopology) -> Block:
    lines = [text(_short(host.hostname, 40), size=20, style="b"), text(_counts(host), size=13)]
    about = " · ".join(part for part in (host.cpu.model, host.arch, host.kernel and f"kernel {host.kernel}") if part)
    return column([*lines, *([text(_short(about, 72), size=11, style="d")] if about else [])], gap=0)


def _short(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"


def _counts(host: HostTopology) -> str:
    memory_kib = sum(cell.memory_kib or 0 for cell in host.cells)
    counts = [(host.sockets, "socket"), (len(host.cells), "cell"), (host.cores, "core"), (len(host.online), "pCPU")]
    words = [f"{count} {noun}" + ("" if count == 1 else "s") for count, noun in counts if count is not None]
    return " · ".join([*words, *([format_kib(memory_kib)] if memory_kib else [])])


def _sockets(host: HostTopology, cells: dict[int, Block]) -> Block:
    """Sockets around their cells where that is how the host is built; cells without CPUs stand by themselves."""
    homes = {cell.id: {core.socket for core in cell.cores} for cell in host.cells}
    nested = all(len(sockets) < 2 for sockets in homes.values())
    grouped: dict[int | None, list[Block]] = {}
    for cell in host.cells:
        socket = next(iter(homes[cell.id]), None) if nested else None
        grouped.setdefault(socket, []).append(cells[cell.id])
    blocks = []
    for socket, members in sorted(grouped.items(), key=lambda item: (item[0] is None, item[0] or 0)):
        inside = arrange(members, 1.4, gap=10, stretch=socket is not None)
        blocks.append(inside if socket is None else frame(inside, f"socket {socket}", "socket"))
    return arrange(blocks, 2.4, gap=14, stretch=True)


def _cpus(cell: Cell, threads: Threads) -> Block:
    sockets = sorted({core.socket for core in cell.cores}, key=lambda socket: (socket is None, socket or 0))
    if len(sockets) > 1:
        parts = [
            frame(_dies(cell, _of(cell.cores, socket), threads), f"socket {socket}", "socket") for socket in sockets
        ]
        cpus = arrange(parts, 1.6, gap=8)
    else:
        cpus = _dies(cell, cell.cores, threads)
    loose = cell.cpus - CpuSet(cpu for core in cell.cores for cpu in core.cpus)
    return column([cpus, threads.strip(loose, max(cpus.width, NARROWEST_CELL))], gap=8) if loose else cpus


def _cell(cell: Cell, cpus: Block, memory: Block, *, many: bool) -> Block:
    content = [cpus, memory]
    chips = device_chips(cell.devices)
    if chips:
        content.append(flow(chips, max(cpus.width, memory.width, NARROWEST_CELL)))
    if many and cell.distances:
        content.append(text(_distances(cell), size=11, style="d"))
    detail = f"{len(cell.cpus)} pCPUs" if cell.cpus else "no pCPUs"
    return frame(column(content, gap=8), f"cell {cell.id}", "cell", detail=detail)


def _of(cores: tuple[Core, ...], socket: int | None) -> tuple[Core, ...]:
    return tuple(core for core in cores if core.socket == socket)


def _dies(cell: Cell, cores: tuple[Core, ...], threads: Threads) -> Block:
    dies = sorted({core.die for core in cores}, key=lambda die: (die is None, die or 0))
    if len(dies) < 2:
        return _caches(cell, cores, threads)
    parts = [
        frame(_caches(cell, tuple(core for core in cores if core.die == die), threads), f"die {die}", "die")
        for die in dies
    ]
    return arrange(parts, 1.8, gap=8)


def _caches(cell: Cell, cores: tuple[Core, ...], threads: Threads) -> Block:
    """The cores inside frames of their last-level caches, and those without one after them."""
    last = max((cache.level for cache in cell.caches), default=0)
    groups = [cache for cache in cell.caches if cache.level == last and last > 1]
    blocks = []
    left = list(cores)
    for cache in sorted(groups, key=lambda cache: cache.cpus.first() if cache.cpus else -1):
        inside = [core for core in left if core.cpus <= cache.cpus]
        if inside:
            left = [core for core in left if not core.cpus <= cache.cpus]
            size = f"L{cache.level}" + (f" {format_kib(cache.size_kib)}" if cache.size_kib else "")
            blocks.append(frame(threads.cores(inside), size, "cache"))
    if left:
        blocks.append(threads.cores(left))
    return arrange(blocks, 2.0, gap=8)


def _distances(cell: Cell) -> str:
    counts: dict[int, int] = {}
    for value in cell.distances.values():
        counts[value] = counts.get(value, 0) + 1
    return "distances " + ", ".join(f"{value} × {count}" for value, count in sorted(counts.items()))
