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


FAR = 0.15
"""Share of the samples: who is beyond doubt so far behind the best by the scores is not lifted by votes."""


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
    was known before. The scores together are one voice, r, each vote is another; the rank of a contestant is the mean
    of those voices that know it. A vote tells apart what samples can't: whose share of right samples is more than `FAR`
    under that of the best in 97.5 % of the draws stands behind the others in every vote.

    For the chance to be the best the voices are drawn as the samples are, or it would be sure of what is the same in
    all draws: with weights ~ Dirichlet(1, ..., 1) in each (Rubin, "The Bayesian bootstrap", Annals of Statistics 1981).
    One voice more is an order at random: that all agree is no certainty.

    Intervals are Wilson's for the sample size that the variance of the draws amounts to: 18 right of 18 are no
    certainty.
    """
    names = list(outcomes)
    columns = {kind: np.stack([outcomes[name][kind] for name in names], axis=1) for kind in outcomes[names[0]]}
    n = len(next(iter(columns.values())))
    voice, expected = np.zeros((2, draws, len(names)))
    found: dict[str, dict[str, Estimate]] = {name: {} for name in names}
    for kind, column in columns.items():
        shares = sums(column, draws=draws, seed=seed) / n
        voice += rankdata(-shares, axis=1) / len(columns)
        expected += shares / len(columns)
        for name, sample in zip(names, shares.T, strict=True):
            found[name][kind] = proportion(float(outcomes[name][kind].mean()), sample, n)
    far = _far(expected)
    below = {names[i]: float(expected[:, i].mean()) for i in np.flatnonzero(far)}
    placed = {vote: _places(_bounded(known, below), names) for vote, known in (votes or {}).items()}
    placed = {vote: places for vote, places in placed.items() if np.isfinite(places).any()}
    voices = np.stack([voice, *(np.broadcast_to(places, voice.shape) for places in placed.values())])
    voices = np.where(np.isnan(voices), np.nanmean(voices, axis=0), voices)
    ranks, chances = voices.mean(axis=(0, 1)), _chances(voices, far, seed)
    order = sorted(range(len(names)), key=lambda i: (round(ranks[i], 9), -chances[i], names[i]))
    return [
        Standing(
            name=names[i],
            rank=float(ranks[i]),
            chance_best=float(chances[i]),
            expected=proportion(float(expected[:, i].mean()), expected[:, i], n),
            scores=found[names[i]],
            by=(*columns, *(vote for vote, places in placed.items() if np.isfinite(places[i]) and not far[i])),
        )
        for i in order
    ]


def _far(shares: np.ndarray) -> np.ndarray:
    """Who of K is beyond doubt more than `FAR` behind the best, by shares in D draws (D x K)."""
    best = shares[:, shares.mean(axis=0).argmax()]
    return np.quantile(best[:, None] - shares, 0.025, axis=0) > FAR


def _bounded(known: Mapping[str, float], below: Mapping[str, float]) -> dict[str, float]:
    """The vote with those `below` (and their shares, in [0, 1]) under all others; empty where it knows no other."""
    kept = {name: value for name, value in known.items() if name not in below}
    return kept | {name: min(kept.values()) - 2 + share for name, share in below.items()} if kept else {}


def _chances(voices: np.ndarray, far: np.ndarray, seed: int) -> np.ndarray:
    """Share of draws in which each of K has the lowest mean rank of V voices (V x D x K), weighted at random.

    Of several voices; a single one, of samples alone, is as sure as these are. The one by lot lifts nobody either who
    is `far` behind.
    """
    rng = np.random.default_rng(seed)
    if len(voices) > 1:
        order = np.tile(np.arange(1.0, len(far) + 1), (voices.shape[1], 1))
        voices = np.concatenate([voices, rng.permuted(order, axis=1)[None] + len(far) * far])
    weights = rng.dirichlet(np.ones(len(voices)), size=voices.shape[1]).T
    drawn = (weights[:, :, None] * voices).sum(axis=0)
    best = np.isclose(drawn, drawn.min(axis=1, keepdims=True))
    return (best / best.sum(axis=1, keepdims=True)).mean(axis=0)


def _places(known: Mapping[str, float], names: list[str]) -> np.ndarray:
    """Rank by one vote of those that it knows, NaN of others: k of K share 1..K evenly. Of one alone there is none."""
    found = np.full(len(names), np.nan)
    at = [i for i, name in enumerate(names) if name in known]
    if len(at) > 1:
        found[at] = (rankdata([-known[names[i]] for i in at]) - 0.5) * len(names) / len(at) + 0.5
    return found
