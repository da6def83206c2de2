"""Class frequencies that differ between training and use: estimated without labels, and put into the predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchgraft.core.errors import DataError

_TOLERANCE = 1e-9
_MOST = 10_000


@dataclass(frozen=True, eq=False)
class Prior:
    """Estimated class frequencies `prior` (C,), the EM steps it took, and the `adjusted` N x C probabilities."""

    prior: np.ndarray
    iterations: int
    adjusted: np.ndarray


def adjust(probabilities: np.ndarray, prior_from: np.ndarray, prior_to: np.ndarray) -> np.ndarray:
    """N x C probabilities under other class frequencies: p_c q_c / pi_c, normalised (Bayes' rule).

    `prior_from` (pi) are the frequencies that the probabilities were calibrated on, `prior_to` (q) those of the data.
    A class that `prior_from` gives 0 stays at 0. Raises `DataError` for what is not a probability, or shapes that
    don't fit.
    """
    p = _rows(probabilities)
    start, end = (_prior(prior, p.shape[1], name) for prior, name in ((prior_from, "from"), (prior_to, "to")))
    return _adjusted(p, _ratio(end, start))


def estimate_prior(probabilities: np.ndarray, prior: np.ndarray) -> Prior:
    """Class frequencies of unlabelled samples by EM (Saerens, Latinne and Decaestecker 2002).

    From q = `prior` on, in turns: p'_nc = p_nc q_c / pi_c, normalised over c; q_c = mean_n p'_nc; until q stands still.
    It climbs the likelihood of the samples; that has one maximum. `probabilities` (N x C, rows sum to 1) must be
    calibrated where the classes have the frequencies `prior` (pi, C), and the classes must look as they did there: only
    their frequencies may differ.

    Raises `DataError` for what is not a probability, shapes that don't fit, or no sample.
    """
    p = _rows(probabilities)
    start = _prior(prior, p.shape[1], "of training")
    q, iterations = start, 0
    while iterations < _MOST:
        iterations += 1
        new = _adjusted(p, _ratio(q, start)).mean(0)
        moved = np.abs(new - q).max()
        q = new
        if moved < _TOLERANCE:
            break
    return Prior(prior=q, iterations=iterations, adjusted=_adjusted(p, _ratio(q, start)))


def _ratio(end: np.ndarray, start: np.ndarray) -> np.ndarray:
    return np.divide(end, start, out=np.zeros_like(end), where=start > 0)


def _adjusted(p: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Rows times ratio, normalised. A row that would lose all its mass stays as it is."""
    scaled = p * ratio
    total = scaled.sum(1, keepdims=True)
    return np.divide(scaled, total, out=p.copy(), where=total > 0)


def _rows(probabilities: np.ndarray) -> np.ndarray:
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or 0 in p.shape:
        raise DataError(f"expected N x C probabilities of at least one sample, got shape {p.shape}.")
    wrong = ~((p >= 0).all(1) & (np.abs(p.sum(1) - 1) < 1e-3))  # nan compares as wrong
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{int(wrong.sum())} of {len(p)} rows are no probabilities (0 or more, sum 1). "
            f"First: row {row}, {np.round(p[row, :8], 4).tolist()}. Take the softmax of logits first."
        )
    return p / p.sum(1, keepdims=True)


def _prior(prior: np.ndarray, n_classes: int, which: str) -> np.ndarray:
    q = np.asarray(prior, dtype=np.float64)
    if q.shape != (n_classes,) or not ((q >= 0).all() and abs(q.sum() - 1) < 1e-3):
        raise DataError(
            f"the prior {which} expects {n_classes} class frequencies that sum to 1, got shape {q.shape}: "
            f"{np.round(q.ravel()[:8], 4).tolist()}."
        )
    return q / q.sum()
