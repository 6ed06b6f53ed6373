"""What ``make install-system`` puts below DESTDIR: units, a manual page a verb, completion that its shells can read."""

import subprocess
from pathlib import Path

import pytest

from agent.cli.main import VERBS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("system")
    command = ["make", "-s", "install-system", f"DESTDIR={folder}", "PREFIX=/usr", "UNITDIR=/usr/lib/systemd/system"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_units_are_where_systemd_looks(installed: Path) -> None:
    names = {path.name for path in (installed / "usr/lib/systemd/system").iterdir()}
    assert names == {path.name for path in (ROOT / "systemd").glob("cellwright-*")}
    assert (installed / "usr/lib/sysusers.d/cellwright.conf").is_file()
    assert (installed / "usr/lib/tmpfiles.d/cellwright.conf").is_file()


def test_every_verb_has_a_page_that_man_reads(installed: Path) -> None:
    pages = {path.name: path for path in (installed / "usr/share/man").rglob("*.[158]")}
    daemons = {"agent", "scheduler", "standalone"}
    wanted = {f"cellwright-{verb}.{8 if verb in daemons else 1}" for verb in VERBS}
    assert pages.keys() == wanted | {"cellwright.1", "cellwright.toml.5"}
    for name, page in pages.items():
        done = subprocess.run(
            ["man", "--warnings", "-E", "UTF-8", "-l", page], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), name
        assert "NAME" in done.stdout


def test_the_settings_page_has_every_section(installed: Path) -> None:
    page = (installed / "usr/share/man/man5/cellwright.toml.5").read_text()
    for word in (".SH [host]", ".SH [agent]", ".SH [scheduler]", ".SH [scheduling]", "report_interval_s"):
        assert word.replace("_", "_") in page.replace("\\-", "-")


def test_bash_completes_verbs_and_options(installed: Path) -> None:
    script = installed / "usr/share/bash-completion/completions/cellwright"
    ask = f"""source {script}
COMP_WORDS=(cellwright "$1"); COMP_CWORD=1; [ -n "$2" ] && {{ COMP_WORDS=(cellwright "$1" "$2"); COMP_CWORD=2; }}
COMPREPLY=(); $(complete -p cellwright | sed 's/.*-F \\([^ ]*\\).*/\\1/') cellwright
echo "${{COMPREPLY[@]}}" """
    for words, found in ((("top", ""), "topology"), (("agent", "--sche"), "--scheduler")):
        done = subprocess.run(["bash", "-c", ask, "bash", *words], capture_output=True, text=True, check=False)
        assert found in done.stdout.split(), done


def test_fish_and_zsh_know_every_verb(installed: Path) -> None:
    fish = (installed / "usr/share/fish/vendor_completions.d/cellwright.fish").read_text()
    zsh = (installed / "usr/share/zsh/site-functions/_cellwright").read_text()
    for verb in VERBS:
        assert f" -a {verb} " in fish
        assert verb in zsh
    assert all(line.count("'") % 2 == line.count("\\'") % 2 for line in fish.splitlines())
