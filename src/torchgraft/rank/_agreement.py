"""How well the order that scores give agrees with the truth: weighted Kendall tau, and regret."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import weightedtau

from torchgraft.core.errors import DataError


def weighted_tau(scores: Sequence[float] | np.ndarray, truth: Sequence[float] | np.ndarray) -> float:
    """Kendall's tau of M scores and M truths, in which an exchange near the top counts more; -1..1.

    tau = <s, t> / sqrt(<s, s> <t, t>), with <s, t> = sum_ij w_ij sign(s_i - s_j) sign(t_i - t_j) and
    w_ij = 1 / (1 + r_i) + 1 / (1 + r_j): the additive hyperbolic weigher over ranks r (0: the best). It is the mean of
    two such numbers: r by the scores, and r by the truth. This is `scipy.stats.weightedtau` as it comes, and what the
    papers on this task print.

    A pair that is tied in one list counts 0 above the line, and only in the other list's sum below it, so ties make the
    number smaller. Tied ranks are broken by the other list, the better there first.

    NaN where a score is NaN (a score that misses a backbone orders none), where one list is constant, or M < 2. Raises
    `DataError` where lengths differ or a truth is not finite.

    Vigna: A Weighted Correlation Index for Rankings with Ties, WWW 2015, arXiv 1404.3325.
    """
    scores, truth = _pair(scores, truth)
    if len(scores) < 2 or np.isnan(scores).any() or np.ptp(truth) == 0 or (scores == scores[0]).all():
        return float("nan")
    return float(weightedtau(scores, truth).statistic)


def regret(scores: Sequence[float] | np.ndarray, truth: Sequence[float] | np.ndarray) -> float:
    """What the pick costs: the best of M truths minus the truth of the top-scored; >= 0, in the units of `truth`.

    Of several with the top score the mean counts: one of them is picked by lot. NaN scores are never picked; NaN where
    all are NaN, or M = 0. Raises `DataError` where lengths differ or a truth is not finite.
    """
    scores, truth = _pair(scores, truth)
    if np.isnan(scores).all():  # of none, too
        return float("nan")
    return float(truth.max() - truth[scores == np.nanmax(scores)].mean())


def _pair(scores: Sequence[float] | np.ndarray, truth: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, truth = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if scores.ndim != 1 or scores.shape != truth.shape:
        raise DataError(f"rank: expected M scores and M truths, got shapes {scores.shape} and {truth.shape}.")
    if not np.isfinite(truth).all():
        raise DataError(f"rank: truths are finite numbers, got {int((~np.isfinite(truth)).sum())} that are not.")
    return scores, truth
