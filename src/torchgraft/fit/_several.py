"""Several labelled sources: how near each is to the target, and how much its samples count for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from torchgraft.features import gap

_MOST = 1000
"""Samples of each domain between which a gap is measured."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One of several sources: its `gap` to the target (MMD^2), and the `weight` of each of its `samples`.

    Weights are over that of the farthest source: 3 counts three times as much as a sample of it.
    """

    name: str
    samples: int
    gap: float
    weight: float


def weighed(x: np.ndarray, origin: np.ndarray, paths: Sequence[str]) -> tuple[Source, ...]:
    """The sources with their weights; `origin` names the source (0..K-1) of each of the N x D rows, -1: target.

    Other rows than those of sources and target must not be there. Empty for a single source.
    """
    if origin.max() < 1:
        return ()
    gaps = gaps_to_target(x, origin)
    counts = np.bincount(origin[origin >= 0])
    found = zip(_names(paths), counts, gaps, gaps.max() / gaps, strict=True)
    return tuple(Source(name=a, samples=int(b), gap=float(c), weight=float(d)) for a, b, c, d in found)


def gaps_to_target(x: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """MMD^2 (K,) of each source's rows and the target's, unbiased, at least as large as what chance makes of none.

    The bandwidth is the median distance within the target, so that all sources are measured alike. Chance: what the
    biased estimate has more than the unbiased one, of the source where that is largest; a source nearer than that may
    be no nearer than another.
    """
    xt = _some(x[origin < 0])
    sigma = gap.median_bandwidth(xt[::2], xt[1::2])
    found, chance = [], []
    for k in range(origin.max() + 1):
        xs = _some(x[origin == k])
        found.append(gap.mmd2(xs, xt, bandwidth=sigma))
        chance.append(gap.mmd2(xs, xt, bandwidth=sigma, unbiased=False) - found[-1])
    return np.maximum(found, max(chance))


def each_row(sources: Sequence[Source], origin: np.ndarray) -> np.ndarray | None:
    """What the rows of `origin` (source 0..K-1) count, mean 1: 1 / gap of their source; None for a single source.

    So are estimates weighted whose squared errors are known: what a source gets wrong of the target's distribution is,
    squared, its MMD^2.
    """
    if not sources:
        return None
    weights = np.array([one.weight for one in sources])[origin]
    return weights / weights.mean()


def one_mean(x: np.ndarray, origin: np.ndarray, sources: Sequence[Source]) -> np.ndarray:
    """Several sources are moved onto their common mean: what lies between them is no gap to the target."""
    if not sources:
        return x
    weights = each_row(sources, origin[origin >= 0])
    x, mean = x.copy(), weights @ x[origin >= 0] / weights.sum()
    for k in range(len(sources)):
        x[origin == k] += mean - x[origin == k].mean(axis=0)
    return x


def told(sources: Sequence[Source]) -> str:
    """How the sources count, in plain words; empty for a single source."""
    if not sources:
        return ""
    near = sorted(sources, key=lambda one: -one.weight)
    more = [one for one in near if one.weight >= 1.05]
    if not more:
        return "A sample of each source counts the same: none is nearer to the target."
    words = f"a sample of {more[0].name} counts {more[0].weight:.1f} times as much as one of {near[-1].name}"
    words += "".join(f", one of {one.name} {one.weight:.1f} times" for one in more[1:])
    return f"By the gap to the target, {words}."


def _names(paths: Sequence[str]) -> list[str]:
    """The last part of each path; the whole path where two would be called alike."""
    short = [Path(path).resolve().stem for path in paths]
    return [name if short.count(name) == 1 else str(path) for name, path in zip(short, paths, strict=True)]


def _some(x: np.ndarray) -> np.ndarray:
    """At most `_MOST` rows, drawn alike from equal sets."""
    if len(x) <= _MOST:
        return x
    return x[np.sort(np.random.default_rng(0).permutation(len(x))[:_MOST])]
