"""Log records as the journal gets them, over a real datagram socket."""

import logging
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli.daemon_log import JournalFormatter
from agent.cli.journald import LONGEST, JournalHandler, is_journal, render_entry
from agent.compute.daemon.log import Kind, about, log_drift, log_outcome, log_repair
from agent.compute.repair import Repair, Result
from agent.core.cpuset import CpuSet
from agent.core.placement import Misfit, Reason
from agent.core.verdict import Drift, Finding
from agent.core.wire import Confirmation, Outcome


class Journal:
    """The journal's end of the socket, and a logger that sends to it."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "socket")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(10)
        self.other: list[str] = []
        otherwise = logging.StreamHandler()
        otherwise.setFormatter(JournalFormatter("%(message)s"))
        otherwise.emit = lambda record: self.other.append(otherwise.format(record))  # type: ignore[method-assign]
        self.handler = JournalHandler(otherwise, path=self.path)
        self.handler.setFormatter(logging.Formatter("%(message)s"))

    def entry(self) -> dict[str, str]:
        """The next entry, parsed as systemd documents it."""
        data, fields = self.socket.recv(1 << 20), {}
        while data:
            key, data = data.split(b"\n", 1)
            if b"=" in key:
                name, _, value = key.partition(b"=")
            else:
                name, (size,) = key, struct.unpack("<Q", data[:8])
                value, data = data[8 : 8 + size], data[9 + size :]
            fields[name.decode()] = value.decode()
        return fields


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path)
    logger = logging.getLogger("cellwright.agent")
    logger.addHandler(made.handler)
    yield made
    logger.removeHandler(made.handler)
    made.handler.close()
    made.socket.close()


def test_drift_has_the_guest_the_check_and_the_cause(journal: Journal) -> None:
    finding = Finding(
        code="mask-differs", message="m", guest="db-1", cpus=CpuSet([3, 4]), guest_cell=0, cause="taskset"
    )
    log_drift(Drift(at=None, guest="db-1", change="appeared", message="it moved", finding=finding), placed=True)
    entry = journal.entry()
    assert entry["MESSAGE"] == "drift appeared: db-1: it moved; cause: taskset"
    assert entry["PRIORITY"] == "3"
    assert entry["MESSAGE_ID"] == Kind.DRIFT
    shown = {key.removeprefix("CELLWRIGHT_"): value for key, value in entry.items() if key.startswith("CELLWRIGHT_")}
    assert shown == {"GUEST": "db-1", "CELL": "0", "PCPUS": "3-4", "CHECK": "mask-differs", "CAUSE": "taskset"}
    assert entry["CODE_FILE"].endswith("daemon/log.py")
    assert (entry["CODE_FUNC"], entry["CODE_LINE"].isdigit()) == ("log_drift", True)


def test_each_kind_has_an_id_of_its_own(journal: Journal) -> None:
    misfit = Misfit(host="h", name="db-1", misfits=(Reason(code="not-enough-pcpus", message="none left", host_cell=1),))
    log_outcome(Confirmation(instance="i-1", outcome=Outcome.REFUSED, misfit=misfit), "db-1")
    log_outcome(Confirmation(instance="i-1", outcome=Outcome.VERIFIED), "db-1")
    log_repair(Repair(guest="db-1", finding="f", cause=None, result=Result.REPAIRED))
    entries = [journal.entry() for _ in range(3)]
    assert [entry["MESSAGE_ID"] for entry in entries] == [Kind.NOT_VERIFIED, Kind.VERIFIED, Kind.REPAIR]
    assert (entries[0]["CELLWRIGHT_CELL"], entries[0]["CELLWRIGHT_CAUSE"]) == ("1", "none left")
    assert len({str(kind) for kind in Kind}) == len(Kind)


def test_several_lines_and_odd_bytes_arrive_whole(journal: Journal) -> None:
    logging.getLogger("cellwright.agent").error("first\nMESSAGE=second \udcff é", extra=about(Kind.REPAIR, guest="a=b"))
    entry = journal.entry()
    assert entry["MESSAGE"] == "first\nMESSAGE=second ? é"
    assert entry["CELLWRIGHT_GUEST"] == "a=b"


def test_a_text_without_end_is_cut(journal: Journal) -> None:
    logging.getLogger("cellwright.agent").error("x" * (1 << 20))
    assert len(journal.entry()["MESSAGE"]) == LONGEST


def test_without_a_journal_lines_have_their_priority(journal: Journal) -> None:
    Path(journal.path).unlink()
    logging.getLogger("cellwright.agent").warning("still heard")
    assert journal.other == ["<5>still heard"]


def test_stderr_is_the_journal_only_where_systemd_says_this_very_file(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as file:
        found = os.fstat(file.fileno())
        assert is_journal(file.fileno(), f"{found.st_dev}:{found.st_ino}")
        assert not is_journal(file.fileno(), f"{found.st_dev}:{found.st_ino + 1}")
        assert not is_journal(file.fileno(), None)
    assert not is_journal(1 << 20, "1:2")


def test_an_entry_is_bytes_as_documented() -> None:
    assert render_entry({"A": "1\n2"}) == b"A\n\x03\0\0\0\0\0\0\x001\n2\n"
