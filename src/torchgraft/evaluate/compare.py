"""Whether one rung is better than another beyond noise: both answer the same samples, so differences are paired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import bdtr

from torchgraft.core.errors import DataError, OptionError
from torchgraft.evaluate._resample import DRAWS, interval, signed_sums, sums
from torchgraft.evaluate.metrics import brier_losses, checked

STATISTICS = ("brier", "accuracy")
"""What `beaten_by` can compare: the Brier loss of each sample, or whether it is right."""


def paired(
    y: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    *,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """How much better `b` is than `a` on the same M samples; positive means `b` is better.

    `y` (M,), `a` and `b` M x C probabilities. `accuracy` and `brier` (the loss that `b` saves) are
    `{"value", "low", "high"}` with 95 % percentile intervals of a bootstrap over samples. `fixed` samples are right
    with `b` alone, `broken` with `a` alone; `p` is McNemar's exact two-sided test of fixed against broken. `gained`
    and `lost` list the classes with more fixed than broken and the reverse, largest change first:
    `{"class", "fixed", "broken"}` (`class` is the index where `classes` is not given).
    """
    y, a = checked(y, a)
    y, b = checked(y, b, a.shape[1])
    right_a, right_b = a.argmax(1) == y, b.argmax(1) == y
    gain = right_b.astype(float) - right_a
    saved = brier_losses(y, a) - brier_losses(y, b)
    drawn = sums(np.stack([gain, saved], axis=1), draws=draws, seed=seed) / len(y)
    fixed, broken = (np.bincount(y[gain == sign], minlength=a.shape[1]) for sign in (1, -1))
    changes = int(fixed.sum()), int(broken.sum())
    return {
        "accuracy": interval(gain.mean(), drawn[:, 0]).to_dict(),
        "brier": interval(saved.mean(), drawn[:, 1]).to_dict(),
        "fixed": changes[0],
        "broken": changes[1],
        "p": min(1.0, 2 * float(bdtr(min(changes), sum(changes), 0.5))),
        "gained": _changed(fixed, broken, classes),
        "lost": _changed(broken, fixed, classes, swap=True),
    }


def beaten_by(
    y: np.ndarray,
    incumbent: np.ndarray,
    challengers: Sequence[np.ndarray],
    *,
    statistic: str = "brier",
    alpha: float = 0.05,
    seed: int = 0,
    draws: int = DRAWS,
) -> list[dict[str, Any]]:
    """Which of K challengers beat the incumbent beyond noise: the rule that decides a promotion on the ladder.

    `y` (M,), `incumbent` M x C probabilities, `challengers` K of them, all on the same samples. With d the loss that a
    challenger saves on each sample and T = mean(d) / sd(d), the samples are resampled (paired bootstrap, studentised)
    and given random signs; the challenger `beats` where T exceeds the 1 - `alpha` quantile of both, and its accuracy
    is not lower than the incumbent's. So a challenger that is truly equal beats in at most about `alpha` of all cases.
    Each is judged by itself: of several equals one is luckier than that (`benchmarks/honesty.py` prints how often),
    which is the price for seeing true gains on few samples. Result, in the order given: `{"beats", "p",
    "difference"}`, `difference` being the mean saved loss (brier), or the gain in accuracy.

    `statistic` is brier (a proper, bounded score: sees more on few samples) or accuracy. Raises `OptionError` on
    another.
    """
    if statistic not in STATISTICS:
        raise OptionError(f"statistic expects {' or '.join(STATISTICS)}, got {statistic!r}.")
    y, incumbent = checked(y, incumbent)
    if not len(challengers):
        return []
    others = [checked(y, other, incumbent.shape[1])[1] for other in challengers]
    gains = np.stack([(other.argmax(1) == y).astype(float) - (incumbent.argmax(1) == y) for other in others], axis=1)
    base = brier_losses(y, incumbent)
    saved = gains if statistic == "accuracy" else np.stack([base - brier_losses(y, other) for other in others], axis=1)
    if not np.isfinite(saved).all():
        raise DataError("Expected finite losses for every challenger.")
    p = p_values(saved, draws=draws, seed=seed)
    return [
        {
            "beats": bool(p[k] <= alpha and gains[:, k].sum() >= 0),
            "p": float(p[k]),
            "difference": float(saved[:, k].mean()),
        }
        for k in range(len(others))
    ]


def p_values(saved: np.ndarray, *, draws: int, seed: int) -> np.ndarray:
    """One-sided p of each column of `saved` (M x K): the larger of two answers.

    The bootstrap is right where losses are skewed, random signs where samples are few or differences rare. The margin
    1 / (2 sqrt(M)) is what simulation asks for at M = 50 (`benchmarks/honesty.py`); it is gone with thousands.
    """
    size, width = saved.shape
    mean, squares = saved.mean(0), (saved**2).mean(0)
    spread = np.maximum(saved.std(0), 1e-12)
    statistic = mean / spread * (1 - 0.5 / np.sqrt(size))
    drawn = sums(np.concatenate([saved, saved**2], axis=1), draws=draws, seed=seed) / size
    drawn_spread = np.sqrt(np.maximum(drawn[:, width:] - drawn[:, :width] ** 2, 0))
    # a draw that misses a rare large loss has hardly any spread of its own: its quotient would hide the clearest gains
    resampled = (drawn[:, :width] - mean) / np.maximum(drawn_spread, spread / 2)
    flipped = signed_sums(saved, draws=draws, seed=seed) / size
    flipped /= np.sqrt(np.maximum(squares - flipped**2, 1e-24))
    return np.maximum(_above(resampled, statistic, draws), _above(flipped, statistic, draws))


def _above(null: np.ndarray, statistic: np.ndarray, draws: int) -> np.ndarray:
    return (1 + (null >= statistic).sum(0)) / (1 + draws)


def _changed(
    more: np.ndarray, less: np.ndarray, classes: Sequence[str] | None, *, swap: bool = False
) -> list[dict[str, Any]]:
    order = [int(c) for c in np.argsort(less - more, kind="stable") if more[c] > less[c]]
    fixed, broken = (less, more) if swap else (more, less)
    name = (lambda c: c) if classes is None else (lambda c: classes[c])
    return [{"class": name(c), "fixed": int(fixed[c]), "broken": int(broken[c])} for c in order]
