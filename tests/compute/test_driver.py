"""One contract, kept by libvirt's test driver and by a real libvirtd with a real QEMU."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.compute.domains import NoSuchDomain, Refused, RefusedXml, State
from agent.compute.driver import Driver
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput, Unreachable
from tests.compute.guests import name_of, remove, tiny_xml, virsh

NAME = name_of("driver")
NAMESPACE = "urn:cellwright:test"


@pytest.fixture(scope="module", params=["test:///default", "qemu:///system"])
def libvirt(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """A connection with one guest NAME: two vCPUs, and on real libvirt one I/O thread."""
    if request.param.startswith("qemu"):
        request.getfixturevalue("libvirt_uri")
    with Driver(request.param) as driver:
        xml = tiny_xml(NAME, extra="<iothreads>1</iothreads>")
        if request.param.startswith("test"):
            xml = xml.replace("type='qemu'", "type='test'").replace(" arch='x86_64' machine='q35'", "")
            xml = xml.replace("<iothreads>1</iothreads>", "").replace("<memballoon model='none'/>", "")
        driver.define(xml, name=NAME)
        try:
            driver.start(NAME, paused=driver.uri.startswith("qemu"))
            yield driver
        finally:
            remove(NAME)


def test_a_running_domain_is_listed_with_its_state(libvirt: Driver) -> None:
    found = next(one for one in libvirt.domains() if one.name == NAME)
    state = State.PAUSED if libvirt.uri.startswith("qemu") else State.RUNNING
    assert (found.state, found.active, found.persistent) == (state, True, True)
    assert found == libvirt.domain(NAME)


def test_the_pid_is_the_qemu_process_of_that_uuid(libvirt: Driver) -> None:
    found = libvirt.domain(NAME)
    if libvirt.uri.startswith("test"):
        assert found.pid is None
    else:
        assert found.uuid in Path(f"/proc/{found.pid}/cmdline").read_text().split("\0")


def test_live_pins_read_back_as_they_were_set(libvirt: Driver) -> None:
    libvirt.pin_vcpus(NAME, {0: CpuSet([1]), 1: CpuSet([0])})
    libvirt.pin_emulator(NAME, CpuSet([1]))
    assert libvirt.vcpu_pins(NAME) == {0: CpuSet([1]), 1: CpuSet([0])}
    assert libvirt.emulator_pin(NAME) == CpuSet([1])
    threads = libvirt.iothread_pins(NAME)
    libvirt.pin_iothreads(NAME, {number: CpuSet([0]) for number in threads})
    assert libvirt.iothread_pins(NAME) == {number: CpuSet([0]) for number in threads}


def test_live_pins_leave_the_configuration_alone(libvirt: Driver) -> None:
    libvirt.pin_vcpus(NAME, {0: CpuSet([0])})
    assert "vcpupin" not in libvirt.xml(NAME, config=True)


@pytest.mark.parametrize("cpus", ["4095", "0,4095", ""])
def test_a_mask_that_the_host_cannot_hold_is_refused_before_libvirt_cuts_it(libvirt: Driver, cpus: str) -> None:
    before = libvirt.vcpu_pins(NAME)
    with pytest.raises(BadInput, match="not on this host, which has 0-"):
        libvirt.pin_vcpus(NAME, {0: CpuSet.parse(cpus)})
    assert libvirt.vcpu_pins(NAME) == before


def test_metadata_comes_back_and_goes_away(libvirt: Driver) -> None:
    assert libvirt.metadata(NAME, NAMESPACE) is None
    libvirt.set_metadata(NAME, NAMESPACE, "<note>kept</note>", live=True, config=False)
    assert "kept" in (libvirt.metadata(NAME, NAMESPACE) or "")
    libvirt.set_metadata(NAME, NAMESPACE, None, live=True, config=False)
    assert libvirt.metadata(NAME, NAMESPACE) is None


@pytest.mark.parametrize("name", ["no-such-guest", 'quo"te', "<angle>", "../../etc/passwd", ""])
def test_a_name_that_is_no_domain_is_said_with_the_names_that_are(libvirt: Driver, name: str) -> None:
    with pytest.raises(NoSuchDomain, match=NAME):
        libvirt.xml(name)


def test_a_name_that_is_no_utf8_is_bad_input(libvirt: Driver) -> None:
    for ask in (libvirt.xml, libvirt.find):
        with pytest.raises(BadInput, match=r"^domain 'db-\\udcff': a name is UTF-8, and this is none$"):
            ask("db-\udcff")
    with pytest.raises(BadInput, match=r"^connection '\\udcff' is no UTF-8"):
        Driver("\udcff")


def test_refused_xml_carries_libvirts_message_and_the_element(libvirt: Driver) -> None:
    xml = tiny_xml(name_of("bad"), extra="<vcpus><vcpu id='none'/></vcpus>")
    if libvirt.uri.startswith("test"):
        xml = "<domain type='test'><name>bad</name></domain>"
    with pytest.raises(RefusedXml, match="libvirt refuses the XML") as caught:
        libvirt.define(xml, name="bad")
    if libvirt.uri.startswith("qemu"):
        assert caught.value.element == "vcpus"


@pytest.mark.parametrize("libvirt", ["qemu:///system"], indirect=True)
def test_shares_of_caches_are_refused_for_a_guest_that_is_emulated(libvirt: Driver) -> None:
    share = "<cache id='0' level='3' type='both' size='4' unit='MiB'/>"
    xml = tiny_xml(name_of("cache"), extra=f"<cputune><cachetune vcpus='0'>{share}</cachetune></cputune>")
    with pytest.raises(RefusedXml, match="only supported for KVM") as caught:
        libvirt.define(xml, name=name_of("cache"))
    assert caught.value.element == "cachetune"


@pytest.mark.parametrize("libvirt", ["qemu:///system"], indirect=True)
def test_a_restarted_daemon_is_connected_to_again(libvirt: Driver) -> None:
    """Cutting our connection is what a restarted libvirtd does to us."""
    libvirt._conn.close()
    assert libvirt.domain(NAME).active


@pytest.mark.parametrize("libvirt", ["qemu:///system"], indirect=True)
def test_lifecycle_events_arrive(libvirt: Driver) -> None:
    seen: list[str] = []
    begun: list[float] = []

    def idle() -> bool:
        if not begun:
            begun.append(time.monotonic())
            virsh("resume", NAME)
        return bool(seen) or time.monotonic() > begun[0] + 120

    for event in libvirt.lifecycle(idle=idle):
        if event.domain == NAME:
            seen.append(event.event)
    assert seen == ["resumed"]


def test_nobody_answering_says_how_to_start_it() -> None:
    with pytest.raises(Unreachable, match="systemctl start libvirtd") as caught:
        Driver("qemu+unix:///system?socket=/nowhere")
    assert caught.value.exit_code == 5


def test_libvirt_prints_nothing_of_its_own_on_stderr(libvirt_uri: str) -> None:
    code = f"""
from agent.compute.driver import Driver
from agent.core.errors import CellwrightError
try:
    Driver({libvirt_uri!r}).xml("no-such-guest")
except CellwrightError:
    pass
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_call_that_libvirt_refuses_is_an_error_of_ours(libvirt_uri: str) -> None:
    with Driver("test:///default") as libvirt, pytest.raises(Refused, match="not supported by the connection driver"):
        libvirt._ask(lambda conn: conn.getDomainCapabilities(), "domain capabilities")
