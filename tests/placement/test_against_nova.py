"""Nova's own answers to random questions in the whole request language: the same refusals, the same yes and no."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent.core.claims import claim, release
from agent.core.cpuset import CpuSet
from agent.core.errors import BadRequest
from agent.core.placement import CpuTopology, PlacedCell, Placement
from agent.core.policy import CpuPolicy, ThreadPolicy
from agent.core.request import Request
from agent.core.topology import HostTopology
from agent.core.usage import CellUsage, PageUse, Usage
from agent.placement import place
from agent.placement.language import parse_guest
from agent.placement.matching import find_violators
from tests.placement.questions import Question, in_nova_words, random_question, random_request, without_devices
from tests.scheduler.nova import ask, nova_python

CASES = 1500
SEQUENCES = 150
ANSWERS = Path(__file__).with_name("nova_answers.py")


@pytest.fixture(scope="session")
def nova(shared_data: Path, pytestconfig: Any) -> Any:
    """Asks Nova: a list of questions in, its answers out."""
    python = nova_python(pytestconfig.rootpath / ".cache")
    oracle = shared_data.parent / "nova"
    return lambda questions: ask(python, ANSWERS, questions, imports=oracle)


def ours(question: Question) -> str:
    try:
        return "fits" if place(*question).fits else "misfit"
    except BadRequest:
        return "refused"


def theirs(answer: dict[str, Any]) -> str:
    """What Nova's fits of single cells amount to; ``died`` where it raised what it does not catch."""
    if answer["error"]:
        return "refused"
    if answer["feasible"] is None:
        return "fits"
    if any(isinstance(fits, str) for row in answer["feasible"] for fits in row):
        return "died"
    rows = [sum(fits << cell for cell, fits in enumerate(row)) for row in answer["feasible"]]
    return "misfit" if find_violators(rows) else "fits"


def idles_siblings(question: Question, nova: str, said: str) -> bool:
    """``isolate`` on a host with SMT and split sets: Nova refuses the cell, we leave siblings idle."""
    host, _, request, _ = question
    isolates = request.flavor.extra_specs.get("hw:cpu_thread_policy") == "isolate"
    return isolates and host.dedicated() != host.shared() and (nova, said) == ("misfit", "fits")


def spells_out_cells_alone(question: Question, nova: str, said: str) -> bool:
    """``hw:numa_cpus.N`` without anything else that makes cells: Nova ignores it in silence, we take it as a wish."""
    specs = question[2].flavor.extra_specs
    alone = not any(key in specs for key in ("hw:numa_nodes", "hw:mem_page_size"))
    return alone and any(key.startswith("hw:numa_") for key in specs) and nova == "fits" and said != "fits"


def still_takes_any_page(question: Question, nova: str, said: str) -> bool:
    """``large``, ``any``: Nova's walk keeps the page size of the first cell it tried, even if that cell failed."""
    specs, properties = question[2].flavor.extra_specs, question[2].image.properties
    wish = properties.get("hw_mem_page_size") or specs.get("hw:mem_page_size")
    return wish in ("large", "any") and (nova, said) == ("misfit", "fits")


def isolates_on_lone_threads(question: Question, nova: str, said: str) -> bool:
    """``isolate`` where cores differ: Nova wants as many threads as the largest has, a core of one thread is whole."""
    host, _, request, _ = question
    isolates = parse_guest(request).thread_policy is ThreadPolicy.ISOLATE
    differ = any(len({len(core.cpus) for core in cell.cores}) > 1 for cell in host.cells)
    return isolates and differ and (nova, said) == ("misfit", "fits")


DELIBERATE = (idles_siblings, isolates_on_lone_threads, spells_out_cells_alone)
"""Where we differ on purpose; anything else that differs is our mistake."""

DELIBERATE_ON_WHOLE_HOSTS = (*DELIBERATE, still_takes_any_page)
"""The same where Nova was asked for its own choice of a cell, not for its fit on each."""


def test_the_same_refusals_and_the_same_yes_and_no(nova: Any) -> None:
    rng = random.Random(34)
    questions = [random_question(rng) for _ in range(CASES)]
    answers = nova([in_nova_words(question) for question in questions])
    counted: Counter[str] = Counter()
    for question, answer in zip(questions, answers, strict=True):
        host, usage, request, limits = question
        bare = (host, usage, without_devices(request), limits)
        wanted = theirs(answer)
        said = "refused" if ours(question) == "refused" else ours(bare)
        differs = wanted != said and wanted != "died"
        assert not differs or any(on_purpose(bare, wanted, said) for on_purpose in DELIBERATE), (wanted, said, question)
        counted[wanted] += 1
        if answer.get("whole") is not None and not differs:
            assert ours(question) == ("fits" if answer["whole"] else "misfit"), question
            counted["with devices"] += 1
    assert min(counted[kind] for kind in ("refused", "fits", "misfit")) > CASES // 10
    assert counted["with devices"] > CASES // 20


def steps(rng: random.Random, label: str) -> tuple[Question, list[tuple[str, Request | None]], list[dict[str, Any]]]:
    """A host, guests of one cell that come and go on it, and the same for Nova: a step, then how the host stands."""
    start = random_question(rng)
    host, usage, _, limits = start
    first = in_nova_words(start)
    plan: list[tuple[str, Request | None]] = []
    lines = [{"op": "host", "name": label, "host": first["host"]}]
    for number in range(10):
        wanted = _guest_of_one_cell(rng, host)
        plan.append((f"g{number}", wanted))
        lines += [{**in_nova_words((host, usage, wanted, limits)), "op": "place", "name": label, "id": f"g{number}"}]
        lines += [{"op": "dump", "name": label}]
        if rng.random() < 0.4:
            gone = f"g{rng.randint(0, number)}"
            plan.append((gone, None))
            lines += [{"op": "free", "name": label, "id": gone}, {"op": "dump", "name": label}]
    return start, plan, lines


def _guest_of_one_cell(rng: random.Random, host: HostTopology) -> Request:
    """A small request that nobody refuses: several cells are where Nova's own choice goes wrong."""
    while True:
        request = without_devices(random_request(rng, host))
        try:
            if len(parse_guest(request).cells) == 1 and request.flavor.vcpus <= 6:
                return request
        except BadRequest:
            continue


def as_placement(question: Question, request: Request, cells: list[dict[str, Any]]) -> Placement:
    """What Nova decided, as a Placement: where it books whole cores (``isolate``), the siblings are reserved."""
    placed = []
    for number, cell in enumerate(cells):
        owned = CpuSet(cell["cpu_pinning"].values()) | CpuSet(cell["cpuset_reserved"])
        if cell["cpu_thread_policy"] == "isolate":
            siblings = [core.cpus for own in question[0].cells if own.id == cell["id"] for core in own.cores]
            usable = question[0].dedicated() | question[0].shared()
            owned = CpuSet(cpu for core in siblings if core & owned for cpu in core & usable)
        pool = cell["pagesize"] or min(page.size_kib for own in question[0].cells for page in own.pages)
        pins = {int(vcpu): CpuSet([cpu]) for vcpu, cpu in cell["cpu_pinning"].items()}
        placed.append(
            PlacedCell(
                guest_cell=number,
                host_cell=cell["id"],
                vcpus=CpuSet(cell["cpuset"]) | CpuSet(cell["pcpuset"]),
                memory_kib=cell["memory"] * 1024,
                page_kib=cell["pagesize"],
                pool_kib=pool,
                policy=CpuPolicy(cell["cpu_policy"] or "shared"),
                pins=pins,
                dedicated=CpuSet(pins),
                reserved=owned - CpuSet(cpu for cpus in pins.values() for cpu in cpus),
            )
        )
    return Placement(
        host="h",
        name="g",
        vcpus=request.flavor.vcpus,
        memory_kib=request.flavor.ram_mb * 1024,
        cells=tuple(placed),
        emulator=CpuSet(),
        cpu_topology=CpuTopology(request.flavor.vcpus, 1, 1),
    )


def as_usage(dump: dict[str, Any]) -> Usage:
    return Usage(
        tuple(
            CellUsage(
                cell["id"],
                CpuSet(cell["pinned_cpus"]),
                cell["cpu_usage"],
                cell["memory_usage"] * 1024,
                tuple(PageUse(page["size_kb"], page["used"]) for page in cell["mempages"]),
            )
            for cell in dump["cells"]
        )
    )


def test_claims_and_releases_book_what_nova_books(nova: Any) -> None:
    rng = random.Random(35)
    claimed = released = 0
    for question, plan, answers in _replayed(nova, rng):
        host, usage, _, limits = question
        held: dict[str, Placement] = {}
        for (name, request), answer, dump in zip(plan, answers[1::2], answers[2::2], strict=True):
            if request is None:
                if name in held:
                    usage = release(usage, held.pop(name))
                    released += 1
            elif answer["error"] is None:
                said = ours((host, usage, request, limits))
                wanted = "fits" if answer["fits"] else "misfit"
                asked = (host, usage, request, limits)
                differs = said != wanted
                assert not differs or any(why(asked, wanted, said) for why in DELIBERATE_ON_WHOLE_HOSTS), asked
                if answer["cells"]:
                    held[name] = as_placement(question, request, answer["cells"])
                    usage = claim(usage, held[name])
                    claimed += 1
            assert usage == as_usage(dump), (name, request)
    assert claimed > SEQUENCES
    assert released > SEQUENCES // 4


def _replayed(nova: Any, rng: random.Random) -> list[tuple[Question, list[tuple[str, Request | None]], list[Any]]]:
    """All sequences in one run of Nova, each with its own answers."""
    all_steps = [steps(rng, f"h{number}") for number in range(SEQUENCES)]
    answers = nova([line for _, _, lines in all_steps for line in lines])
    found = []
    for question, plan, lines in all_steps:
        found.append((question, plan, answers[: len(lines)]))
        answers = answers[len(lines) :]
    return found
