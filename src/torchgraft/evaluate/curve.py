"""How accuracy grows with the number of labels, and what twice as many would bring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from torchgraft.core.errors import DataError
from torchgraft.core.types import Estimate
from torchgraft.evaluate._resample import DRAWS, interval, sums
from torchgraft.evaluate.metrics import wilson

FRACTIONS = (0.1, 0.25, 0.5, 1.0)
"""Shares of the labelled rows that are tried by default."""

_POWERS = np.linspace(0.1, 1.5, 29)


def learning_curve(
    rows: np.ndarray,
    y: np.ndarray,
    accuracy_at: Callable[[np.ndarray], np.ndarray],
    *,
    fractions: Sequence[float] = FRACTIONS,
    repeats: int = 3,
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """Fit on growing parts of `rows`, measure on the same held-out samples, forecast twice as many.

    `rows` (N,) positions to fit on, `y` (N,) their classes; `accuracy_at(part)` fits on some of the rows and returns
    for each of the M held-out samples whether it is right (M,). Parts are drawn stratified with at least one row of
    each class; parts under the whole are drawn `repeats` times and averaged. Result, the object under `learning_curve`
    in `report.json`: `points` of `{"fraction", "n", "accuracy"}` with Wilson's interval, `forecast` (see there; None
    where fewer than three sizes are to be had) and `sentence`. Raises `DataError` where `rows` and `y` differ in length
    or are empty.
    """
    rows, y = np.asarray(rows), np.asarray(y)
    if rows.shape != y.shape or rows.ndim != 1 or not len(rows):
        raise DataError(f"Expected N rows and their N labels, N > 0; got shapes {rows.shape} and {y.shape}.")
    rng = np.random.default_rng(seed)
    sizes, right = [], []
    for fraction in sorted(fractions):
        n = _size(y, fraction)
        if n in sizes:
            continue
        times = 1 if n == len(y) else repeats
        sizes.append(n)
        right.append(np.stack([np.asarray(accuracy_at(rows[_part(y, n, rng)]), dtype=float) for _ in range(times)]))
    points = [
        {"fraction": n / len(y), "n": n, "accuracy": wilson(float(r.mean(0).sum()), r.shape[1]).to_dict()}
        for n, r in zip(sizes, right, strict=True)
    ]
    ahead = forecast(sizes, right, seed=seed, draws=draws) if len(sizes) >= 3 else None
    return {"points": points, "forecast": ahead, "sentence": _sentence(len(y), ahead)}


def forecast(sizes: Sequence[int], right: Sequence[np.ndarray], *, seed: int = 0, draws: int = DRAWS) -> dict[str, Any]:
    """What twice the largest of `sizes` would bring: `{"n", "accuracy", "gain", "fitted"}`.

    `right` holds for each size R x M values in [0, 1]: R repeats on the same M held-out samples. The model is the
    inverse power law error(n) = a + b n^-c with a, b >= 0 and c in 0.1..1.5 (Cortes et al., NIPS 1993), by weighted
    least squares. The 95 % band comes from resampling the held-out samples, with the luck of which rows were labelled
    added as normal noise (its spread is seen between repeats and falls as 1 / sqrt(n)). `accuracy` and `gain` (over the
    fitted accuracy at the largest size) include that luck for the rows to come; `fitted` is the curve itself at some
    sizes, `{"n", "value", "low", "high"}`.
    """
    sizes = np.asarray(sizes, dtype=float)
    per_sample = np.stack([r.mean(0) for r in right], axis=1)  # M x S
    error = 1 - per_sample.mean(0)
    drawn = 1 - sums(per_sample, draws=draws, seed=seed) / len(per_sample)
    luck = _luck(sizes, right)
    repeats = np.array([len(r) for r in right])
    rng = np.random.default_rng(seed + 1)
    drawn += rng.normal(size=drawn.shape) * luck[:-1] / np.sqrt(repeats)
    weight = 1 / (error * (1 - error) / len(per_sample) + luck[:-1] ** 2 / repeats + 1e-6)
    law = _fit(sizes, np.concatenate([error[None], drawn]), weight)
    shown = np.append(np.geomspace(sizes[0], sizes[-1], 12), sizes[-1] * np.array([1.2, 1.45, 1.7, 2.0]))
    fitted = 1 - (law[0] + law[1] * (shown[:, None] / sizes[-1]) ** -law[2])  # 16 x (1 + draws)
    now, later = fitted[11], fitted[15]
    after = later[1:] + rng.normal(size=draws) * luck[-1]
    before = now[1:] + rng.normal(size=draws) * luck[-2]
    return {
        "n": int(2 * sizes[-1]),
        "accuracy": _within(interval(later[0], after)).to_dict(),
        "gain": interval(later[0] - now[0], after - before).to_dict(),
        "fitted": [
            {"n": float(n), **_within(interval(row[0], row[1:])).to_dict()}
            for n, row in zip(shown, fitted, strict=True)
        ],
    }


def _luck(sizes: np.ndarray, right: Sequence[np.ndarray]) -> np.ndarray:
    """Standard deviation of accuracy between equally large parts, for each size and for twice the last: s / sqrt(n)."""
    scaled = [r.mean(1).var(ddof=1) * n for n, r in zip(sizes, right, strict=True) if len(r) > 1]
    spread = np.sqrt(np.mean(scaled)) if scaled else 0.0
    return spread / np.sqrt(np.append(sizes, 2 * sizes[-1]))


def _fit(sizes: np.ndarray, error: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """a, b, c of error = a + b (n / last size)^-c for each row of `error` (B x S): 3 x B."""
    best = np.full(len(error), np.inf)
    law = np.zeros((3, len(error)))
    for power in _POWERS:
        shape = (sizes / sizes[-1]) ** -power
        a, b = _line(shape, error, weight)
        miss = (weight * (error - a[:, None] - b[:, None] * shape) ** 2).sum(1)
        law = np.where(miss < best, np.stack([a, b, np.full(len(error), power)]), law)
        best = np.minimum(best, miss)
    return law


def _line(shape: np.ndarray, error: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted least squares of error = a + b shape with a, b >= 0, for each row of `error`."""
    total = weight.sum()
    centre, mean = (weight * shape).sum() / total, (error * weight).sum(1) / total
    b = ((error - mean[:, None]) * (weight * (shape - centre))).sum(1) / (weight * (shape - centre) ** 2).sum()
    a = mean - b * centre
    through_zero = (error * weight * shape).sum(1) / (weight * shape**2).sum()
    a, b = np.where(a < 0, 0.0, a), np.where(a < 0, through_zero, b)
    return np.where(b < 0, mean, a), np.maximum(b, 0.0)


def _size(y: np.ndarray, fraction: float) -> int:
    classes = len(np.unique(y))
    return min(len(y), max(round(fraction * len(y)), classes))


def _part(y: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` positions, each class by its share and with at least one."""
    if n == len(y):
        return np.arange(n)
    order = rng.permutation(len(y))
    rank = np.empty(len(y))  # place of each row within its class, as a share: the smallest n are a stratified part
    for c in np.unique(y):
        own = order[y[order] == c]
        rank[own] = (np.arange(len(own)) + rng.uniform(0.01, 1)) / len(own)
        rank[own[0]] = -1
    return np.sort(np.argsort(rank, kind="stable")[:n])


def _within(estimate: Estimate) -> Estimate:
    return Estimate(*(min(max(end, 0.0), 1.0) for end in (estimate.value, estimate.low, estimate.high)))


def _sentence(n: int, ahead: dict[str, Any] | None) -> str:
    if ahead is None:
        return f"{n} labels are too few to say what more would bring."
    gain, low, high = (round(100 * ahead["gain"][key], 1) for key in ("value", "low", "high"))
    numbers = f"about {gain:+z.1f} points [{low:+z.1f}, {high:+z.1f}]"
    doubling = f"Doubling the labels from {n} to {ahead['n']}"
    if high < 1:
        return f"{doubling} would hardly help: {numbers}."
    if low > 0:
        return f"{doubling} would bring {numbers}."
    if high - low > 10:
        return f"Whether doubling the labels from {n} to {ahead['n']} would help can't be told yet: {numbers}."
    return f"{doubling} would bring {numbers}, so it may bring nothing."
