"""What must hold for every host, usage and request: nothing depends on order, and more room never hurts."""

import json
import os
import random
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.claims import claim, release
from agent.core.codec import encode
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput, BadRequest
from agent.core.guest import GuestTopology
from agent.core.placement import Placement
from agent.core.request import Flavor, Image, Request
from agent.core.topology import HostTopology
from agent.core.usage import Usage
from agent.placement import place
from agent.placement.language import check_request, parse_guest
from agent.placement.language.keys import OURS, PLACING
from tests.placement import strategies
from tests.placement.questions import Question, random_question

QUICK: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
seeds = st.integers(0, 1 << 32)


def accepted(seed: int) -> Question:
    """A random question whose request nobody refuses."""
    rng = random.Random(seed)
    while True:
        question = random_question(rng)
        try:
            parse_guest(question[2])
        except BadRequest:
            continue
        return question


def shuffled(rng: random.Random, host: HostTopology) -> HostTopology:
    """The same host with its cells, cores, caches, pages, devices and distances listed in another order."""

    def mixed(values: Any) -> Any:
        return tuple(rng.sample(list(values), len(values)))

    cells = [
        msgspec.structs.replace(
            cell,
            cores=mixed(cell.cores),
            caches=mixed(cell.caches),
            pages=mixed(cell.pages),
            devices=mixed(cell.devices),
            distances=dict(mixed(cell.distances.items())),
        )
        for cell in host.cells
    ]
    return msgspec.structs.replace(host, cells=mixed(cells), unplaced_devices=mixed(host.unplaced_devices))


@settings(max_examples=150, **QUICK)
@given(seeds)
def test_no_order_of_the_input_changes_the_answer(seed: int) -> None:
    host, usage, request, limits = accepted(seed)
    rng = random.Random(seed)
    specs = dict(rng.sample(list(request.flavor.extra_specs.items()), len(request.flavor.extra_specs)))
    other = msgspec.structs.replace(request, flavor=msgspec.structs.replace(request.flavor, extra_specs=specs))
    expected = place(host, usage, request, limits)
    assert place(shuffled(rng, host), Usage(usage.cells[::-1]), other, limits) == expected


@settings(max_examples=150, **QUICK)
@given(st.data())
def test_nor_where_l3_groups_distances_and_devices_decide(data: st.DataObject) -> None:
    host = data.draw(strategies.devices(data.draw(strategies.hosts(most_cells=4))))
    usage, limits = data.draw(strategies.usages(host)), data.draw(strategies.limits(host))
    names = ["db", "web", "db-2"]
    guests = {name: CpuSet(data.draw(st.sets(st.sampled_from(sorted(host.online)), max_size=3))) for name in names}
    request = data.draw(strategies.requests(most_cells=3, most_vcpus=4))
    if data.draw(st.booleans()):
        policy = data.draw(st.sampled_from(["required", "preferred", "legacy", "socket"]))
        request = strategies.wanting(request, pci_passthrough__alias="net:1", hw__pci_numa_affinity_policy=policy)
    if request.flavor.extra_specs["hw:cpu_policy"] != "shared":
        wish = data.draw(st.sampled_from(["one", "same:db", "other:web"]))
        request = strategies.wanting(request, cw__l3=wish)
    rng = random.Random(data.draw(seeds))
    others = dict(rng.sample(list(guests.items()), len(guests)))
    expected = place(host, usage, request, limits, guests=guests)
    assert place(shuffled(rng, host), Usage(usage.cells[::-1]), request, limits, guests=others) == expected


@settings(max_examples=200, **QUICK)
@given(st.data())
def test_more_free_pcpus_never_turn_a_fit_into_a_misfit(data: st.DataObject) -> None:
    host = data.draw(strategies.hosts(most_cells=4))
    usage, limits = data.draw(strategies.usages(host)), data.draw(strategies.limits(host))
    request = data.draw(strategies.requests(most_cells=3))
    freed = data.draw(st.sets(st.sampled_from(sorted(host.online))))
    if place(host, usage, request, limits).fits:
        cells = tuple(msgspec.structs.replace(cell, pinned=cell.pinned - CpuSet(freed)) for cell in usage.cells)
        assert place(host, Usage(cells), request, limits).fits


@settings(max_examples=100, **QUICK)
@given(st.data())
def test_a_guest_that_leaves_never_turns_a_fit_into_a_misfit(data: st.DataObject) -> None:
    host = data.draw(strategies.hosts(most_cells=4))
    usage, limits = data.draw(strategies.usages(host)), data.draw(strategies.limits(host))
    held: list[Placement] = []
    for _ in range(data.draw(st.integers(1, 4))):
        answer = place(host, usage, data.draw(strategies.requests(most_cells=2)), limits)
        if isinstance(answer, Placement):
            held.append(answer)
            usage = claim(usage, answer)
    request = data.draw(strategies.requests(most_cells=3))
    if held and place(host, usage, request, limits).fits:
        assert place(host, release(usage, data.draw(st.sampled_from(held))), request, limits).fits


@settings(max_examples=100, **QUICK)
@given(seeds)
def test_claims_released_in_any_order_restore_usage_exactly(seed: int) -> None:
    host, start, _, limits = accepted(seed)
    rng = random.Random(seed)
    usage, held = start, []
    for number in range(6):
        request = accepted(seed + number)[2]
        answer = place(host, usage, request, limits)
        if isinstance(answer, Placement):
            held.append(answer)
            usage = claim(usage, answer)
            if answer.owned() or answer.devices:
                with pytest.raises(BadInput):
                    claim(usage, answer)
    rng.shuffle(held)
    for answer in held:
        usage = release(usage, answer)
    assert usage == start


KEYS = [f"hw:{name}" for name in PLACING] + [f"cw:{name}" for name in OURS]
KEYS += ["hw:numa_cpus.0", "hw:numa_mem.0", "resources:PCPU", "trait:HW_CPU_HYPERTHREADING", "quota:cpu_quota"]
KEYS += ["pci_passthrough:alias", "quota:cpu_period", "quota:cpu_shares"]
PROPERTIES = [key.replace("hw:", "hw_") for key in KEYS if key.startswith("hw:")]
VALUES = st.one_of(
    st.text(max_size=12),
    st.text("0123456789-,^.:/ ", max_size=8),
    st.sampled_from(["dedicated", "mixed", "isolate", "1", "2", "0-1", "^0", "yes", "auto", "2MB", "large", "one"]),
    st.integers(),
    st.floats(),
    st.booleans(),
)


@settings(max_examples=300, **QUICK)
@given(
    st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=8).map("hw:".__add__), st.text()), VALUES),
    st.dictionaries(st.one_of(st.sampled_from(PROPERTIES), st.text()), VALUES, max_size=4),
    st.integers(-1, 40),
    st.integers(-1, 1 << 40),
)
def test_any_text_is_understood_or_refused_by_name(specs: Any, properties: Any, vcpus: int, ram_mb: int) -> None:
    request = Request(Flavor(vcpus, ram_mb, extra_specs=specs), image=Image(properties=properties))
    for read in (parse_guest, check_request):
        try:
            understood = read(request)
        except BadRequest as why:
            refused = why.key
            assert refused, why  # noqa: PT017  # any other exception fails the test by itself
        else:
            assert understood is None or isinstance(understood, GuestTopology)


SCRIPT = """
import json, random, sys
from agent.core.codec import encode
from tests.placement.test_invariants import accepted
from agent.placement import place
print(json.dumps([encode(place(*accepted(seed))).decode() for seed in range(60)]))
"""


def test_the_same_answers_whatever_the_hash_seed() -> None:
    answers = []
    for seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        answers.append(json.loads(done.stdout))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0] == [encode(place(*accepted(seed))).decode() for seed in range(60)]
