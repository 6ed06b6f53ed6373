"""The watchdog hears of life only while every thread moves; a thread that dies takes the agent with it."""

import signal
import threading
from collections.abc import Callable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from agent.compute.daemon import service as module
from agent.compute.daemon.guests import Guests
from agent.compute.daemon.pulses import Pulses
from agent.compute.daemon.service import Service
from agent.core.errors import Unreachable
from agent.core.notify import Manager
from agent.settings.document import Settings


def test_who_is_late_is_named_until_he_moves_or_ends() -> None:
    now = [0.0]
    pulses = Pulses(clock=lambda: now[0])
    pulses.beat("host", 10)
    pulses.beat("libvirt", 3)
    now[0] = 5
    assert pulses.overdue() == {"libvirt": 2}
    pulses.beat("libvirt", 3)
    assert pulses.overdue() == {}
    now[0] = 30
    pulses.end("libvirt")
    assert pulses.overdue() == {"host": 20}


class Stage:
    """A service of real threads over a worker, a scheduler and a libvirt that do what a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[dict[str, object]] = []
        self.enough: Callable[[dict[str, object]], bool] = lambda fields: False
        self.release = threading.Event()
        self.work: Callable[[], None] = lambda: None
        self.ask: Callable[[], int] = self._nobody
        monkeypatch.setattr(module, "MOST_S", {"host": 2.0, "libvirt": 2.0, "scheduler": 4.0, "metrics": 2.0})
        monkeypatch.setattr(module, "watch_libvirt", self.watch_libvirt)
        monkeypatch.setattr(module, "watch_kernel", lambda tell: None)
        self.watch: Callable[[Callable[[], object]], None] = lambda beat: None
        worker = SimpleNamespace(
            settings=Settings(),
            view=None,
            guests=Guests(),
            progress=lambda: None,
            **{name: lambda: None for name in ("read_guests", "keep_host", "leave_host", "prove_masks")},
            read_all=lambda: self.work(),
            reconcile=lambda accepted: None,
            prove_pages=lambda: 0.0,
        )
        link = SimpleNamespace(wait=lambda after, wait_s: self.ask())
        self.service = Service(
            worker,  # type: ignore[arg-type]
            link,  # type: ignore[arg-type]
            read_settings=Settings,
            manager=Manager(tell=self.tell, watchdog_s=0.15),
            random=Random(1),
            confine=lambda cpus: None,
        )

    def _nobody(self) -> int:
        raise Unreachable("nobody")

    def tell(self, **fields: object) -> bool:
        """What the manager hears; after five in a row that are ``enough`` the agent is told to stop."""
        self.told.append(fields)
        if len(self.told) >= 5 and all(map(self.enough, self.told[-5:])):
            self.stop()
        return True

    def stop(self) -> None:
        self.release.set()
        self.service._main.put("stop")

    def watch_libvirt(self, uri: str, tell: object, stop: threading.Event, *, beat: Callable[[], object]) -> None:
        self.watch(beat)

    def run(self, enough: Callable[[dict[str, object]], bool]) -> int:
        """Run until the manager heard enough, or for a minute; the exit code."""
        self.enough = enough
        timer = threading.Timer(60, self.stop)
        timer.start()
        try:
            return self.service.run()
        finally:
            timer.cancel()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    made = Stage(monkeypatch)
    yield made
    made.release.set()
    for number, handler in before.items():
        signal.signal(number, handler)


def hang(stage: Stage) -> Any:
    stage.release.wait(30)
    return 0


def test_all_threads_move_and_the_watchdog_hears_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_S", dict.fromkeys(module.MOST_S, 600.0))
    assert stage.run(lambda fields: "WATCHDOG" in fields) == 0
    assert not any("stuck" in str(fields.get("STATUS")) for fields in stage.told)


@pytest.mark.parametrize("name", ["host", "libvirt", "scheduler"])
def test_one_that_hangs_silences_the_watchdog(stage: Stage, name: str, caplog: pytest.LogCaptureFixture) -> None:
    def beat_and_hang(beat: Callable[[], object]) -> None:
        beat()
        hang(stage)

    if name == "host":
        stage.work = lambda: hang(stage)
    elif name == "libvirt":
        stage.watch = beat_and_hang
    else:
        stage.ask = lambda: hang(stage)
        stage.service._accepted.set()
    status = {"STATUS": f"stuck: {name}"}
    assert stage.run(lambda fields: fields == status) == 0
    assert status in stage.told
    assert f"thread {name} has not moved" in caplog.text


def test_one_that_dies_ends_the_agent_with_an_error(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise KeyError("a mistake of ours")

    stage.work = fail
    assert stage.run(lambda fields: False) == 1
    assert "a mistake of ours" in caplog.text
