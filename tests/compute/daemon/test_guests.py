"""What the agent makes of the domains that it finds, also of one that somebody has damaged."""

from collections.abc import Iterator

import pytest

from agent.compute.daemon.guests import GuestReader, Guests, Parsed, parse_guest
from agent.compute.driver import Driver
from agent.core.cpuset import CpuSet
from agent.domain.ownership import mark_instance
from agent.domain.render import render_domain
from tests.compute.placements import FIRST, dedicated
from tests.hosts import host

INSTANCE = "0b9a4a3e-8f0c-4b56-9a1e-1f2a5a0d7c11"
HOST = host("osdev-01")
PLACEMENT = dedicated("db", FIRST)
XML = mark_instance(render_domain(PLACEMENT, template="tiny", virt_type="qemu"), INSTANCE)
DAMAGED = XML.replace("cellwright.placement/1", "cellwright.placement/9")
TAKEN = XML.replace("urn:cellwright:domain:1", "urn:somebody:else")
SENSELESS = XML.replace('cpuset="', 'cpuset="nonsense')


def parse(xml: str, *, active: bool = True) -> Parsed:
    return parse_guest("db", xml, HOST, active=active)


def test_a_guest_of_ours() -> None:
    found = parse(XML)
    assert found.own is not None
    assert (found.own.instance, found.own.running, found.own.placement, found.wrong) == (INSTANCE, True, PLACEMENT, "")
    assert found.claimant is not None
    assert found.claimant.placement.owned() == CpuSet([FIRST])
    assert found.expectation is not None
    assert (found.expectation.placement, found.expectation.foreign) == (PLACEMENT, False)


@pytest.mark.parametrize(
    ("xml", "said"),
    [(DAMAGED, "cellwright.placement/9"), (TAKEN, f"made for instance {INSTANCE}, and its metadata has no placement")],
    ids=["damaged", "taken away"],
)
def test_one_whose_metadata_is_no_more_holds_what_it_is_pinned_to(xml: str, said: str) -> None:
    found = parse(xml)
    assert said in found.wrong
    assert "told by its pins alone" in found.wrong
    assert found.own is not None
    assert (found.own.instance, found.own.placement) == (INSTANCE, None)
    assert found.claimant is not None
    assert found.claimant.placement.owned() == CpuSet([FIRST])
    assert found.expectation is not None
    assert found.expectation.foreign


@pytest.mark.parametrize("active", [True, False])
def test_one_that_makes_no_sense_is_named(active: bool) -> None:
    found = parse(SENSELESS, active=active)
    assert "what it holds is not known" in found.wrong
    assert "nonsense" in found.wrong
    assert found.claimant is None


@pytest.fixture
def mock() -> Iterator[Driver]:
    with Driver("test:///default") as made:
        yield made


def test_a_damaged_one_hides_no_other(mock: Driver) -> None:
    def read() -> Guests:
        return reader.read(mock, HOST, "digest")

    reader = GuestReader()
    before = read()
    assert before.wrong == {}
    mock.define(DAMAGED.replace("type='qemu'", "type='test'"), name="db")
    found = read()
    assert found.claimants == before.claimants
    assert list(found.wrong) == ["db"]
    assert [one.instance for one in found.own] == [INSTANCE]
