"""What ``make install-system`` puts below DESTDIR: units, a manual page a verb, completion of every verb."""

import subprocess
from pathlib import Path

import pytest

from agent.cli.main import VERBS
from agent.core.request import Flavor
from agent.placement.language.keys import OURS, PLACING
from tests.systemd.installed import PACKAGER, ROOT, install_system


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("system")
    install_system(folder, *PACKAGER)
    return folder


def run(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_units_are_where_systemd_looks(installed: Path) -> None:
    listed = run("systemctl", f"--root={installed}", "list-unit-files", "--no-legend").splitlines()
    assert {line.split()[0] for line in listed} == {path.name for path in (ROOT / "systemd").glob("cellwright-*")}


def test_the_drop_in_for_the_host_is_at_hand(installed: Path) -> None:
    assert (installed / "usr/share/cellwright/systemd/agent-host.conf").is_file()


def test_enabled_they_start_with_the_host(installed: Path) -> None:
    wants = {f"cellwright-{name}.service": "multi-user.target.wants" for name in ("agent", "scheduler")}
    wants["cellwright-audit.timer"] = "timers.target.wants"
    run("systemctl", f"--root={installed}", "enable", *wants)
    links = {path.name: path.parent.name for path in (installed / "etc/systemd/system").rglob("cellwright-*")}
    assert links == wants


def test_users_and_folders_are_made_by_the_names_of_their_files(installed: Path) -> None:
    run("systemd-sysusers", f"--root={installed}", "cellwright.conf")
    run("systemd-tmpfiles", f"--root={installed}", "--create", "cellwright.conf")
    assert "Cellwright scheduler" in (installed / "etc/passwd").read_text()
    assert (installed / "var/lib/cellwright").stat().st_mode & 0o777 == 0o700


def test_man_finds_the_pages(installed: Path) -> None:
    for page in ("cellwright", "cellwright-agent", "cellwright.toml"):
        assert run("man", "-M", installed / "usr/share/man", "-w", page).startswith(str(installed))


def test_every_verb_has_a_page_that_man_reads(installed: Path) -> None:
    pages = {path.name: path for path in (installed / "usr/share/man").rglob("*.[158]")}
    daemons = {"agent", "scheduler", "standalone"}
    wanted = {f"cellwright-{verb}.{8 if verb in daemons else 1}" for verb in VERBS}
    assert pages.keys() == wanted | {"cellwright.1", "cellwright.toml.5", "cellwright-request.5"}
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
    assert 'default: "auto"; allowed: auto, kvm, qemu' in page
    assert "default: false" in page


def test_the_request_page_has_every_key(installed: Path) -> None:
    page = (installed / "usr/share/man/man5/cellwright-request.5").read_text().replace("\\-", "-")
    for key in (*(f"hw:{name}" for name in PLACING), *(f"cw:{name}" for name in OURS), *Flavor.__struct_fields__):
        assert key in page


def test_the_page_of_a_cluster_verb_shows_what_is_typed(installed: Path) -> None:
    page = run("man", "-P", "cat", "-l", installed / "usr/share/man/man1/cellwright-instance.1")
    assert "cellwright instance create\n" in page
    assert "cellwright-instance create" not in page


def test_fish_and_zsh_know_every_verb(installed: Path) -> None:
    fish = (installed / "usr/share/fish/vendor_completions.d/cellwright.fish").read_text()
    zsh = (installed / "usr/share/zsh/vendor-completions/_cellwright").read_text()
    for verb in VERBS:
        assert f" -a {verb} " in fish
        assert verb in zsh
    assert all(line.count("'") % 2 == line.count("\\'") % 2 for line in fish.splitlines())
