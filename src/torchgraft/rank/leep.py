"""How well pretraining's own class probabilities predict the labels (LEEP)."""

from __future__ import annotations

import numpy as np

from torchgraft.rank.base import Evidence

SOURCE = True


def score(evidence: Evidence) -> float:
    """1/N sum_i log sum_z P(y_i | z) theta_iz, with P(y, z) = 1/N sum_i theta_iz [y_i = y]; -inf < score <= 0.

    theta (N x S) is `source`, z runs over its S classes, those of no mass left out. The score is the mean
    log-likelihood of a classifier that draws a class of pretraining and then a label. 0: the labels follow without
    error; minus the entropy of the labels: pretraining says nothing of them. Cost N S. NaN without `source`.

    Nguyen, Hassner, Seeger, Archambeau: LEEP: A New Measure to Evaluate Transferability of Learned Representations,
    ICML 2020, arXiv 2002.12462.
    """
    if evidence.source is None:
        return float("nan")
    return expected_log_likelihood(evidence.source, evidence.y, evidence.n_classes)


def expected_log_likelihood(theta: np.ndarray, y: np.ndarray, n_classes: int) -> float:
    """The formula of `score` for N x K probabilities of any K groups, classes of pretraining or clusters."""
    members = [np.flatnonzero(y == c) for c in range(n_classes)]
    theta = theta / theta.sum(axis=1, keepdims=True, dtype=np.float64)
    joint = np.stack([theta[rows].sum(axis=0) for rows in members])  # C x K
    mass = joint.sum(axis=0)
    given = np.divide(joint, mass, out=np.zeros_like(joint), where=mass > 0)  # P(y | z)
    likelihoods = np.concatenate([theta[rows] @ given[c] for c, rows in enumerate(members)])
    return float(np.log(np.minimum(likelihoods, 1.0)).mean())  # sums of shares can pass 1 by rounding
