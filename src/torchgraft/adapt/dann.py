"""Features that a discriminator can't tell apart by domain, through gradient reversal (DANN, Ganin et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from torchgraft.adapt._adversary import discriminator, domain_loss, reversal_weight, reverse_gradient
from torchgraft.adapt.base import AdaptOptions, DomainNet, Net, Passed

SOURCE = True


@dataclass(frozen=True, kw_only=True)
class Options(AdaptOptions):
    """What can be set; see `AdaptOptions` for the rest.

    `hidden`: units of each of the discriminator's two layers (1024 in the papers, at several times the cost). `high`:
    the reversal's weight at the end, `slope`: how soon it gets there (`_adversary.reversal_weight`; the paper's are 1
    and 10).
    """

    hidden: int = 256
    high: float = 1.0
    slope: float = 10.0

    BOUNDS = (("hidden", 1, 65_536), ("high", 0, 1e6), ("slope", 0, 1e6))


def dann(z_s: Tensor, z_t: Tensor, tell: Callable[[Tensor], Tensor], weight: float) -> Tensor:
    """Loss of the discriminator `tell` (B x K to B x 1 logits) on features whose gradient is turned round.

    The discriminator descends 1/2 (E_s -log D(z) + E_t -log(1 - D(z))), the features ascend it, `weight` times as
    fast (Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016, equation 9).
    """
    told = tell(reverse_gradient(torch.cat([z_s, z_t]), weight)).squeeze(1)
    return domain_loss(told[: len(z_s)], told[len(z_s) :])


class Dann(DomainNet):
    """A discriminator on the bottleneck's features."""

    def __init__(self, net: Net, options: Options) -> None:
        super().__init__(net, options)
        self.discriminator = discriminator(net.head.in_features, options.hidden)

    def transfer(self, passed: Passed, progress: float) -> Tensor:
        """`dann` at the reversal weight of the planned steps' share."""
        weight = reversal_weight(progress, high=self.options.high, slope=self.options.slope)
        return dann(passed.z_s, passed.z_t, self.discriminator, weight)


def build(net: Net, options: Options) -> Dann:
    """Train `net` against a discriminator."""
    return Dann(net, options)
