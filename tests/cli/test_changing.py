"""The verbs that change a host, as their user calls them: output and exit codes."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import msgspec
import pytest
from lxml import etree

from agent.cli.unpin import render as render_unpin
from agent.compute.driver import Driver
from agent.compute.journal import Journal
from agent.core.codec import encode
from agent.core.policy import CpuPolicy
from tests.compute.guests import name_of, remove, tiny_xml, virsh
from tests.compute.placements import FIRST, HOST, SECOND, dedicated

COMMAND = [sys.executable, "-m", "agent"]
FLOATING = {"flavor": {"vcpus": 2, "ram_mb": 64, "extra_specs": {"hw:numa_nodes": "1"}}}


@pytest.fixture
def name(libvirt_uri: str) -> Iterator[str]:
    made = name_of("cli")
    yield made
    remove(made)


@pytest.fixture
def cellwright(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a verb with a journal of the test's own."""

    def run(verb: str, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        argv = [*COMMAND, verb, "--state-dir", str(tmp_path), *words]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)

    return run


def request(name: str) -> str:
    return json.dumps({"name": name, **FLOATING})


CREATE = ("--request", "-", "--template", "tiny", "--type", "qemu")


def test_create_then_undo_leaves_nothing(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"], name: str
) -> None:
    done = cellwright("create", *CREATE, stdin=request(name))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{name} runs on ")
    assert "threads are where they should be" in done.stderr
    assert virsh("domstate", name).strip() == "running"
    again = cellwright("create", *CREATE, stdin=request(name))
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    assert f"create  {name}  done" in cellwright("undo", "--list").stdout
    (entry,) = json.loads(cellwright("undo", "--list", "--format", "json").stdout)
    assert (entry["id"], entry["verb"], entry["domain"], entry["outcome"]) == (1, "create", name, "done")
    assert json.loads(cellwright("repair", name, "--format", "json").stdout) == []
    assert cellwright("undo", "--dry-run").stdout == f"{name} would be stopped and undefined\n"
    assert cellwright("undo").returncode == 0
    assert name not in virsh("list", "--all", "--name").split()
    assert cellwright("undo").returncode == 2
    for words, why in (
        (("1",), f"journal entry 1 (create of {name}) is undone"),
        (("2",), f"journal entry 2 is an undo: what it took back of {name} has to be done again"),
        (("1", "--connect", "test:///default"), "journal entry 1 is of qemu:///system: undo it with --connect"),
    ):
        refused = cellwright("undo", *words)
        assert (refused.returncode, why in refused.stderr) == (2, True), refused.stderr


def test_a_damaged_journal_entry_is_told_and_stops_only_who_needs_it(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"], name: str, tmp_path: Path
) -> None:
    virsh("define", "/dev/stdin", stdin=tiny_xml(name))
    before = virsh("dumpxml", name)
    assert cellwright("pin", name).returncode == 0
    (tmp_path / "journal" / "000002.json").write_text('{"schema": "cellwright.journal/1"')
    for words, code, said in (
        (("--list",), 0, "000002.json"),
        (("2",), 2, "000002.json"),
        ((), 2, "000002.json: .*it may be the last change, so name the one to undo by its number"),
        (("1",), 0, "000002.json: .*it is left out, and its change cannot be undone"),
    ):
        done = cellwright("undo", *words)
        assert (done.returncode, bool(re.search(said, done.stderr))) == (code, True), done.stderr
    assert virsh("dumpxml", name) == before
    assert cellwright("pin", name).returncode == 0
    assert cellwright("undo").returncode == 0


def test_a_guest_that_is_to_go_where_it_is_stays_as_it_is(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"], name: str
) -> None:
    done = cellwright("create", *CREATE, "--format", "json", stdin=request(name))
    assert done.returncode == 0, done.stderr
    home = str(json.loads(done.stdout)["cells"][0]["host_cell"])
    documents = [virsh("dumpxml", name), virsh("dumpxml", name, "--inactive")]
    for words, printed in ((("--dry-run",), ""), ((), f"{name} is placed on ")):
        stayed = cellwright("migrate-cells", name, "--to", home, *words)
        assert (stayed.returncode, "is there already: nothing changes" in stayed.stderr) == (0, True), stayed.stderr
        assert stayed.stdout.startswith(printed) if printed else not stayed.stdout
    assert [virsh("dumpxml", name), virsh("dumpxml", name, "--inactive")] == documents
    assert len(json.loads(cellwright("undo", "--list", "--format", "json").stdout)) == 1


def test_a_guest_that_runs_here_is_known_by_name_to_those_who_want_to_be_near_it(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"], name: str
) -> None:
    assert cellwright("create", *CREATE, stdin=request(name)).returncode == 0
    near = {}
    for verb, other in (("place", name), ("explain", name), ("explain", f"not-{name}")):
        specs = {"hw:cpu_policy": "dedicated", "cw:l3": f"same:{other}"}
        wanted = json.dumps({"name": "near", "flavor": {"vcpus": 1, "ram_mb": 64, "extra_specs": specs}})
        done = subprocess.run([*COMMAND, verb, "--request", "-"], input=wanted, capture_output=True, text=True)
        near[verb, other] = "is not on this host" not in done.stdout
        assert done.returncode in (0, 3), done.stderr
    assert near == {("place", name): True, ("explain", name): True, ("explain", f"not-{name}"): False}


def test_a_dry_run_prints_the_whole_new_xml_as_a_diff_and_makes_nothing(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"], name: str, tmp_path: Path
) -> None:
    done = cellwright("create", *CREATE, "--dry-run", stdin=request(name))
    old, new, place, *lines = done.stdout.splitlines()
    assert (old, new, place) == ("--- /dev/null", f"+++ {name} (wanted)", f"@@ -0,0 +1,{len(lines)} @@")
    assert {line[:1] for line in lines} == {"+"}
    domain = etree.fromstring("\n".join(line[1:] for line in lines))
    assert (domain.tag, domain.findtext("name"), domain.findtext("vcpu")) == ("domain", name, "2")
    assert name not in virsh("list", "--all", "--name").split()
    assert not (tmp_path / "journal").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--request", "-", "--connect", "qemu+unix:///system?socket=/nowhere"), 5, "systemctl start libvirtd"),
        (("--request", "/nowhere.json"), 2, "/nowhere.json: No such file"),
        (("--request", "-", "--template", "huge"), 2, "template 'huge' does not exist"),
        (("--request", "-", "--name", "pa/th"), 2, "guest name 'pa/th': a path separator (/) at position 2"),
        (("--request", "-", "--name", 'quo"te'), 2, """guest name 'quo"te': a quote (") at position 3"""),
        (("--request", "-", "--name", "<angle>"), 2, "guest name '<angle>': an angle bracket (<) at position 0"),
        (("--request", "-", "--name", ""), 2, "guest name '': it is empty"),
        (("--request", "-", "--domain", "/nowhere.xml"), 2, "/nowhere.xml: No such file"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"],
    libvirt_uri: str,
    words: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    done = cellwright("create", *words, "--type", "qemu", stdin=request("never"))
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "never" not in virsh("list", "--all", "--name").split()


def test_what_does_not_fit_is_answered_with_3(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"], libvirt_uri: str
) -> None:
    big = {"name": "never", "flavor": {"vcpus": 2, "ram_mb": 1 << 30, "extra_specs": {"hw:numa_nodes": "1"}}}
    done = cellwright("create", *CREATE, stdin=json.dumps(big))
    assert (done.returncode, "does not fit" in done.stdout) == (3, True)
    done = cellwright("create", *CREATE, "--format", "json", stdin=json.dumps(big))
    assert (done.returncode, json.loads(done.stdout)["misfits"][0]["code"]) == (3, "not-enough-memory")


def test_a_domain_is_pinned_as_it_is_where_nothing_else_is_asked(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"], name: str
) -> None:
    virsh("define", "/dev/stdin", stdin=tiny_xml(name))
    shown = cellwright("pin", name, "--dry-run")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "+    <vcpupin vcpu='0' cpuset='" in shown.stdout


def floating(name: str) -> bytes:
    """A placement that goes with whatever guests run here: one vCPU on any pCPU of the cell."""
    pins = dict.fromkeys((0, 1), HOST.online)
    (cell,) = dedicated(name, FIRST, SECOND).cells
    shared = msgspec.structs.replace(cell, policy=CpuPolicy.SHARED, pins=pins)
    return encode(msgspec.structs.replace(dedicated(name, FIRST, SECOND), cells=(shared,), emulator=HOST.online))


CANNOT_BE_CARRIED_OUT = [
    ("for another host", b'"host":"', b'"host":"not-', "made for host 'not-"),
    ("a pin outside the host", b'"pins":{"0":"', b'"pins":{"0":"4000,', "pCPUs 4000 are not online on this host"),
    ("an emulator outside the host", b'"emulator":"', b'"emulator":"4001,', "pCPUs 4001 are not online"),
    ("a cell that is not there", b'"host_cell":', b'"host_cell":9', "is not on this host; its cells: ["),
    ("a mask that is none", b'"emulator":"', b'"emulator":"x', "emulator"),
    ("another version", b"placement/1", b"placement/2", "cellwright.placement/2"),
]


@pytest.mark.parametrize("verb", ["create", "pin"])
@pytest.mark.parametrize(
    ("old", "new", "says"), [row[1:] for row in CANNOT_BE_CARRIED_OUT], ids=[row[0] for row in CANNOT_BE_CARRIED_OUT]
)
def test_a_placement_that_cannot_be_carried_out_here_is_refused(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"],
    name: str,
    verb: str,
    old: bytes,
    new: bytes,
    says: str,
) -> None:
    placement = floating(name)
    assert old in placement
    words = ["create", "--template", "tiny", "--type", "qemu"]
    if verb == "pin":
        words = ["pin", name]
        virsh("define", "/dev/stdin", stdin=tiny_xml(name))
    done = cellwright(*words, "--placement", "-", stdin=placement.replace(old, new, 1).decode())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr
    assert (name in virsh("list", "--all", "--name").split()) == (verb == "pin")


REFUSED_XML = [
    ("machine", "machine='q35'", "machine='quatsch'", 2, "at <type>: unsupported configuration: Emulator"),
    ("an action", "<devices>", "<on_crash>dance</on_crash><devices>", 2, "at <on_crash>: XML document failed to"),
    (
        "a disk that is not there",
        "<devices>",
        "<devices><disk type='file'><source file='/nowhere/x'/><target dev='vda'/></disk>",
        1,
        "start: Cannot access storage file '/nowhere/x'",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "code", "says"), [row[1:] for row in REFUSED_XML], ids=[row[0] for row in REFUSED_XML]
)
def test_xml_that_libvirt_refuses_is_passed_on_with_the_element(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"],
    name: str,
    tmp_path: Path,
    old: str,
    new: str,
    code: int,
    says: str,
) -> None:
    mine = tmp_path / "mine.xml"
    mine.write_text(tiny_xml(name).replace(old, new))
    done = cellwright("create", "--placement", "-", "--domain", str(mine), stdin=floating(name).decode())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert f"domain {name}: " in done.stderr
    assert says in done.stderr
    assert name not in virsh("list", "--all", "--name").split()


def test_pin_a_stopped_foreign_domain_and_unpin_it(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"], name: str, tmp_path: Path, libvirt_uri: str
) -> None:
    with Driver(libvirt_uri) as libvirt:
        libvirt.define(tiny_xml(name), name=name)
        before = libvirt.xml(name, config=True)
        shown = cellwright("pin", name, "--request", "-", "--dry-run", stdin=request(name))
        assert "+    <vcpupin vcpu=" in shown.stdout
        assert libvirt.xml(name, config=True) == before
        assert cellwright("pin", name, "--request", "-", stdin=request(name)).returncode == 0
        assert "vcpupin" in libvirt.xml(name, config=True)
        for folder in ("journal", "lost"):  # by what the journal has, and by what the metadata remembers
            shown = render_unpin(libvirt, Journal(tmp_path / folder), name, HOST.online)
            assert "-    <vcpupin vcpu=" in shown, folder
        assert cellwright("unpin", name).stdout == f"{name} is unpinned, as before pin\n"
        assert libvirt.xml(name, config=True) == before


def test_a_foreign_domain_of_any_name_is_pinned_and_unpinned(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"], libvirt_uri: str
) -> None:
    name = "-" + name_of('<it\'s> & "that" ü')
    with Driver(libvirt_uri) as libvirt:
        try:
            libvirt.define(tiny_xml(escape(name)), name=name)
            before = libvirt.xml(name, config=True)
            done = cellwright("pin", "--request", "-", "--", name, stdin=request("any"))
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith(f"{name} is placed on ")
            assert "vcpupin" in libvirt.xml(name, config=True)
            assert cellwright("unpin", "--", name).stdout == f"{name} is unpinned, as before pin\n"
            assert libvirt.xml(name, config=True) == before
        finally:
            libvirt.undefine(name)


def test_a_guest_of_ones_own_xml_is_called_what_that_calls_it(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"], name: str, tmp_path: Path
) -> None:
    xml = tmp_path / "own.xml"
    xml.write_text(tiny_xml(name))
    words = ("--request", "-", "--domain", str(xml), "--format", "json")
    done = cellwright("create", *words, stdin=request("something-else"))
    assert (done.returncode, json.loads(done.stdout)["name"]) == (0, name), done.stderr
