"""The journal on disk: what survives, what is refused, and what an interrupted change leaves."""

import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.compute.guest_state import ABSENT, GuestState, Masks
from agent.compute.journal import Journal, Outcome
from agent.core.codec import encode
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput, CellwrightError

RUNNING = GuestState(uuid="u", running=True, config="<domain/>", masks=Masks({0: CpuSet([1])}, CpuSet([0, 1]), {}))


def begin(journal: Journal, domain: str = "db-1") -> int:
    return journal.begin(verb="pin", uri="test:///default", domain=domain, before=RUNNING, uuid="u").id


def test_an_entry_reads_back_as_it_was_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    with journal.lock():
        first = journal.begin(verb="create", uri="test:///default", domain="db-1", before=ABSENT, uuid="u")
        ended = journal.end(first, Outcome.DONE, after=RUNNING)
    assert journal.entries() == (ended,)
    assert journal.entry(1).after == RUNNING


def test_ids_go_on_where_they_stopped(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with journal.lock():
        assert [begin(journal), begin(journal)] == [1, 2]
        assert begin(Journal(tmp_path)) == 3


def test_old_entries_are_forgotten_once_no_undo_could_use_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.compute.journal.KEPT", 10)
    journal = Journal(tmp_path)

    def done(verb: str, domain: str, uuid: str, after: GuestState, outcome: Outcome = Outcome.DONE) -> int:
        entry = journal.begin(verb=verb, uri="test:///default", domain=domain, before=ABSENT, uuid=uuid)
        return journal.end(entry, outcome, after=after).id

    with journal.lock():
        stays = [done("create", "runs", "u", RUNNING)]
        done("create", "gone", "g", RUNNING)
        done("remove", "gone", "g", ABSENT)
        done("pin", "runs", "u", RUNNING, Outcome.PUT_BACK)
        stays.append(begin(journal, "in the middle"))
        for number in range(6, 100):
            done("create", f"guest-{number}", f"u-{number}", RUNNING)
        assert len(journal.entries()) == 99
        newest = done("remove", "guest-6", "u-6", ABSENT)
        ids = [entry.id for entry in journal.entries()]
        assert ids == [*stays, *range(6, newest + 1)]


def test_entries_are_the_owners_alone_because_domain_xml_may_hold_passwords(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    with journal.lock():
        begin(journal)
    assert (tmp_path / "journal/000001.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700


def test_a_draft_that_was_never_renamed_does_not_count(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with journal.lock():
        begin(journal)
    (tmp_path / "000002.draft").write_bytes(b'{"schema": "cellw')
    assert [entry.id for entry in journal.entries()] == [1]


def test_a_copy_of_an_entry_is_none(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    begin(journal)
    for name in ("000001 (copy).json", "000001-old.json", "1.json", "0000001.json"):
        (tmp_path / name).write_bytes((tmp_path / "000001.json").read_bytes())
    assert begin(journal) == 2
    assert [entry.id for entry in journal.entries()] == [1, 2]


def test_entries_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    entry = Journal(tmp_path).begin(verb="pin", uri="test:///default", domain="db-1", before=RUNNING, uuid="u")
    for number in (999_999, 1_000_000):
        (tmp_path / f"{number}.json").write_bytes(encode(replace(entry, id=number)))
    assert [entry.id for entry in Journal(tmp_path).entries()] == [1, 999_999, 1_000_000]


def test_a_damaged_entry_is_named_and_stops_nobody_who_needs_another(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    numbers = [begin(journal, f"db-{number}") for number in (1, 2, 3)]
    (tmp_path / "000002.json").write_bytes(b'{"schema": "cellwright.journal/1"')
    entries, damaged = journal.scan()
    assert numbers == [1, 2, 3]
    assert [entry.id for entry in entries] == [entry.id for entry in journal.entries()] == [1, 3]
    assert list(damaged) == [2]
    assert "000002.json" in damaged[2]
    with pytest.raises(BadInput, match=r"journal .*000002\.json"):
        journal.entry(2)
    assert begin(journal) == 4


def test_an_entry_that_is_not_there_says_how_to_list_them(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no entry 7; cellwright undo --list"):
        Journal(tmp_path).entry(7)


def test_a_folder_that_cannot_be_made_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CellwrightError, match="File exists; nothing was changed"),
        Journal(tmp_path / "file").lock(),
    ):
        pytest.fail("the lock was given")


def test_a_second_process_waits_for_the_lock(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from agent.compute.journal import Journal
journal = Journal(Path({str(tmp_path)!r}))
print("asks", flush=True)
with journal.lock():
    print(journal.entry(1).outcome)
"""
    journal = Journal(tmp_path)
    with journal.lock():
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == "asks\n"
        journal.end(journal.begin(verb="pin", uri="u", domain="d", before=ABSENT, uuid=None), Outcome.DONE, after=None)
    assert other.communicate(timeout=120)[0] == "done\n"
