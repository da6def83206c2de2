"""An adversary that tells the domains apart: gradient reversal, its schedule, and the discriminator."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(context, z: Tensor, weight: float) -> Tensor:
        context.weight = weight
        return z.view_as(z)

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None]:
        return -context.weight * gradient, None


def reverse_gradient(z: Tensor, weight: float) -> Tensor:
    """`z` itself, whose gradient arrives multiplied by -`weight` (Ganin and Lempitsky, ICML 2015)."""
    return _Reversal.apply(z, weight)


def reversal_weight(progress: float, *, high: float = 1.0, slope: float = 10.0) -> float:
    """lambda_p = high (2 / (1 + exp(-slope p)) - 1), from 0 to about `high` (Ganin et al., JMLR 2016: 1 and 10).

    p in [0, 1] is the share of the planned steps, however many they are.
    """
    p = min(max(progress, 0.0), 1.0)
    return high * (2 / (1 + math.exp(-slope * p)) - 1)


def discriminator(width: int, hidden: int) -> nn.Sequential:
    """B x `width` features to B x 1 logits of being from the source: two layers of `hidden` ReLU units, BatchNorm."""
    return nn.Sequential(
        nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
        nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
        nn.Linear(hidden, 1),
    )  # fmt: skip


def domain_loss(
    told_s: Tensor, told_t: Tensor, weight_s: Tensor | None = None, weight_t: Tensor | None = None
) -> Tensor:
    """1/2 (mean_s -w_s log sigma(d) + mean_t -w_t log(1 - sigma(d))) of logits d, B_s and B_t of them; a scalar.

    Weights (B_s, B_t) have mean 1; without them all are 1. Where nothing can be told it is log 2.
    """
    of_source = functional.binary_cross_entropy_with_logits(told_s, torch.ones_like(told_s), weight_s)
    of_target = functional.binary_cross_entropy_with_logits(told_t, torch.zeros_like(told_t), weight_t)
    return (of_source + of_target) / 2
