"""Whether a confidence of 0.9 means right nine times in ten, and when it is better not to answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from torchgraft.core.errors import DataError
from torchgraft.evaluate.metrics import BINS, bin_of, checked, ece

TEMPERATURES = (0.05, 1000.0)
"""The range of temperatures that `fit_temperature` can return."""

_PRIOR = 10.0  # standard deviation of ln T


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """exp(z / T) normalised over the last axis, float64; any finite logits (and -inf) are safe."""
    z = np.asarray(logits, dtype=np.float64) / temperature
    z = np.exp(z - z.max(axis=-1, keepdims=True))
    return z / z.sum(axis=-1, keepdims=True)


def fit_temperature(y: np.ndarray, logits: np.ndarray) -> float:
    """The temperature T in 0.05..1000 under which softmax(z / T) fits held-out labels best. Guo et al., ICML 2017.

    Minimises sum_i -ln softmax(z_i / T)[y_i] + ln(1 + exp(g / T)) + (ln T)^2 / 200 with `y` (M,) and `logits` M x C.
    The second term is one more sample, wrong by the median gap g between a sample's two largest logits. So where all M
    are right they are sure by about M / (M + 1), the rule of succession (as Platt's smoothed targets, 1999), and not by
    whatever the scale of the logits says; among hundreds with mistakes it is not felt. The third, a weak prior, decides
    where logits say nothing.

    Raises `DataError` on NaN or +inf.
    """
    y, logits = np.asarray(y), np.asarray(logits, dtype=np.float64)
    if np.isnan(logits).any() or (logits == np.inf).any():
        raise DataError("Expected finite logits, got NaN or Inf: the temperature can't be fitted.")
    checked(y, softmax(logits))
    # the largest of a row is 0, so that the sum of exponentials neither overflows nor vanishes
    z = np.maximum(logits - logits.max(axis=1, keepdims=True), -1e6)
    truth = z[np.arange(len(y)), y]
    gap = float(np.median(-np.partition(z, -2, axis=1)[:, -2])) if z.shape[1] > 1 else 0.0

    def loss(log_beta: float) -> float:
        beta = np.exp(log_beta)
        seen = np.log(np.exp(beta * z).sum(1)) - beta * truth
        return float(seen.sum() + np.logaddexp(0, beta * gap) + log_beta**2 / (2 * _PRIOR**2))

    ends = -np.log(TEMPERATURES[1]), -np.log(TEMPERATURES[0])
    grid = np.linspace(*ends, 17)
    best = int(np.argmin([loss(point) for point in grid]))
    near = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(loss, bounds=near, method="bounded", options={"xatol": 1e-5})
    return float(np.clip(np.exp(-found.x), *TEMPERATURES))


def reliability(y: np.ndarray, proba: np.ndarray, bins: int = BINS) -> list[dict[str, float]]:
    """For each bin of equal width that holds a sample: mean `confidence`, share right (`accuracy`) and count `n`."""
    y, proba = checked(y, proba)
    confidence, right = proba.max(1), proba.argmax(1) == y
    where = bin_of(confidence, bins)
    n = np.bincount(where, minlength=bins)
    means = [np.bincount(where, weights=values, minlength=bins) / np.maximum(n, 1) for values in (confidence, right)]
    return [
        {"confidence": float(means[0][k]), "accuracy": float(means[1][k]), "n": int(n[k])} for k in range(bins) if n[k]
    ]


def calibration(y: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
    """The object under `calibration` in `report.json`: `temperature`, `ece_before`, `ece_after`, `bins` (after)."""
    temperature = fit_temperature(y, logits)
    before, after = softmax(logits), softmax(logits, temperature)
    return {
        "temperature": temperature,
        "ece_before": ece(np.asarray(y), before),
        "ece_after": ece(np.asarray(y), after),
        "bins": reliability(y, after),
    }


def abstain(y: np.ndarray, proba: np.ndarray, *, accuracy: float = 0.95, least: float = 0.1) -> dict[str, Any]:
    """The lowest confidence at which the answered samples are right with share `accuracy` or more.

    `y` (M,), `proba` M x C of samples that the model has not seen. A sample is answered where its confidence is at
    least `threshold`; `coverage` is the share answered, `accuracy` the share right among those. `threshold` is 0 where
    all answers together are good enough. At least a share `least` must stay answered: where no such threshold reaches
    the wanted accuracy, the one with the best accuracy is given and `reached` is False. `wanted` repeats the request,
    `curve` holds up to 50 points `{"coverage", "accuracy"}` of the trade. Picked on these samples, so slightly hopeful.
    """
    y, proba = checked(y, proba)
    size = len(y)
    confidence = proba.max(1)
    order = np.argsort(-confidence, kind="stable")
    sure, right = confidence[order], (proba.argmax(1) == y)[order]
    share = np.cumsum(right) / np.arange(1, size + 1)
    ends = np.flatnonzero(np.append(sure[:-1] > sure[1:], True))  # equal confidences are answered together
    allowed = ends[ends + 1 >= max(least * size, 1)]
    good = allowed[share[allowed] >= accuracy]
    last = int(good[-1] if len(good) else allowed[np.argmax(share[allowed])])
    shown = ends[np.unique(np.linspace(0, len(ends) - 1, 50).astype(int))]
    return {
        "threshold": 0.0 if last == size - 1 else float(sure[last]),
        "coverage": (last + 1) / size,
        "accuracy": float(share[last]),
        "wanted": accuracy,
        "reached": bool(len(good)),
        "curve": [{"coverage": (int(k) + 1) / size, "accuracy": float(share[k])} for k in shown],
    }
