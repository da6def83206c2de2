"""TransRate: how many bits coding all features takes above coding each class by itself."""

from __future__ import annotations

import numpy as np

from torchgraft.rank.base import Evidence

EPSILON = 1e-4


def score(evidence: Evidence) -> float:
    """R(z) - sum_c n_c / N R(z_c), >= 0, with R(z) = 1/2 ln det(I + z^T z / (n eps)) for n rows, eps 1e-4, in nats.

    An estimate of the mutual information of features and labels by rate distortion (Huang et al., ICML 2022). Rows
    are centred once, over all classes, and classes weigh what they hold; the authors' code divides their sum by C,
    which is the same where classes are of one size. Costs N D min(N, D) + min(N, D)^3, and that of each class.

    eps is an absolute distortion, so the score grows with the scale of the features, which differs between networks
    by orders of magnitude. Features are divided by the root of their total variance tr(z^T z) / N: eps is then a share
    of it, and scale, shift, rotation and copies of all samples change nothing. (Dividing by the root of tr(z^T z), not
    over N, makes every term fall with N.) 0 where features are constant.
    """
    z = evidence.z.astype(np.float64)
    z -= z.mean(axis=0)
    total = (z**2).sum() / len(z)
    if total <= 0:
        return 0.0
    z /= np.sqrt(total)
    classes = [z[evidence.y == c] for c in np.unique(evidence.y)]
    return float(_rate(z) - sum(len(rows) / len(z) * _rate(rows) for rows in classes))


def _rate(z: np.ndarray) -> float:
    """R of n rows, by the smaller of z^T z and z z^T."""
    n, d = z.shape
    gram = z.T @ z if d <= n else z @ z.T
    return 0.5 * np.linalg.slogdet(np.eye(len(gram)) + gram / (n * EPSILON))[1]
