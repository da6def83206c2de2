"""A discriminator of features together with predictions, weighted by certainty (CDAN+E, Long et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torchgraft.adapt._adversary import discriminator, domain_loss, reversal_weight, reverse_gradient
from torchgraft.adapt.base import AdaptOptions, DomainNet, Net, Passed

SOURCE = True

LARGEST = 4096
"""Most products of features and classes that the discriminator is given as they are."""


@dataclass(frozen=True, kw_only=True)
class Options(AdaptOptions):
    """What can be set; see `AdaptOptions` for the rest.

    `entropy`: samples that are predicted with certainty count more (CDAN+E). `hidden`: units of each of the
    discriminator's two layers (1024 in the paper). `projected`: units of the random map where features times classes
    are over 4096. `high`, `slope`: of the gradient reversal's weight, as in `dann`.
    """

    entropy: bool = True
    hidden: int = 256
    projected: int = 1024
    high: float = 1.0
    slope: float = 10.0

    BOUNDS = (("hidden", 1, 65_536), ("projected", 1, 65_536), ("high", 0, 1e6), ("slope", 0, 1e6))


def cdan(
    conditioned: Tensor, n: int, tell: Callable[[Tensor], Tensor], weight: float, certain: Tensor | None = None
) -> Tensor:
    """Loss of the discriminator `tell` on conditioned features, n of the source above m of the target; a scalar.

    As `dann.dann`, on T(z, p) in place of z, each sample weighted by `certain` (n + m), which is brought to mean 1 in
    each domain (Long et al., "Conditional adversarial domain adaptation", NeurIPS 2018, equations 3 and 8).
    """
    told = tell(reverse_gradient(conditioned, weight)).squeeze(1)
    if certain is None:
        return domain_loss(told[:n], told[n:])
    w_s, w_t = certain[:n] / certain[:n].mean(), certain[n:] / certain[n:].mean()
    return domain_loss(told[:n], told[n:], w_s, w_t)


def outer(z: Tensor, p: Tensor) -> Tensor:
    """N x (C K): the products of N x K features with each of N x C probabilities."""
    return (p[:, :, None] * z[:, None, :]).flatten(1)


def certainty(p: Tensor) -> Tensor:
    """1 + exp(-H(p)) of N x C probabilities: from 1 + 1/C where nothing is known to 2."""
    return 1 + torch.exp(-torch.special.entr(p).sum(dim=1))


class RandomMap(nn.Module):
    """(R_z z) * (R_p p) / sqrt(M), M fixed Gaussian directions for each: its inner products are those of `outer`'s."""

    def __init__(self, width: int, n_classes: int, units: int) -> None:
        super().__init__()
        self.register_buffer("of_features", torch.randn(width, units))
        self.register_buffer("of_classes", torch.randn(n_classes, units))

    def forward(self, z: Tensor, p: Tensor) -> Tensor:
        """N x K features and N x C probabilities to N x M."""
        return (z @ self.of_features) * (p @ self.of_classes) / math.sqrt(self.of_features.shape[1])


class Cdan(DomainNet):
    """A discriminator on the bottleneck's features and the predictions, whose own gradient is cut."""

    def __init__(self, net: Net, options: Options) -> None:
        super().__init__(net, options)
        width, n_classes = net.head.in_features, net.head.out_features
        direct = width * n_classes <= LARGEST
        self.map = None if direct else RandomMap(width, n_classes, options.projected)
        self.discriminator = discriminator(width * n_classes if direct else options.projected, options.hidden)

    def transfer(self, passed: Passed, progress: float) -> Tensor:
        """`cdan` at the reversal weight of the planned steps' share."""
        z = torch.cat([passed.z_s, passed.z_t])
        p = torch.softmax(torch.cat([passed.logits_s, passed.logits_t]).detach().float(), dim=1)
        conditioned = outer(z, p) if self.map is None else self.map(z, p)
        weight = reversal_weight(progress, high=self.options.high, slope=self.options.slope)
        certain = certainty(p) if self.options.entropy else None
        return cdan(conditioned, len(passed.z_s), self.discriminator, weight, certain)


def build(net: Net, options: Options) -> Cdan:
    """Train `net` against a discriminator of features and predictions."""
    return Cdan(net, options)
