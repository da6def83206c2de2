"""Predictions that confuse no classes with each other (minimum class confusion, MCC, Jin et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from torchgraft.adapt._entropy import entropy
from torchgraft.adapt.base import AdaptOptions, DomainNet, Net, Passed

SOURCE = True


@dataclass(frozen=True, kw_only=True)
class Options(AdaptOptions):
    """What can be set; see `AdaptOptions` for the rest. `temperature`: T, by which the target's logits are divided."""

    rate: float = 0.005
    temperature: float = 2.5

    BOUNDS = (("temperature", 1e-3, 1e3),)


def mcc(logits: Tensor, *, temperature: float = 2.5) -> Tensor:
    """The share of class confusion in B x C logits of the target, a scalar from 0 to (C - 1) / C.

    P = softmax(logits / T), W = diag(1 + exp(-H(p_b))) brought to mean 1 (no gradient), M = P^T W P with rows of sum 1,
    loss = (sum M - trace M) / C (Jin et al., "Minimum class confusion for versatile domain adaptation", ECCV 2020,
    equations 2 to 6). A class that nothing is predicted as adds nothing.
    """
    scaled = logits.float() / temperature
    p = torch.softmax(scaled, dim=1)
    certain = 1 + torch.exp(-entropy(scaled.detach()))  # B
    confusion = (p * (certain / certain.mean())[:, None]).T @ p  # C x C
    rows = confusion.sum(dim=1).clamp(min=torch.finfo(p.dtype).tiny)
    return (confusion.sum(dim=1) - confusion.diagonal()).div(rows).mean()


class Mcc(DomainNet):
    """The confusion of the target's classes."""

    def transfer(self, passed: Passed, progress: float) -> Tensor:
        """`mcc`, at full weight from the first step."""
        return mcc(passed.logits_t, temperature=self.options.temperature)


def build(net: Net, options: Options) -> Mcc:
    """Train `net` with the confusion of its predictions on the target."""
    return Mcc(net, options)
