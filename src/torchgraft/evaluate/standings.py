"""Who is best, and how sure is that: several contestants, asked the same samples in several ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from torchgraft.core.types import Estimate
from torchgraft.evaluate._resample import DRAWS, sums
from torchgraft.evaluate.metrics import proportion

Outcomes = Mapping[str, np.ndarray]
"""Score -> N outcomes, one for each sample: 1.0 right, 0.0 wrong."""

Votes = Mapping[str, Mapping[str, float]]
"""Score or table -> contestant -> its number there, higher is better. Not every one need be known."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One contestant: its expected mean rank (1: first by every score), the chance that it is the best.

    `scores` holds the mean outcome under each score with its 95 % interval. `chance_best` is the share of draws in
    which its mean rank is the lowest; draws with several such are shared among them. `expected` is the share of right
    samples, mean over scores and draws, with a 95 % interval. `by`: the scores and tables that its rank is the mean of.
    """

    name: str
    rank: float
    chance_best: float
    expected: Estimate
    scores: Mapping[str, Estimate]
    by: tuple[str, ...] = ()


def standings(
    outcomes: Mapping[str, Outcomes], *, votes: Votes | None = None, draws: int = DRAWS, seed: int = 0
) -> list[Standing]:
    """The contestants from the best expected mean rank to the worst; of equals, the likelier best one first.

    `outcomes` maps each contestant to its outcomes under the same scores on the same N samples. The mean rank over
    scores, r = mean_s rank_s, needs no common scale (Borda's count); ties share their rank. The bootstrap draws the
    samples (N with replacement, the same for all), so that contestants are compared on equal ground, and r is the mean
    over these draws: near equals by one score then have nearly one rank there, and the other score tells them apart.

    `votes` are ranks that are the same in all draws: by a score that is no share of right samples, or by a table that
    was known before. The scores together are one vote, r, and the rank of a contestant is the mean of r and of those
    votes that know it.

    Intervals are Wilson's for the sample size that the variance of the draws amounts to: 18 right of 18 are no
    certainty.
    """
    names = list(outcomes)
    columns = {kind: np.stack([outcomes[name][kind] for name in names], axis=1) for kind in outcomes[names[0]]}
    n = len(next(iter(columns.values())))
    drawn_ranks, expected = np.zeros((2, draws, len(names)))
    found: dict[str, dict[str, Estimate]] = {name: {} for name in names}
    for kind, column in columns.items():
        shares = sums(column, draws=draws, seed=seed) / n
        drawn_ranks += rankdata(-shares, axis=1) / len(columns)
        expected += shares / len(columns)
        for name, sample in zip(names, shares.T, strict=True):
            found[name][kind] = proportion(float(outcomes[name][kind].mean()), sample, n)
    by = {name: [*columns] for name in names}
    for vote, known in (votes or {}).items():
        for i, place in _places(known, names).items():
            drawn_ranks[:, i] += place
            by[names[i]].append(vote)
    drawn_ranks /= [1 + len(by[name]) - len(columns) for name in names]
    best = np.isclose(drawn_ranks, drawn_ranks.min(axis=1, keepdims=True))
    chances = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    ranks = drawn_ranks.mean(axis=0)
    order = sorted(range(len(names)), key=lambda i: (round(ranks[i], 9), -chances[i], names[i]))
    return [
        Standing(
            name=names[i],
            rank=float(ranks[i]),
            chance_best=float(chances[i]),
            expected=proportion(float(expected[:, i].mean()), expected[:, i], n),
            scores=found[names[i]],
            by=tuple(by[names[i]]),
        )
        for i in order
    ]


def _places(known: Mapping[str, float], names: list[str]) -> dict[int, float]:
    """Position -> rank by one vote, of those it knows: k of K share 1..K evenly. On one alone there is none."""
    found = [i for i, name in enumerate(names) if name in known]
    if len(found) < 2:
        return {}
    places = (rankdata([-known[names[i]] for i in found]) - 0.5) * len(names) / len(found) + 0.5
    return dict(zip(found, places.tolist(), strict=True))
