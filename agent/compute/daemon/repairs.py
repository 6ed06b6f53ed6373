"""Drift put back, where ``[agent] repair`` allows it: at once, and what could not be is tried again later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from agent.compute.daemon.carry_out import Tools
from agent.compute.daemon.log import log_repair
from agent.compute.repair import PageWish, Repair, Result, apply_repair, why_not
from agent.core.verdict import Verdict


class Repairs:
    """What became of all repairs (``counts``), and the guests of which some could not be made."""

    def __init__(self) -> None:
        self.counts: Counter[Result] = Counter()
        self._open: dict[str, bool] = {}
        """Guest → whether its pages are to be put back too."""
        self._failed: frozenset[Repair] = frozenset()

    def put_back(self, tools: Tools, names: Collection[str], *, strayed: bool) -> Collection[str]:
        """Repair these guests, their pages too when they ``strayed`` and the settings say how fast they may move.

        The answer is who was touched: what is known of them is old.  CellwrightError when not even the journal can be
        written; they are tried again then as well.
        """
        if not names or not tools.settings.repair:
            return ()
        self._open |= dict.fromkeys(names, strayed)
        rate = tools.settings.repair_pages_mib_per_s
        pages = PageWish(rate) if rate is not None and strayed else None
        with tools.journal.lock():
            repairs = apply_repair(tools.libvirt, tools.journal, names=sorted(names), pages=pages)
        failed = frozenset(one for one in repairs if one.result is Result.FAILED)
        for name in {*names} - {one.guest for one in failed}:
            del self._open[name]
        for one in repairs:
            self.counts[one.result] += 1
            if one not in self._failed:  # what fails again as it did before has been said
                log_repair(one)
        self._failed = failed | {one for one in self._failed if one.guest not in names}
        return names

    def find_again(self, judged: Verdict | None) -> set[tuple[str, str]]:
        """(guest, code) of findings that stand and that a repair puts back, but of guests that are tried again later.

        Such a one was put back, and somebody has undone that before anybody could look: to the judge nothing changed.
        """
        guests = [guest for guest in judged.guests if guest.name not in self._open] if judged else []
        return {(guest.name, one.code) for guest in guests for one in guest.findings if not why_not(guest, one)}

    def try_again(self, tools: Tools, running: Collection[str]) -> Collection[str]:
        """The guests of ``running`` that still want a repair; the others' drift is gone with them."""
        self._open = {name: strayed for name, strayed in self._open.items() if name in running}
        names = {one: [name for name, strayed in self._open.items() if strayed is one] for one in (False, True)}
        return [name for one in names for name in self.put_back(tools, names[one], strayed=one)]
