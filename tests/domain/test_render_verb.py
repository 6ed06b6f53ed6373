"""``cellwright render`` as its user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.core.codec import encode
from agent.core.placement import Misfit, Reason
from tests.domain.cases import CASES


def render(*args: str | Path, stdin: bytes = b"") -> tuple[int, str, str]:
    command = [sys.executable, "-m", "agent", "render", *map(str, args)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def placement(tmp_path: Path) -> Path:
    path = tmp_path / "placement.json"
    path.write_bytes(encode(CASES["dedicated"].placement))
    return path


def test_a_placement_from_stdin_becomes_a_domain_of_the_template() -> None:
    code, out, err = render("-", "--template", "tiny", "--type", "qemu", stdin=encode(CASES["floating"].placement))
    assert (code, err) == (0, "")
    assert out.startswith('<domain type="qemu">\n  <name>cw-golden</name>')
    assert '<vcpu placement="static" cpuset="0-71">2</vcpu>' in out
    assert "vcpupin" not in out
    assert "<numatune>" not in out


def test_a_domain_of_ones_own_is_grafted(placement: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.xml"
    mine.write_text("<domain>\n <name>mine</name>\n <memory>2097152</memory>\n <vcpu>4</vcpu> <!-- x -->\n</domain>\n")
    code, out, err = render(placement, "--domain", mine, "--owner", "ann")
    assert (code, err) == (0, "")
    assert ' <vcpu placement="static">4</vcpu>' in out
    assert "<!-- x -->" in out
    assert "<cellwright:owner>ann</cellwright:owner>" in out


def test_a_misfit_is_answered_with_3_and_the_reasons() -> None:
    misfit = Misfit(host="osdev-01", name="db-1", misfits=(Reason(code="x", message="cell 0 is full"),))
    assert render("-", stdin=encode(misfit)) == (
        3,
        "",
        "cellwright: db-1 does not fit on osdev-01: cell 0 is full\n",
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "it is empty; allowed: a JSON document"),
        (b"{", "Input data was truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"fits": true}', "missing required field"),
        (b'{"fits": true, "schema": "cellwright.placement/9"}', ""),
        (b"\x80\x81", ""),
    ],
)
def test_bad_json_is_bad_input(text: bytes, why: str) -> None:
    code, out, err = render("-", stdin=text)
    assert (code, out) == (2, "")
    assert why in err
    assert err.count("\n") == 1


def test_what_is_wrong_is_named(placement: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "no.xml"
    wrong.write_text("<network/>")
    assert render(placement, "--domain", wrong)[0::2] == (
        2,
        f"cellwright: {wrong}: the root element is <network>; expected <domain>\n",
    )
    assert (
        "template 'huge' does not exist; allowed: plain, realtime, dpdk, tiny"
        in render(placement, "--template", "huge")[2]
    )
    assert render(tmp_path / "absent.json")[0::2] == (
        2,
        f"cellwright: {tmp_path}/absent.json: No such file or directory\n",
    )
    named = json.loads(placement.read_text()) | {"name": "a/b"}
    code, _, err = render("-", stdin=json.dumps(named).encode())
    assert (code, err) == (2, "cellwright: guest name 'a/b': a path separator (/) at position 1\n")


@pytest.mark.parametrize("disk", ["a\x01b.qcow2", b"a\xff.img"])
def test_a_disk_that_no_xml_can_name_is_bad_input(placement: Path, disk: str | bytes) -> None:
    command = [sys.executable, "-m", "agent", "render", placement, "--disk", disk]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(" has characters that XML does not allow\n")
