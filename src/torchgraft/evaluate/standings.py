"""Who is best, and how sure is that: several contestants, asked the same samples in several ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from torchgraft.core.types import Estimate
from torchgraft.evaluate._resample import DRAWS, sums
from torchgraft.evaluate.metrics import proportion
from torchgraft.evaluate.prior import Prior, learn

Outcomes = Mapping[str, np.ndarray]
"""Score -> N outcomes, one for each sample: 1.0 right, 0.0 wrong."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One contestant: its expected mean rank (1: first by every score), the chance that it is the best.

    `scores` holds the mean outcome under each score with its 95 % interval, by the samples alone. `chance_best` is the
    share of draws in which its mean rank is the lowest; draws with several such are shared among them. `expected` is
    the share of right samples, mean over scores and draws, with a 95 % interval. `pooled`: whether a table known before
    counts in rank, chance and expectation.
    """

    name: str
    rank: float
    chance_best: float
    expected: Estimate
    scores: Mapping[str, Estimate]
    pooled: bool = False


def standings(
    outcomes: Mapping[str, Outcomes], *, prior: Prior | None = None, draws: int = DRAWS, seed: int = 0
) -> list[Standing]:
    """The contestants from the best expected mean rank to the worst; of equals, the likelier best one first.

    `outcomes` maps each contestant to its outcomes under the same scores on the same N samples. The mean rank over
    scores, r = mean_s rank_s, needs no common scale (Borda's count); ties share their rank. The bootstrap draws the
    samples (N with replacement, the same for all), so that contestants are compared on equal ground, and r is the mean
    over these draws: near equals by one score then have nearly one rank there, and the other score tells them apart.
    With a `prior` (see `evaluate.prior`) each draw is one of the pooled shares instead. Intervals are Wilson's for the
    sample size that the variance of the draws amounts to: 18 right of 18 are no certainty.
    """
    names, n, drawn = _drawn(outcomes, draws, seed)
    drawn_ranks, expected = np.zeros((2, draws, len(names)))
    found: dict[str, dict[str, Estimate]] = {name: {} for name in names}
    for kind, shares in drawn.items():
        judged = prior.pooled(kind, names, shares, n) if prior else shares
        drawn_ranks += rankdata(-judged, axis=1) / len(drawn)
        expected += judged / len(drawn)
        for name, sample in zip(names, shares.T, strict=True):
            found[name][kind] = proportion(float(outcomes[name][kind].mean()), sample, n)
    best = np.isclose(drawn_ranks, drawn_ranks.min(axis=1, keepdims=True))
    chances = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    ranks = drawn_ranks.mean(axis=0)
    order = sorted(range(len(names)), key=lambda i: (round(ranks[i], 9), -chances[i], names[i]))
    known = prior.table if prior else {}
    return [
        Standing(
            name=names[i],
            rank=float(ranks[i]),
            chance_best=float(chances[i]),
            expected=proportion(float(expected[:, i].mean()), expected[:, i], n),
            scores=found[names[i]],
            pooled=names[i] in known,
        )
        for i in order
    ]


def known_before(
    outcomes: Mapping[str, Outcomes], table: Mapping[str, float], *, draws: int = DRAWS, seed: int = 0
) -> Prior | None:
    """What a `table` (contestant -> accuracy in (0, 1)) says where these outcomes leave it open, for `standings`.

    None where it knows too few of them (see `prior.LEAST`).
    """
    names, n, drawn = _drawn(outcomes, draws, seed)
    return learn(table, names, drawn, n)


def _drawn(outcomes: Mapping[str, Outcomes], draws: int, seed: int) -> tuple[list[str], int, dict[str, np.ndarray]]:
    """The contestants, the number of samples, and for each score `draws` x contestants shares of right ones."""
    names = list(outcomes)
    columns = {kind: np.stack([outcomes[name][kind] for name in names], axis=1) for kind in outcomes[names[0]]}
    n = len(next(iter(columns.values())))
    return names, n, {kind: sums(column, draws=draws, seed=seed) / n for kind, column in columns.items()}
