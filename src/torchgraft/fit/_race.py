"""Successive halving: all contestants on few samples, those that may still be the best on more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from torchgraft.evaluate.standings import Outcomes, Standing, Votes, standings

HOPE = 0.25
"""Chance of being the best from which a contestant of the lower half goes on nevertheless."""

Ask = Callable[[str, np.ndarray], Outcomes]
"""(contestant, row positions) -> its outcomes on these rows. Rows asked before cost nothing again."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """How far a contestant came: its `standing` among those that ran the same round, over `samples` samples.

    `chance_best` is over all contestants, and sums to 1. `let_go`: why it ran no further ('' for who ran to the end, or
    was left alone).
    """

    standing: Standing
    samples: int
    chance_best: float
    let_go: str = ""


def race(
    names: Sequence[str],
    rounds: Sequence[np.ndarray],
    ask: Ask,
    *,
    votes: Callable[[Sequence[str]], Votes] = lambda names: {},
    deadline: float = float("inf"),
    seed: int = 0,
) -> list[Place]:
    """The places, best first: who ran further stands before who did not.

    `rounds` are growing, nested row positions, the last being all that may be used. After every round but the last the
    better half (by mean rank) goes on, and whoever is best in a share of `HOPE` of the draws (Jamieson and Talwalkar,
    "Non-stochastic best arm identification", AISTATS 2016, for halving; the second rule is ours: on few samples the
    halves are often told apart by luck). `votes` gives what else ranks those that ran a round (see `standings`). The
    race ends early where one is left, and leaves out what would not fit before `deadline` (`time.monotonic()`) at the
    pace measured so far.
    """
    alive, gone, before, pace = list(names), [], 0, {}
    for rows, coming in zip(rounds, [*rounds[1:], None], strict=True):
        outcomes = {}
        for name in alive:
            start = time.monotonic()
            outcomes[name] = ask(name, rows)
            pace[name] = (time.monotonic() - start) / max(len(rows) - before, 1)
        found, before = standings(outcomes, votes=votes(alive), seed=seed), len(rows)
        reasons = {} if coming is None else _let_go(found, pace, before, len(coming), deadline)
        if coming is None or len(found) - len(reasons) < 2:
            return _shared([_place(one, before, reasons) for one in found] + gone)
        alive = [one.name for one in found if one.name not in reasons]
        gone = [_place(one, before, reasons) for one in found if one.name in reasons] + gone
    raise ValueError("a race has at least one round")


def _let_go(found: list[Standing], pace: dict[str, float], asked: int, coming: int, deadline: float) -> dict[str, str]:
    """Contestant -> why it does not run the next round, of `coming` samples."""
    half = (len(found) + 1) // 2
    reasons = {one.name: f"in the lower half on {asked} samples" for one in found[half:] if one.chance_best < HOPE}
    kept = [one.name for one in found if one.name not in reasons]
    left = deadline - time.monotonic()
    while len(kept) > 1 and sum(pace[name] for name in kept) * (coming - asked) > left:
        reasons[kept.pop()] = f"the time was too short for more than {asked} samples"
    return reasons


def _place(one: Standing, samples: int, reasons: dict[str, str]) -> Place:
    return Place(standing=one, samples=samples, chance_best=one.chance_best, let_go=reasons.get(one.name, ""))


def _shared(places: list[Place]) -> list[Place]:
    """Those that ran furthest share what the chances of the others, each from its own round, leave over."""
    furthest = places[0].samples
    rest = sum(place.chance_best for place in places if place.samples < furthest)
    return [
        place if place.samples < furthest else replace(place, chance_best=place.chance_best * max(1 - rest, 0.0))
        for place in places
    ]
