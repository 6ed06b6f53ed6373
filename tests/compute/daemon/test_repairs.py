"""Repairs by the agent: at once, and again later what could not be made; the same failure is said once."""

from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.compute.daemon import repairs as module
from agent.compute.daemon.carry_out import Tools
from agent.compute.daemon.repairs import Repairs
from agent.compute.journal import Journal
from agent.compute.repair import PageWish, Repair, Result
from agent.core.errors import CellwrightError
from agent.settings.agent import AgentSettings

Call = tuple[list[str], PageWish | None]


class Bench:
    """Repairs whose outcome a test decides, and what was asked for."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[Call] = []
        self.fails: dict[str, str] = {}
        self.broken = ""
        self.repairs = Repairs()
        self.settings = AgentSettings(repair=True, repair_pages_mib_per_s=100)
        self.folder = folder
        monkeypatch.setattr(module, "apply_repair", self.apply)

    @property
    def tools(self) -> Tools:
        return Tools(SimpleNamespace(), Journal(self.folder / "journal"), self.settings, self.folder)  # type: ignore[arg-type]

    def apply(
        self, _libvirt: object, _journal: object, *, names: list[str], pages: PageWish | None
    ) -> tuple[Repair, ...]:
        self.calls.append((names, pages))
        if self.broken:
            raise CellwrightError(self.broken)
        return tuple(
            Repair(
                guest=name,
                finding="a thread",
                cause=None,
                result=Result.FAILED if name in self.fails else Result.REPAIRED,
                why=self.fails.get(name, ""),
            )
            for name in names
        )

    def asked(self) -> list[Collection[str]]:
        """The guests of each call since the last time."""
        names: list[Collection[str]] = [call[0] for call in self.calls]
        self.calls.clear()
        return names


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_what_is_repaired_is_not_tried_again(bench: Bench) -> None:
    bench.repairs.put_back(bench.tools, {"b", "a"}, strayed=False)
    bench.repairs.try_again(bench.tools, ["a", "b"])
    assert bench.asked() == [["a", "b"]]
    assert bench.repairs.counts == {Result.REPAIRED: 2}


def test_what_failed_is_tried_until_it_is_repaired_and_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.fails["a"] = "the slice is narrow"
    bench.repairs.put_back(bench.tools, {"a", "b"}, strayed=False)
    for _ in range(3):
        bench.repairs.try_again(bench.tools, ["a", "b"])
    assert bench.asked() == [["a", "b"], ["a"], ["a"], ["a"]]
    assert caplog.text.count("the slice is narrow") == 1
    bench.fails.clear()
    bench.repairs.try_again(bench.tools, ["a", "b"])
    bench.repairs.try_again(bench.tools, ["a", "b"])
    assert bench.asked() == [["a"]]
    assert "repair: a: a thread: repaired" in caplog.text


def test_a_journal_that_cannot_be_written_puts_it_off(bench: Bench) -> None:
    bench.broken = "no space left"
    with pytest.raises(CellwrightError, match="no space left"):
        bench.repairs.put_back(bench.tools, {"a"}, strayed=True)
    bench.broken = ""
    bench.repairs.try_again(bench.tools, ["a"])
    assert bench.calls == [(["a"], PageWish(100)), (["a"], PageWish(100))]
    assert bench.repairs.counts == {Result.REPAIRED: 1}


def test_a_guest_that_is_gone_wants_none(bench: Bench) -> None:
    bench.fails["a"] = "busy"
    bench.repairs.put_back(bench.tools, {"a"}, strayed=False)
    bench.repairs.try_again(bench.tools, [])
    bench.repairs.try_again(bench.tools, ["a"])
    assert bench.asked() == [["a"]]


def test_nothing_is_touched_where_the_settings_do_not_allow_it(bench: Bench) -> None:
    bench.settings = AgentSettings()
    bench.repairs.put_back(bench.tools, {"a"}, strayed=False)
    assert bench.asked() == []
