"""Nearest class mean: how many samples lie closest to the mean of their own class, themselves left out."""

from __future__ import annotations

import numpy as np

from torchgraft.features.mapping import L2
from torchgraft.rank.base import Evidence


def score(evidence: Evidence) -> float:
    """The mean of `outcomes`, in [0, 1]: leave-one-out accuracy of the nearest mean. Costs N D C."""
    return float(outcomes(evidence).mean())


def outcomes(evidence: Evidence) -> np.ndarray:
    """N of 1.0 and 0.0: argmin_c ||z_i - m_c|| = y_i for rows z_i of length 1, m_c without z_i (Rocchio 1971).

    Exactly leave-one-out, in closed form: a sample moves only its own class's mean, away from itself, so that
    ||z_i - m_y without i|| = n_y / (n_y - 1) ||z_i - m_y||. The only sample of a class has no mean to be near to: 0.
    Between means equally near the lower class index wins.
    """
    z, (present, y) = L2().transform(evidence.z).astype(np.float64), np.unique(evidence.y, return_inverse=True)
    counts = np.bincount(y)
    means = (np.eye(len(present))[y].T @ z) / counts[:, None]  # C x D
    squares = (z**2).sum(axis=1)[:, None] - 2 * z @ means.T + (means**2).sum(axis=1)  # N x C
    own = counts[y]
    squares[np.arange(len(y)), y] *= (own / np.maximum(own - 1, 1)) ** 2
    return ((squares.argmin(axis=1) == y) & (own > 1)).astype(np.float64)
