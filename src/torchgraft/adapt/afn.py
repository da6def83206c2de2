"""Features that grow longer step by step in both domains (stepwise adaptive feature norm, SAFN, Xu et al. 2019)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from torchgraft.adapt._domains import DomainBatch
from torchgraft.adapt._entropy import entropy
from torchgraft.adapt.base import AdaptOptions, DomainNet, Net, Passed

SOURCE = True


@dataclass(frozen=True, kw_only=True)
class Options(AdaptOptions):
    """What can be set; see `AdaptOptions` for the rest.

    `step`: what is added to a feature's length as its goal. `drop`: share of features that are dropped in training,
    lengths kept. `entropy`: weight of the target's entropy (0: none; the authors take 0.1 on Office-31).
    """

    trade_off: float = 0.05
    step: float = 1.0
    drop: float = 0.5
    entropy: float = 0.0

    BOUNDS = (("step", 0, 1e6), ("drop", 0, 0.99), ("entropy", 0, 1e6))


def afn(z: Tensor, *, step: float = 1.0) -> Tensor:
    """mean_b (||z_b|| - (||z_b|| + step))^2 of B x K features, the goal without gradient; a scalar that is step^2.

    Its gradient lengthens each feature at a pace that does not depend on its length (Xu et al., "Larger norm more
    transferable: an adaptive feature norm approach for unsupervised domain adaptation", ICCV 2019, equation 6).
    """
    norms = z.float().norm(dim=1)
    return (norms - (norms.detach() + step)).square().mean()


def drop_keeping_norm(z: Tensor, share: float) -> Tensor:
    """Dropout of B x K features that keeps E ||z||^2: what is left is multiplied by 1 / sqrt(1 - share)."""
    return functional.dropout(z, share) * math.sqrt(1 - share)


class Afn(DomainNet):
    """Longer features of both domains, with dropout between bottleneck and head."""

    def passed(self, batch: DomainBatch) -> Passed:
        """As in every method, with some features dropped while it trains."""
        whole = super().passed(batch)
        if not self.training or not self.options.drop:
            return whole
        z = drop_keeping_norm(torch.cat([whole.z_s, whole.z_t]), self.options.drop)
        logits, n = self.net.head(z), len(whole.z_s)
        return replace(whole, z_s=z[:n], z_t=z[n:], logits_s=logits[:n], logits_t=logits[n:])

    def transfer(self, passed: Passed, progress: float) -> Tensor:
        """`afn` of the source plus that of the target."""
        return afn(passed.z_s, step=self.options.step) + afn(passed.z_t, step=self.options.step)

    def supervised(self, passed: Passed) -> Tensor:
        """The mean cross entropy on the source, plus the target's mean entropy where it has a weight."""
        loss = super().supervised(passed)
        if self.options.entropy:
            loss = loss + self.options.entropy * entropy(passed.logits_t).mean()
        return loss


def build(net: Net, options: Options) -> Afn:
    """Train `net` towards longer features."""
    return Afn(net, options)
