"""Some ninety hand-made requests with Nova 34's full result: ours says the same yes, no, or refusal."""

import json
from pathlib import Path

from agent.core.codec import convert
from agent.core.cpuset import CpuSet
from agent.core.errors import BadRequest
from agent.core.request import Flavor, Image, Request
from agent.core.topology import Cell, Core, HostTopology, PagePool
from agent.core.usage import CellUsage, Limits, PageUse, Usage
from agent.placement import place

WE_REFUSE = {"max_threads 2 max cores 2 max sockets 2 (impossible)"}
"""Nova's fit does not look at these, its API refuses them; ours does at once."""


def cpus(value: object) -> CpuSet:
    return CpuSet.parse(value) if isinstance(value, str) else CpuSet(value or ())


def question(case: dict) -> tuple[HostTopology, Usage, Request, Limits | None]:
    cells, used = [], []
    dedicated = shared = CpuSet()
    for cell in case["host"]["cells"]:
        floating = cpus(cell["cpuset"])
        owned = cpus(cell["pcpuset"]) if "pcpuset" in cell else floating
        dedicated, shared = dedicated | owned, shared | floating
        cores = tuple(Core(cell.get("socket"), 0, n, CpuSet(s)) for n, s in enumerate(cell.get("siblings") or ()))
        base = {"size_kb": 4, "total": cell["memory_mb"] * 256, "used": cell.get("memory_usage", 0) * 256}
        pages = cell.get("mempages", [base])
        pools = tuple(PagePool(page["size_kb"], page["total"] - page.get("reserved", 0)) for page in pages)
        everything = owned | floating | CpuSet(cpu for core in cores for cpu in core.cpus)
        cells.append(Cell(cell["id"], everything, cell["memory_mb"] * 1024, pages=pools, cores=cores))
        in_use = tuple(PageUse(page["size_kb"], page.get("used", 0)) for page in pages)
        pinned, memory_kib = cpus(cell.get("pinned_cpus")), cell.get("memory_usage", 0) * 1024
        used.append(CellUsage(cell["id"], pinned, cell.get("cpu_usage", 0), memory_kib, in_use))
    flavor, image = case["flavor"], case.get("image") or {}
    return (
        HostTopology(
            hostname="named",
            online=CpuSet(cpu for cell in cells for cpu in cell.cpus),
            cells=tuple(cells),
            dedicated_set=dedicated,
            shared_set=shared,
        ),
        Usage(tuple(used)),
        Request(
            Flavor(flavor["vcpus"], flavor["memory_mb"], extra_specs=flavor.get("extra_specs") or {}),
            image=Image(properties=image.get("properties") or {}),
        ),
        convert(case["limits"], Limits) if case.get("limits") else None,
    )


def test_the_same_yes_no_or_refusal_as_nova(shared_data: Path) -> None:
    seen = 0
    for line in (shared_data / "nova" / "named_cases.jsonl").read_text().splitlines():
        case = json.loads(line)
        wanted = "refused" if case["result"]["error"] else str(case["result"]["fits"])
        try:
            said = str(place(*question(case["request"])).fits)
        except BadRequest:
            said = "refused"
        assert said == ("refused" if case["case"] in WE_REFUSE else wanted), case["case"]
        seen += 1
    assert seen > 80
