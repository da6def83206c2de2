"""Entropies of predictions, from logits, so that nothing is lost where a probability is 0."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """H(p) = -sum_c p_c log p_c of each row of B x C logits: B numbers in nats, from 0 to log C."""
    log_p = torch.log_softmax(logits.float(), dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def entropy_of_mean(logits: Tensor) -> Tensor:
    """H(mean_b p_b) of B x C logits: a scalar in nats; log C where the classes are predicted equally often."""
    log_p = log_mean(logits)
    return -(log_p.exp() * log_p).sum()


def log_mean(logits: Tensor) -> Tensor:
    """log(mean_b p_b) of B x C logits: C numbers."""
    return torch.logsumexp(torch.log_softmax(logits.float(), dim=1), dim=0) - math.log(len(logits))
