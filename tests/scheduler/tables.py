"""For tables of filter tests: a few named hosts, one request, and the hosts that pass."""

from collections.abc import Iterable, Mapping
from typing import Any

from agent.core.facts import HostFacts
from agent.core.request import Flavor, Image, Request
from agent.core.usage import Limits
from agent.scheduler.aggregates import Aggregate
from agent.scheduler.registry import all_filters
from agent.scheduler.select import candidates
from agent.scheduler.table import HostRow, HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings

RULES = all_filters([])
NOW_S = 1000.0


def row(name: str, *, cpu_ratio: float = 1.0, ram_ratio: float = 1.0, **more: Any) -> HostRow:
    """A host of 8 pCPUs, 1000 MiB and 10 GiB, nothing taken, heard from just now."""
    facts = {"disk_gb": 10, "limits": Limits(cpu_allocation_ratio=cpu_ratio, ram_allocation_ratio=ram_ratio)}
    facts |= more.pop("facts", {})
    sizes = {"vcpus": 8, "ram_mb": 1000, "free_ram_mb": 1000, "last_seen_s": NOW_S}
    return HostRow(name=name, facts=HostFacts(**facts), **(sizes | more))


def wish(vcpus: int = 1, ram_mb: int = 1, **more: Any) -> Wanted:
    """A request; ``flavor``, ``image`` and ``request`` fields may be given, the rest is the Wanted's."""
    flavor = Flavor(vcpus=vcpus, ram_mb=ram_mb, **more.pop("flavor", {}))
    request = Request(flavor=flavor, image=more.pop("image", Image()), **more.pop("request", {}))
    return Wanted(request=request, **more)


def passing(
    rule: str,
    hosts: Iterable[HostRow],
    wanted: Wanted,
    *,
    aggregates: Mapping[str, tuple[Mapping[str, str], str]] | None = None,
    settings: SchedulingSettings | None = None,
) -> str:
    """The names of the hosts that pass, blanks between; ``aggregates`` are name → (metadata, hosts)."""
    table = HostTable()
    table.now_s = NOW_S
    for host in hosts:
        table.put(host)
    table.set_aggregates(
        Aggregate(id=number, name=name, metadata=dict(metadata), hosts=frozenset(members.split()))
        for number, (name, (metadata, members)) in enumerate((aggregates or {}).items())
    )
    rows, _ = candidates(table, wanted, filters=(RULES[rule],), settings=settings or SchedulingSettings())
    return " ".join(table.at(int(number)).name for number in rows)
