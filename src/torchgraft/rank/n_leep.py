"""How well clusters of the features predict the labels: LEEP without pretraining's classifier (N-LEEP)."""

from __future__ import annotations

import warnings

import numpy as np

from torchgraft.core.runtime import one_thread
from torchgraft.features.mapping import principal_axes
from torchgraft.rank.base import Evidence
from torchgraft.rank.leep import expected_log_likelihood

VARIANCE = 0.8
"""Share of the variance that the kept principal axes hold at least."""

COMPONENTS = 5
"""Clusters per class, as in the paper, as far as the samples carry them."""

SAMPLES = 10
"""Samples per cluster at least. With fewer, clusters follow single samples and labels by lot score well too."""


def score(evidence: Evidence) -> float:
    """LEEP with theta_ik = P(cluster k | z_i), of a mixture of K Gaussians on the first principal axes; <= 0.

    K = min(5 C, N / 10), at least 1. The N x D features are centred and kept on the axes that hold 80 % of their
    variance. 0: each cluster has one label; minus the entropy of the labels: clusters say nothing of them. The
    Gaussians have diagonal covariances, which N / K samples carry; the paper's, full ones, come out as hard clusters
    there. Seeded by `evidence.seed`. Cost N D min(N, D) + some 50 N K times the axes.

    Li, Jia, Sang, Zhu, Green, Wang, Gong: Ranking Neural Checkpoints, CVPR 2021, arXiv 2011.11200.
    """
    components = max(1, min(COMPONENTS * evidence.n_classes, len(evidence.y) // SAMPLES))
    with one_thread():  # threads that add up in another order would give other digits
        theta = _posteriors(_principal(evidence.z.astype(np.float64)), components, evidence.seed)
    return expected_log_likelihood(theta, evidence.y, evidence.n_classes)


def _principal(z: np.ndarray) -> np.ndarray:
    """N x D' places on the axes that hold `VARIANCE`, scaled to a total variance of 1; N x 0 where rows are equal."""
    if (z == z[0]).all():
        return z[:, :0]
    z = z - z.mean(axis=0)
    axes, variances = principal_axes(z)
    share = np.cumsum(variances) / variances.sum()
    return z @ axes[:, : np.searchsorted(share, VARIANCE) + 1] / np.sqrt(variances.sum())


def _posteriors(z: np.ndarray, components: int, seed: int) -> np.ndarray:
    """N x K: the share that each cluster has in each sample."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    if components == 1 or not z.shape[1]:
        return np.ones((len(z), 1))
    model = GaussianMixture(
        components, covariance_type="diag", reg_covar=1e-6 / z.shape[1], random_state=seed, max_iter=100
    )
    with warnings.catch_warnings():
        # Shares after 100 rounds serve; and clusters stay empty where fewer samples than clusters differ.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(z).predict_proba(z)
