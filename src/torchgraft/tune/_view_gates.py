"""Gates: which view to trust at a place, learnt from which view's own classifier is right there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp

_PENALTY = 1e-4
_STEPS = 200


def fit_gates(z: Sequence[np.ndarray], log_p: np.ndarray, there: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Weights (D each) and offsets (V,) of linear scores s_v = w_v . z_v + c_v, for columns as they come.

    Minimises mean_i of -log sum_v g_iv p_iv, g_i = softmax over the views that are there of s_i, plus a small penalty
    on the weights of standardised columns. `z` are N x D of each view (D may differ), `log_p` N x V log-probabilities
    that its expert gives to the truth, `there` N x V. L-BFGS from equal gates.
    """
    means, spreads = zip(*(_moments(one[there[:, v]]) for v, one in enumerate(z)), strict=True)
    x = [((one - m) / s).astype(np.float32) for one, m, s in zip(z, means, spreads, strict=True)]
    views, n = len(x), len(x[0])
    ends = np.cumsum([one.shape[1] for one in x])

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        *w, c = np.split(theta, ends)
        scores = np.stack([x[v] @ w[v].astype(np.float32) + c[v] for v in range(views)], 1)
        log_g = log_softmax(np.where(there, scores, -np.inf), axis=1)
        joint = log_g + np.where(there, log_p, 0.0)
        total = logsumexp(joint, axis=1)
        slope = ((np.exp(log_g) - np.exp(joint - total[:, None])) / n).astype(np.float32)
        down = [x[v].T @ slope[:, v] + _PENALTY * w[v] for v in range(views)]
        loss = -total.mean() + _PENALTY / 2 * float((theta[: ends[-1]] ** 2).sum())
        return loss, np.concatenate([*down, slope.sum(0)]).astype(np.float64)

    start = np.zeros(ends[-1] + views)
    *w, c = np.split(minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}).x, ends)
    weights = [w[v] / spreads[v] for v in range(views)]
    return weights, c - np.array([one @ means[v] for v, one in enumerate(weights)])


def looks(histograms: np.ndarray) -> np.ndarray:
    """Curves V x 3 x 256 that bring the levels of each view to those of the first: equal shares lie below.

    `histograms` are V x 3 x 256 (weighted) counts of levels. The first view's curve, and that of one without any
    counts, changes nothing.
    """
    curves = np.tile(np.arange(256.0), (*histograms.shape[:2], 1))
    total = histograms.sum(-1, keepdims=True)
    middle = (histograms.cumsum(-1) - histograms / 2) / np.maximum(total, 1e-12)
    for v in range(1, len(histograms)):
        for c in range(histograms.shape[1]):
            if total[v, c, 0] > 0 and total[0, c, 0] > 0:
                seen = histograms[0, c] > 0
                curves[v, c] = np.interp(middle[v, c], middle[0, c, seen], np.flatnonzero(seen))
    return curves


def _moments(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = z.std(0) if len(z) else np.ones(z.shape[1])
    return z.mean(0) if len(z) else np.zeros(z.shape[1]), np.where(spread > 0, spread, 1.0)
