"""Rounds of the worker's thread: a step that fails is told once, tried again in its time, and stops no other."""

import itertools
from collections.abc import Callable
from queue import Empty
from types import SimpleNamespace

import pytest

from agent.compute.daemon import rounds as module
from agent.compute.daemon.events import Cause
from agent.compute.daemon.rounds import Rounds
from agent.core.errors import CellwrightError, Unreachable
from agent.settings.agent import AgentSettings
from agent.settings.document import Settings

EVERY_S = 0.1
SETTINGS = Settings(
    agent=AgentSettings(topology_interval_s=EVERY_S, masks_interval_s=EVERY_S, pages_interval_s=EVERY_S, pages_share=1)
)
STEPS = ("read_all", "reconcile", "keep_host", "prove_masks", "prove_pages")


class Clock:
    """Time that passes while somebody waits for causes, and at no other time: nothing is ever late."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.causes: list[Cause] = []

    def monotonic(self) -> float:
        return self.now_s

    def get(self, timeout: float) -> Cause:
        if not self.causes:
            self.now_s += timeout
        return self.get_nowait()

    def get_nowait(self) -> Cause:
        if not self.causes:
            raise Empty
        return self.causes.pop(0)


class Stage:
    """Rounds over a worker of which some steps fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        monkeypatch.setattr(module, "time", self.clock)
        monkeypatch.setattr(module, "RETRY_S", EVERY_S)
        monkeypatch.setattr(module, "PAGES_FIRST_S", 0.0)
        self.called: dict[str, list[float]] = {name: [] for name in STEPS}
        self.failing: dict[str, Exception] = {}
        worker = SimpleNamespace(
            settings=SETTINGS,
            view=None,
            progress=lambda: None,
            leave_host=lambda: None,
            **{name: self.step(name) for name in STEPS},
        )
        self.rounds = Rounds(
            worker,  # type: ignore[arg-type]
            self.clock,  # type: ignore[arg-type]
            accepted=lambda: True,
            done=lambda wait_s: self.after(),
            confine=lambda cpus: None,
        )
        self.after: Callable[[], None] = lambda: None

    def step(self, name: str) -> Callable[..., float]:
        def call(**_words: object) -> float:
            self.called[name].append(self.clock.now_s)
            if name in self.failing:
                raise self.failing[name]
            return 0.0

        return call

    def run(self, enough: Callable[[], bool]) -> None:
        """Until that is so, or for a minute."""
        until = self.clock.now_s + 60
        self.after = lambda: self.clock.causes.append(Cause.STOP) if enough() or self.clock.now_s > until else None
        self.rounds.run()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_fails_stops_no_other_and_is_told_once(
    stage: Stage, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage.failing[name] = CellwrightError("no space left")
    stage.run(lambda: all(len(times) >= 4 for times in stage.called.values()))
    for times in stage.called.values():
        assert len(times) >= 4
        assert min(later - earlier for earlier, later in itertools.pairwise(times)) > EVERY_S * 0.99
    assert [record.message.partition(": ")[2] for record in caplog.records] == ["no space left"]
    stage.failing.clear()
    stage.run(lambda: len(stage.called[name]) >= 6)
    assert caplog.records[-1].message.endswith("all is well again")


def test_without_libvirt_nothing_is_done_until_it_is_back(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.failing["read_all"] = Unreachable("libvirt is away")
    stage.run(lambda: len(stage.called["read_all"]) >= 3)
    assert stage.rounds.libvirt_away == "libvirt is away"
    assert not any(stage.called[name] for name in STEPS[1:])
    stage.failing.clear()
    stage.run(lambda: bool(stage.called["prove_masks"]))
    assert [record.message for record in caplog.records] == ["libvirt is away", "libvirt answers again"]
