"""The rules that ``tune.py`` chooses from: what could stand in agent.placement.packing, over plain numbers.

A candidate says in which blocks what is free is counted, and how; ``Plain`` follows it as the scheduler and the engine
do together, five times cheaper than they.  ``tune.py --check`` compares it with them, guest after guest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from packing_rules import Choice, Guest, State

from agent.core.facts import HostFacts
from agent.placement import packing
from agent.scheduler.weighers import cells
from agent.settings.scheduling import DEFAULT_MULTIPLIERS

GIB = 1 << 20
FIRST = 1 << 32
DOUBLED = (1, 2, 4, 8, 16)
EACH = tuple(range(1, 17))
STEPS = (1, 2, 4, 6, 8, 12, 16)
BY_HAND = ((1, 2), (2, 1), (2, 2), (4, 2))
"""Made when C1, C3 and C4 had all been looked at, as STEPS; all else in the family is put together by its kind."""


class Candidate(NamedTuple):
    """What may differ: the constants of agent.placement.packing and of the weighers, under the same names.

    ``untouched``: within a host, a cell that nobody touched is the last that is taken.  Without that the three guests
    of tests/placement/test_worked_example.py do not share their host in every order, so no such rule can be chosen.
    """

    blocks: tuple[tuple[int, int], ...]
    grains: int = 9
    share_kib: int = 2 * GIB
    untouched: bool = True
    kin: tuple[int, ...] = STEPS

    @property
    def size(self) -> tuple[int, int]:
        """How much there is to it: the smaller is the simpler."""
        return len(self.blocks), len(self.kin)

    def __str__(self) -> str:
        blocks = " ".join(f"{size}x{each}" for size, each in self.blocks) or "none"
        kin = ",".join(map(str, self.kin)) or "none"
        last = "" if self.untouched else "; untouched cells like others"
        return f"blocks {blocks}; {self.grains} grains, share {self.share_kib / GIB:g} GiB, kin {kin}{last}"


SHIPPED = Candidate(packing.BLOCKS, packing.GRAINS, packing.MOST_SHARE_KIB, kin=tuple(cells.KIN.tolist()))


def family() -> list[Candidate]:
    """Blocks of one grain, alone and with each choice of two more sizes, with the usual memory, twice that, or both.

    And those made by hand.  Without blocks of one grain, hosts of two cells with 36 pCPUs keep less room for guests of
    two cells than with best fit (1,009 to 1,079 against 1,086 in tests/scheduler/test_packing.py), so no such rule can
    be chosen.
    """
    kinds: list[tuple[tuple[int, int], ...]] = []
    for chosen in ((1,), (1, 2), (1, 4), (1, 2, 4)):
        kinds += [tuple((size, each) for size in chosen for each in memory) for memory in ((1,), (2,), (1, 2))]
    return [Candidate(blocks) for blocks in (*kinds, BY_HAND)]


def around(found: Candidate) -> list[Candidate]:
    """The same blocks, one other thing changed: larger and smaller grains, shares, and steps for affinity groups.

    Last, to be looked at and never to be chosen, without the word about untouched cells.
    """
    changed = [
        *(found._replace(grains=grains) for grains in (5, 9, 17)),
        *(found._replace(share_kib=gib * GIB) for gib in (1, 2, 4)),
        *(found._replace(kin=kin) for kin in ((), DOUBLED, EACH, STEPS)),
    ]
    return list(dict.fromkeys([found, *changed, found._replace(untouched=False)]))


class Plain:
    """A candidate as a rule over a State of servers that are alike: so many pCPUs and GiB a cell."""

    def __init__(self, candidate: Candidate, servers: int, *, pcpus: int, memory_gib: int) -> None:
        self.candidate = candidate
        self.pcpus, self.memory_gib = pcpus, memory_gib
        self.share_kib = min(memory_gib * GIB // pcpus, candidate.share_kib)
        self.grain = 1 << max(0, (pcpus // candidate.grains).bit_length() - 1)
        self.kinds = [(size * self.grain, size * each * self.grain) for size, each in candidate.blocks]
        self.beyond = int(2 * pcpus * ((HostFacts().limits.cpu_allocation_ratio or 1) - 1))
        self.kin = np.zeros(servers, dtype=np.int64)
        self.groups: set[str] = set()

    def __call__(self, state: State, guest: Guest, fits: np.ndarray) -> Choice:
        rows = np.flatnonzero(fits[:, 0] | fits[:, 1])
        vcpus, gib = guest.vcpus // guest.cells, guest.gib // guest.cells
        pcpus, free_gib = state.vcpus[rows], state.gib[rows]
        left, left_gib = np.maximum(pcpus - vcpus, 0), np.maximum(free_gib - gib, 0)
        shares, left_shares = free_gib * GIB // self.share_kib, left_gib * GIB // self.share_kib
        lost = np.zeros((len(rows), 2), dtype=np.int64)
        for size, memory in self.kinds:
            before, after = np.minimum(pcpus // size, shares // memory), np.minimum(left // size, left_shares // memory)
            other = after if guest.cells == 2 else before
            lost += (_least(before)[:, None] - np.minimum(after, other[:, ::-1])) * self.grain
        tight = np.minimum(left, left_shares)
        if guest.cells == 2:
            tight = np.repeat(_least(tight)[:, None], 2, axis=1)
        cost = _least(np.where(fits[rows], lost * FIRST + tight, np.iinfo(np.int64).max))
        weight = (
            DEFAULT_MULTIPLIERS["cell_pairs_weight_multiplier"] * _normal(-(cost // FIRST))
            + DEFAULT_MULTIPLIERS["cell_fragmentation_weight_multiplier"] * _normal(-(cost % FIRST))
            + DEFAULT_MULTIPLIERS["ram_weight_multiplier"] * _normal(free_gib[:, 0] + free_gib[:, 1], least=0)
            + DEFAULT_MULTIPLIERS["cpu_weight_multiplier"] * _normal(pcpus[:, 0] + pcpus[:, 1] + self.beyond, least=0)
        )
        if guest.group not in self.groups and self.candidate.kin:
            room = self.kin[rows] == 0
            if guest.group:
                held = np.minimum(pcpus // vcpus, free_gib // gib)
                held = held[:, 0] + held[:, 1] if guest.cells == 1 else _least(held)
                room = room + 2 * np.searchsorted(self.candidate.kin, held, side="right")
            weight = weight + DEFAULT_MULTIPLIERS["affinity_room_weight_multiplier"] * _normal(room.astype(np.int64))
        at = int(weight.argmax())
        server = int(rows[at])
        if guest.group:
            self.kin[server] += 1
            self.groups.add(guest.group)
        if guest.cells == 2:
            return server, 0
        whole = [
            self.candidate.untouched and free == self.pcpus and own == self.memory_gib
            for free, own in zip(pcpus[at].tolist(), free_gib[at].tolist(), strict=True)
        ]
        keys = zip(whole, lost[at].tolist(), left[at].tolist(), left_gib[at].tolist(), (0, 1), strict=True)
        return server, min(key for key, does in zip(keys, fits[server].tolist(), strict=True) if does)[-1]


def _least(columns: np.ndarray) -> np.ndarray:
    """Of both cells; much quicker than ``min(axis=1)``."""
    return np.minimum(columns[:, 0], columns[:, 1])


def _normal(score: np.ndarray, least: int | None = None) -> np.ndarray:
    """As agent.scheduler.weigh.normalise."""
    low = int(score.min()) if least is None else least
    return (score - low) / max(int(score.max()) - low, 1)
