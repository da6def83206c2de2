"""Two heads that disagree far from the source, and features that give them no chance (MCD, Saito et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torchgraft.adapt._adversary import reverse_gradient
from torchgraft.adapt._entropy import log_mean
from torchgraft.adapt.base import AdaptOptions, DomainNet, Net, Passed
from torchgraft.train.loss import cross_entropy

SOURCE = True


@dataclass(frozen=True, kw_only=True)
class Options(AdaptOptions):
    """What can be set; see `AdaptOptions` for the rest.

    `turns`: how much faster the features close the discrepancy than the heads open it (the paper's k, its number of
    feature updates for each update of the heads). `balance`: weight of a penalty on classes that are hardly predicted.
    """

    turns: float = 4.0
    balance: float = 0.01

    BOUNDS = (("turns", 0, 1e3), ("balance", 0, 1e6))


def discrepancy(logits: Tensor, others: Tensor) -> Tensor:
    """mean_bc |p_bc - q_bc| of the softmax of two heads' B x C logits; a scalar from 0 to 2 / C.

    Saito et al., "Maximum classifier discrepancy for unsupervised domain adaptation", CVPR 2018, equation 9.
    """
    return (torch.softmax(logits.float(), dim=1) - torch.softmax(others.float(), dim=1)).abs().mean()


def imbalance(logits: Tensor) -> Tensor:
    """-mean_c log(mean_b p_bc) of B x C logits: log C where all classes are predicted equally often, else more."""
    return -log_mean(logits).mean()


class Mcd(DomainNet):
    """A second head; the first one is what is kept.

    The paper's three turns are one update here: the heads descend the source's cross entropy less the discrepancy on
    the target; the discrepancy's gradient is turned round below them and multiplied by k, so the features descend the
    cross entropy plus k times the discrepancy.
    """

    def __init__(self, net: Net, options: Options) -> None:
        super().__init__(net, options)
        self.other = nn.Linear(net.head.in_features, net.head.out_features)

    def supervised(self, passed: Passed) -> Tensor:
        """The mean cross entropy of the first head plus that of the second."""
        return super().supervised(passed) + cross_entropy(self.other(passed.z_s), passed.batch.y)

    def transfer(self, passed: Passed, progress: float) -> Tensor:
        """The heads' share: less the discrepancy, plus the penalty on imbalance."""
        turned = reverse_gradient(passed.z_t, self.options.turns)
        loss = -discrepancy(self.net.head(turned), self.other(turned))
        if self.options.balance:
            balance = imbalance(passed.logits_t) + imbalance(self.other(passed.z_t))
            loss = loss + self.options.balance * balance
        return loss


def build(net: Net, options: Options) -> Mcd:
    """Train `net` with a second head against it."""
    return Mcd(net, options)
