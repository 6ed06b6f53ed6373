"""doctor and the measuring formats of topology, as their users run them."""

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from agent.cli.main import main
from agent.compute.domains import Domain, State
from agent.compute.driver import Driver
from agent.core.topology import HostTopology
from agent.inspection.host import read_host
from tests.inspection.trees import two_cells, with_knobs, write
from tests.steady import while_memory_stands_still


@pytest.fixture
def saved(tmp_path: Path) -> str:
    return str(write(tmp_path, two_cells() | with_knobs()))


def test_a_line_a_finding_and_exit_4_when_something_matters(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--sysroot", saved]) == 4
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("matters  kernel.numa_balancing is 1: ") for line in lines)
    assert all("; change: " in line for line in lines)


def test_a_saved_document_with_knobs_gives_the_same(
    saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["topology", "--sysroot", saved, "--knobs", "--format", "json"]) == 0
    document = tmp_path / "t.json"
    document.write_text(capsys.readouterr().out)
    assert main(["doctor", "--topology", str(document), "--format", "json"]) == 4
    from_document = json.loads(capsys.readouterr().out)
    assert main(["doctor", "--sysroot", saved, "--format", "json"]) == 4
    assert json.loads(capsys.readouterr().out) == from_document
    assert from_document["schema"] == "cellwright.readiness/1"
    assert {"code", "severity", "what", "why", "change"} == set(from_document["findings"][0])


def test_a_host_whose_knobs_are_in_order(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(saved, "proc/sys/kernel/numa_balancing").write_text("0\n")
    assert main(["doctor", "--sysroot", saved]) in (0, 4)
    assert "numa_balancing" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["doctor", "--synthetic", "core:2"], "no knobs: allowed: this host"),
        (["topology", "--format", "load", "--sysroot", "/nowhere"], "--format load asks the running kernel"),
        (["topology", "--knobs"], "--knobs with --format table; allowed: --format json"),
        (["topology", "--guests", "--format", "load"], "--guests with --format load; allowed: --format svg, table"),
        (["topology", "--check", "/dev/null", "--format", "load"], "/dev/null: no well-formed XML"),
        (["topology", "--format", "numastat", "--synthetic", "core:2"], "no kernel files: allowed: this host"),
        (["topology", "--format", "numastat", "--sysroot", "/nowhere"], "no numastat files: its kernel has no NUMA"),
    ],
)
def test_refused(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[scheduler]\nlisten = 'here'", "listen address 'here'; allowed: ADDRESS:PORT"),
        ("[agent]\nmetrics_listen = '127.0.0.1:metrics'", "metrics_listen '127.0.0.1:metrics'; allowed: ADDRESS:PORT"),
        ("[host]\nreserved_memory_mb = {0 = 64, 99 = 64}", "reserved memory of cell 99; allowed: 0"),
        ("[scheduling]\nfilters = ['Compute', 'Nope']", "'Nope' is no filter; allowed: "),
        ("[scheduling]\nweighers = ['Nope']", "'Nope' is no weigher; allowed: "),
        ("[scheduling.multipliers]\nspeed = 1", "[scheduling.multipliers]: unknown key 'speed'; allowed: "),
        ("[scheduler]\ndatabase = 'mysql://x/y'", "database mysql://x/y: allowed: sqlite:///PATH or postgresql"),
        ("[scheduler]\ndatabase = 'x'", "'x' is no database URL"),
        ("[scheduler]\ntls_key = 'k'", "tls_key k without tls_certificate"),
        ("[scheduler.peers]\nsouth = 'ftp://x'", "[scheduler.peers] south 'ftp://x'; allowed: http://HOST:PORT"),
        ("[agent]\nscheduler = 'ftp://x'", "[agent] scheduler 'ftp://x'; allowed: http://HOST:PORT"),
        ("[agent]\ntemplate = 'large'", "template 'large' does not exist; allowed: plain"),
        ("[scheduling]\ntries = 0", "Expected `int` >= 1 - at `$.scheduling.tries`"),
        ("[scheduler]\nclaim_s = -1", "Expected `float` >= 0.05 - at `$.scheduler.claim_s`"),
    ],
)
def test_config_check_refuses_what_nobody_could_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(text)
    assert main(["config", "check", "--config", str(config)]) == 2
    assert said in capsys.readouterr().err


def test_config_check_names_the_source_of_each_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[host]\ncpu_dedicated_set = "0"\nreserved_memory_mb = {0 = 512}\n')
    assert main(["config", "check", "--config", str(config)]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["host.cpu_dedicated_set"].split() == ["0", str(config)]
    assert rows["host.reserved_memory_mb"].split() == ["0=512", str(config)]
    assert rows["host.packing"].split() == ["balanced", "default"]
    config.write_text('[host]\ncpu_dedicated_set = "60000"\n')
    assert main(["config", "check", "--config", str(config)]) == 2
    assert "(absent: 60000)" in capsys.readouterr().err
    config.write_text("[hots]\n")
    assert main(["config", "check", "--config", str(config)]) == 2
    assert "unknown section 'hots'; allowed: host" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("url", ["postgresql://me:s/e:cret@there/x", "postgresql:///x?host=/run&password=s/e:cret"])
def test_config_check_shows_no_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str, form: str
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f"[scheduler]\ndatabase = '{url}'\n")
    assert main(["config", "check", "--config", str(config), "--format", form]) == 0
    assert url.replace("s/e:cret", "***") in capsys.readouterr().out


def test_check_against_saved_capabilities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = write(tmp_path, two_cells())
    cells = "".join(
        f"<cell id='{cell}'><memory unit='KiB'>4194304</memory><distances><sibling id='{cell}' value='10'/>"
        f"<sibling id='{1 - cell}' value='21'/></distances><cpus>{{}}</cpus></cell>"
        for cell in (0, 1)
    )

    def cpu(number: int, siblings: str) -> str:
        socket = number % 4 // 2 if siblings else 0
        return f"<cpu id='{number}' socket_id='{socket}' die_id='0' core_id='{number % 2}' siblings='{siblings}'/>"

    near = "".join(cpu(number, f"{number % 4},{number % 4 + 4}") for number in (0, 1, 4, 5))
    dead = "<cpu id='7' socket_id='0' die_id='0' core_id='0' siblings=''/>"
    far = "".join(cpu(*row) for row in ((2, "2,6"), (3, "3"), (6, "2,6"))) + dead
    document = tmp_path / "capabilities.xml"
    template = f"<capabilities><host><topology><cells num='2'>{cells}</cells></topology></host></capabilities>"
    document.write_text(template.format(near, far))
    assert main(["topology", "--sysroot", str(saved), "--check", str(document)]) == 4
    assert capsys.readouterr().out.splitlines() == [
        "socket of offline pCPUs 7: ours none, libvirt's 0; we believe ours: "
        "the kernel has no package for an offline pCPU"
    ]
    for honest in ("<cpu id='7'/>", ""):
        document.write_text(template.format(near, far.replace(dead, honest)))
        assert main(["topology", "--sysroot", str(saved), "--check", str(document)]) == 0
        assert "agrees on pCPUs" in capsys.readouterr().out


def test_check_against_the_running_libvirt(
    libvirt_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """libvirt's own XML, taken apart here, has what our document has; so the verb must find that both agree."""
    turned = tmp_path / "turned.xml"

    def look() -> tuple[str, HostTopology, tuple[int, str], tuple[int, str]]:
        command = ["virsh", "-c", libvirt_uri, "capabilities"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        code = main(["topology", "--check", "--connect", libvirt_uri])
        agrees = code, capsys.readouterr().out
        first = ElementTree.fromstring(answer).findtext("host/topology/cells/cell[@id='0']/memory")
        turned.write_text(answer.replace(f">{first}</memory>", f">{int(first or 0) + 4}</memory>"))
        code = main(["topology", "--check", str(turned)])
        return answer, read_host(), agrees, (code, capsys.readouterr().out)

    answer, host, agrees, differs = while_memory_stands_still(look)
    cells = ElementTree.fromstring(answer).findall("host/topology/cells/cell")
    theirs = {cell.get("id"): [cpu.get("id") for cpu in cell.findall("cpus/cpu[@siblings]")] for cell in cells}
    memory = {cell.get("id"): int(cell.findtext("memory") or 0) for cell in cells}
    assert {str(cell.id): [str(cpu) for cpu in cell.cpus] for cell in host.cells} == theirs
    assert {str(cell.id): cell.memory_kib for cell in host.cells} == memory
    assert agrees[0] == 0
    assert agrees[1].startswith(f"{libvirt_uri} agrees on pCPUs, cells")
    assert differs[0] == 4
    assert differs[1].startswith(f"memory of cell 0: ours {memory['0']} KiB, libvirt's {memory['0'] + 4} KiB;")


def test_check_without_libvirt(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topology", "--check", "--connect", "qemu+unix:///system?socket=/nowhere"]) == 5
    assert "libvirt" in capsys.readouterr().err


TEST_DRIVER = ("--connect", "test:///default")
"""libvirt's test driver always has one guest, called test, which floats."""
NOWHERE = ("--connect", "qemu+unix:///system?socket=/nowhere")


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (("svg", *TEST_DRIVER), True),
        (("svg", "--no-guests", *TEST_DRIVER), False),
        (("svg", *NOWHERE), False),
        (("table", *TEST_DRIVER), False),
        (("table", "--guests", *TEST_DRIVER), True),
    ],
)
def test_guests_are_in_this_hosts_picture_when_libvirt_answers_and_where_they_are_asked_for(
    argv: tuple[str, ...], shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["topology", "--format", *argv]) == 0
    assert ("floating over 0" in capsys.readouterr().out) == shown


def test_a_guest_that_ends_while_it_is_drawn_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = Driver.domains
    ended = Domain(name="ended", uuid="", state=State.RUNNING, active=True, persistent=False)
    monkeypatch.setattr(Driver, "domains", lambda driver, **options: (ended, *listed(driver, **options)))
    assert main(["topology", "--format", "svg", *TEST_DRIVER]) == 0
    shown = capsys.readouterr().out
    assert "test: floating over 0" in shown
    assert "ended" not in shown


def test_a_saved_hosts_picture_has_no_guests_of_this_one(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topology", "--format", "svg", "--sysroot", saved, *TEST_DRIVER]) == 0
    assert "floating" not in capsys.readouterr().out.replace("floating guests", "")


def test_guests_that_were_asked_for_cannot_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topology", "--format", "svg", "--guests", *NOWHERE]) == 5
    assert main(["topology", "--format", "cpus", "--guests", *TEST_DRIVER]) == 2
    assert "--guests with --format cpus; allowed: --format svg, table" in capsys.readouterr().err


def test_interfaces_are_those_of_the_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topology", "--format", "interfaces"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == sorted(path.name for path in Path("/sys/class/net").iterdir() if path.is_dir())
    for row in rows:
        assert row[5] == Path("/sys/class/net", row[0], "mtu").read_text().strip()
