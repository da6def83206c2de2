"""A head that agrees on the source by a margin and disagrees on the target (MDD, Zhang et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from torchgraft.adapt._adversary import reversal_weight, reverse_gradient
from torchgraft.adapt.base import AdaptOptions, DomainNet, Net, Passed

SOURCE = True


@dataclass(frozen=True, kw_only=True)
class Options(AdaptOptions):
    """What can be set; see `AdaptOptions` for the rest.

    `gamma`: the margin factor, exp of the margin (the paper's are 2 to 4). `hidden`: units of the adversary's layer
    (1024 in the paper, with a bottleneck as wide). `high`, `slope`: of the gradient reversal's weight, as in `dann`;
    authors and libraries end at 0.1.
    """

    rate: float = 0.004
    decay: float = 5e-4
    gamma: float = 4.0
    hidden: int = 256
    high: float = 0.1
    slope: float = 10.0

    BOUNDS = (("gamma", 0, 1e3), ("hidden", 1, 65_536), ("high", 0, 1e6), ("slope", 0, 1e6))


def mdd(logits_s: Tensor, others_s: Tensor, logits_t: Tensor, others_t: Tensor, *, gamma: float = 4.0) -> Tensor:
    """The margin disparity discrepancy of a head's and its adversary's logits (n x C and m x C); a scalar below 0.

    E_t log(1 - q_y) + gamma E_s log q_y, q the adversary's softmax and y the class that the head predicts, which has no
    gradient (Zhang et al., "Bridging theory and algorithm for domain adaptation", ICML 2019, equations 28 to 30). The
    adversary ascends it, the features descend it.
    """
    agreed = -functional.cross_entropy(others_s.float(), logits_s.argmax(dim=1))
    return log_missing(others_t, logits_t.argmax(dim=1)).mean() + gamma * agreed


def log_missing(logits: Tensor, y: Tensor) -> Tensor:
    """log(1 - p_y) of B x C logits (C at least 2) at B classes, exact where p_y is 1 as a float32; B numbers."""
    logits = logits.float()
    rest = logits.masked_fill(functional.one_hot(y, logits.shape[1]).bool(), -torch.inf)
    return torch.logsumexp(rest, dim=1) - torch.logsumexp(logits, dim=1)


class Mdd(DomainNet):
    """An adversarial head above the turned gradient."""

    def __init__(self, net: Net, options: Options) -> None:
        super().__init__(net, options)
        width, n_classes = net.head.in_features, net.head.out_features
        self.other = nn.Sequential(
            nn.Linear(width, options.hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(options.hidden, n_classes)
        )

    def transfer(self, passed: Passed, progress: float) -> Tensor:
        """Less `mdd`, at the reversal weight of the planned steps' share."""
        weight = reversal_weight(progress, high=self.options.high, slope=self.options.slope)
        others = self.other(reverse_gradient(torch.cat([passed.z_s, passed.z_t]), weight))
        n = len(passed.z_s)
        return -mdd(passed.logits_s, others[:n], passed.logits_t, others[n:], gamma=self.options.gamma)


def build(net: Net, options: Options) -> Mdd:
    """Train `net` against an adversarial head."""
    return Mdd(net, options)
