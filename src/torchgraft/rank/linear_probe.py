"""How often a linear classifier on the features is right, by cross-validation, its penalty chosen the same way."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

from torchgraft.data import folds
from torchgraft.features.mapping import L2
from torchgraft.model.softmax import Block, Softmax
from torchgraft.rank.base import Evidence

PENALTIES = (1.0, 10.0, 100.0, 1000.0)
"""C that are tried, on features of total variance 1; from the weakest on while the held-out log loss falls."""

FEW = 1000
"""Samples up to which there are ten folds, so that hardly less is fitted on than in the end; else five."""


def n_folds(n: int) -> int:
    """Folds of N samples."""
    return 10 if n <= FEW else 5


def correction(n: int) -> float:
    """sqrt(1 + k / (k - 1)): how much wider an interval of `score` is than one over N independent outcomes.

    Outcomes of one fit share its luck, and fits of k folds share most of their samples. Nadeau and Bengio ("Inference
    for the generalization error", Machine Learning 2003): var = (1 / k + n_held / n_fit) sigma^2, where sigma^2 / k
    would be that of independent folds; n_held / n_fit = 1 / (k - 1).
    """
    k = n_folds(n)
    return float(np.sqrt(1 + k / (k - 1)))


def score(evidence: Evidence) -> float:
    """Accuracy of the cross-validated multinomial linear probe: mean over the N samples of [argmax W z + b = y]; 0..1.

    W, b minimise C sum_i -log softmax(W z_i + b)[y_i] + ||W||^2 / 2 on the l2-normalised features of the other folds,
    whose total variance is brought to 1. Cost: five or ten solves of a convex problem for
    each C.
    """
    return float(outcomes(evidence).mean())


def outcomes(evidence: Evidence) -> np.ndarray:
    """N of 1.0 where the probe fitted on the other folds is right, under the C with the least held-out log loss."""
    y, z = evidence.y, L2().transform(evidence.z)
    parts = [
        _Part(z, y, fit, held, evidence.n_classes)
        for fit, held in folds(y, seed=evidence.seed, k=n_folds(len(y)), max_rows=len(y))
    ]
    best, right = np.inf, np.zeros(len(y))
    for c in PENALTIES:
        logits = np.zeros((len(y), evidence.n_classes))
        asked = np.zeros(len(y), dtype=bool)
        for part in parts:
            logits[part.held] = part.logits(c)
            asked[part.held] = True
        loss = -float(log_softmax(logits[asked], axis=1)[np.arange(asked.sum()), y[asked]].mean())
        if loss > best:
            break
        best, right = loss, (asked & (logits.argmax(axis=1) == y)).astype(np.float64)
    return right


class _Part:
    """One fold: the solver over its fit rows, which goes on from C to C, and its held-out rows."""

    def __init__(self, z: np.ndarray, y: np.ndarray, fit: np.ndarray, held: np.ndarray, n_classes: int) -> None:
        block = Block(z[fit])
        scale = 1 / np.sqrt(max(block.variances.sum(), 1e-12))
        self.solver = Softmax([block], [scale], y[fit], np.ones(len(fit)), n_classes)
        self.z, self.held = z[held], held

    def logits(self, c: float) -> np.ndarray:
        return self.solver.solve(c, tolerance=1e-4).logits(self.z)
