"""What stands between a good score and shipping: collapsed predictions, a lost source, gains within noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, entr, ndtri

from torchgraft.core.errors import DataError, OptionError
from torchgraft.core.types import Estimate
from torchgraft.model.prior import estimate_prior
from torchgraft.train._select_inputs import Inputs

ONE_CLASS, VANISHED, REAL_SHARE, MANY, BY_CHANCE, FAR, SILENT = 0.2, 0.1, 0.05, 0.2, 1e-3, 0.25, 0.01
"""Thresholds of `collapsed`, explained there."""

_EM_ROWS = 2000


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The `change` of source accuracy (-1..1) with its 95 % interval; true where it may be above -`tolerance`."""

    change: Estimate
    tolerance: float

    def __bool__(self) -> bool:
        return self.change.high >= -self.tolerance


def collapsed(p_t: np.ndarray, prior_s: np.ndarray, prior_t: np.ndarray | None = None) -> str:
    """Why predictions look degenerate, for people; empty where they don't. Ask it before any score.

    `p_t` N x C predictions for the target, `prior_s` (C,) class frequencies of the source, `prior_t` (C,) an estimate
    of the target's from another model (`estimate_prior` of source-only's predictions; None: from `p_t` itself, which
    seldom contradicts its own mean).

    - One class takes nearly everything: the others get under a fifth of their share in the source (`ONE_CLASS`). Even
      ten classes: over 82 % in one.
    - A class vanished: it has 5 % of the source or more (`REAL_SHARE`: losing it costs what adaptation commonly gains)
      and gets under a tenth of that (`VANISHED`); or smaller ones vanished that make 20 % together (`MANY`). It may
      truly be missing in the target (partial adaptation): a person has to say so.
    - Every sample gets the same answer: information maximisation under 1 % of ln C (`SILENT`), what a calibrated
      classifier of two even classes that is right on 56 % has.
    - The mean prediction is further than 25 points (`FAR`; total variation, beyond what sampling does) from all
      mixtures of `prior_s` and the estimated frequencies: no label shift explains it.

    The first three count only where random draws of the source's frequencies would do the same, to that class, in fewer
    than 1 of 1000 cases (`BY_CHANCE`): few samples are no collapse. What source-only's predictions show as well is no
    fault of an adaptation: ask it of both. Nothing here sees swapped classes. Raises `DataError`.
    """
    given = Inputs()
    p = given.probabilities("p_t", p_t)
    prior = given.frequencies("prior_s", prior_s, p)
    other = None if prior_t is None else given.frequencies("prior_t", prior_t, p)
    given.check()
    counts = np.bincount(p.argmax(axis=1), minlength=p.shape[1])
    reasons = (_one_class(counts, prior), _vanished(counts, prior), _silent(p, prior), _unexplained(p, prior, other))
    return "; ".join(filter(None, reasons))


def source_kept(before: np.ndarray, after: np.ndarray, *, tolerance: float = 0.02) -> Kept:
    """Whether held-out source accuracy survived: the paired change and its 95 % interval; true or false by itself.

    `before` and `after` (n,) tell for each of the SAME samples whether the model was right (true or false). With b
    samples right before only and c right after only, each half a sample more, and m = n + 2: change
    (c - b) / m -+ 1.96 sqrt(b + c - (c - b)^2 / m) / m (Agresti and Min, Statistics in Medicine 24, 2005). Kept where
    the interval reaches -`tolerance` (0..1): methods that serve the target may give up a point or two of the source.
    With few samples the interval is wide: true then only means that nothing speaks against it. Raises `DataError`.
    """
    given = Inputs(least=2)
    before, after = given.flags("before", before), given.flags("after", after)
    given.same_rows("before", "after")
    given.check()
    if not 0 <= tolerance <= 1:
        raise OptionError(f"tolerance expects a share in 0..1, got {tolerance!r}.")
    gain, n = after - before, len(before)
    lost, won, size = (gain < 0).sum() + 0.5, (gain > 0).sum() + 0.5, n + 2
    reach = float(ndtri(0.975)) * np.sqrt(lost + won - (won - lost) ** 2 / size) / size
    centre, value = (won - lost) / size, float(gain.mean())
    change = Estimate(value, float(max(-1.0, min(centre - reach, value))), float(min(1.0, max(centre + reach, value))))
    return Kept(change=change, tolerance=tolerance)


def agreement(p_a: np.ndarray, p_b: np.ndarray) -> Estimate:
    """Share of the N samples to which two models give the same class, 0..1, with Wilson's 95 % interval.

    `p_a`, `p_b` N x C predictions for the same samples. 1 for equal answers; two models of accuracies a and b agree on
    a + b - 1 or more. It is no measure of quality: two collapsed models agree. Raises `DataError`.
    """
    from scipy.stats import binomtest

    given = Inputs()
    a, b = given.probabilities("p_a", p_a), given.probabilities("p_b", p_b)
    given.same_rows("p_a", "p_b")
    given.same_width(p_a=a, p_b=b)
    given.check()
    same = int((a.argmax(axis=1) == b.argmax(axis=1)).sum())
    interval = binomtest(same, len(a)).proportion_ci(0.95, method="wilson")
    return Estimate(same / len(a), float(interval.low), float(interval.high))


def bootstrap_gain(
    score: Callable[[np.ndarray], float], p_base: np.ndarray, p_adapted: np.ndarray, n: int = 200, seed: int = 0
) -> Estimate:
    """score(adapted) - score(base) over `n` bootstrap draws of the target samples, the same draw for both models.

    `score` takes N x C predictions and is larger where they are better (`bnm`, `entropy`, ...); `p_base`, `p_adapted`
    N x C for the same samples; `n` 20 or more. The mean of the draws, with the 2.5 and 97.5 % quantiles: low above 0
    says that the gain in the SCORE is no luck of the sample, not that the accuracy gained. Draws repeat samples, which
    lifts the likes of `snd` a little for both. Raises `DataError`, also where a score is not finite.
    """
    given = Inputs(least=2)
    base, adapted = given.probabilities("p_base", p_base), given.probabilities("p_adapted", p_adapted)
    given.same_rows("p_base", "p_adapted")
    given.same_width(p_base=base, p_adapted=adapted)
    given.check()
    if n < 20:
        raise OptionError(f"n expects 20 draws or more, got {n}: the quantiles of fewer say nothing.")
    rng = np.random.default_rng(seed)
    gains = np.empty(n)
    for i in range(n):
        draw = rng.integers(0, len(base), len(base))
        gains[i] = score(adapted[draw]) - score(base[draw])
    if not np.isfinite(gains).all():
        raise DataError(f"the score is not finite on {int((~np.isfinite(gains)).sum())} of {n} draws.")
    mean = float(gains.mean())
    low, high = (float(q) for q in np.quantile(gains, (0.025, 0.975)))
    return Estimate(mean, min(low, mean), max(high, mean))


def _one_class(counts: np.ndarray, prior: np.ndarray) -> str:
    n, top = int(counts.sum()), int(counts.argmax())
    rest, usual = n - int(counts[top]), 1 - float(prior[top])
    if rest >= ONE_CLASS * usual * n or bdtr(rest, n, usual) >= BY_CHANCE:
        return ""
    return f"class {top} takes {1 - rest / n:.1%} of the target ({prior[top]:.1%} of the source)"


def _vanished(counts: np.ndarray, prior: np.ndarray) -> str:
    n = int(counts.sum())
    gone = (counts < VANISHED * prior * n) & (bdtr(counts, n, prior) < BY_CHANCE)
    shown = np.flatnonzero(gone if prior[gone].sum() >= MANY else gone & (prior >= REAL_SHARE))
    if not len(shown):
        return ""
    names = ", ".join(map(str, shown[:8])) + (", ..." if len(shown) > 8 else "")
    return (
        f"class{'es' if len(shown) > 1 else ''} {names} ({prior[shown].sum():.1%} of the source) vanished: "
        f"{int(counts[shown].sum())} of {n} target samples"
    )


def _silent(p: np.ndarray, prior: np.ndarray) -> str:
    told = max(float(entr(p.mean(axis=0)).sum() - entr(p).sum(axis=1).mean()), 0.0) / np.log(p.shape[1])
    if told >= SILENT or prior.max() ** len(p) >= BY_CHANCE:
        return ""
    return f"every sample gets nearly the same answer ({told:.2%} of what {p.shape[1]} classes can tell apart)"


def _unexplained(p: np.ndarray, prior: np.ndarray, other: np.ndarray | None) -> str:
    mean = p.mean(axis=0)
    if other is None:
        few = p[np.linspace(0, len(p) - 1, min(len(p), _EM_ROWS)).astype(int)]
        other = estimate_prior(few, prior).prior
    steps = np.linspace(0, 1, 101)[:, None]
    distance = float(np.abs(mean - (1 - steps) * prior - steps * other).sum(axis=1).min()) / 2
    noise = float(np.sqrt(2 * mean * (1 - mean) / (np.pi * len(p))).sum()) / 2
    if distance <= FAR + noise:
        return ""
    return (
        f"the mean prediction is {distance:.1%} away from every mixture of the source's and the estimated frequencies"
    )
