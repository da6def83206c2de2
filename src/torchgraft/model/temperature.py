"""How sure a model is made to be without a label: as sure as another one was on the same samples."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax


def as_sure_as(logits: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature T in e^-5..e^5 under which softmax(logits / T) has the least cross entropy to `probabilities`.

    Both are N x C. Where the answers agree, T makes the confidence that of `probabilities`; where they don't, it is
    more timid.
    """

    def loss(log_t: float) -> float:
        return -float((probabilities * log_softmax(logits / np.exp(log_t), axis=1)).sum(axis=1).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-5.0, 5.0), method="bounded").x))
