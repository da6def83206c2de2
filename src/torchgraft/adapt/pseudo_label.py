"""Certain predictions, taught to a disturbed view of the same samples (as FixMatch, Sohn et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from torchgraft.adapt._domains import DomainBatch, side_by_side
from torchgraft.adapt.base import AdaptOptions, DomainNet, Net
from torchgraft.train.loss import cross_entropy

SOURCE = True
STRONG = True
"""It has use for the target once more, augmented more strongly."""


@dataclass(frozen=True, kw_only=True)
class Options(AdaptOptions):
    """What can be set; see `AdaptOptions` for the rest.

    `threshold`: probability from which a prediction is a label. `noise`: standard deviation of what is added to the
    network's features, in units of each feature's own, where the target was not given with stronger augmentation.
    """

    threshold: float = 0.9
    noise: float = 0.5

    BOUNDS = (("threshold", 0, 1), ("noise", 0, 100))


def pseudo_label(logits: Tensor, strong: Tensor, *, threshold: float = 0.9) -> Tensor:
    """mean_b 1[max p_b >= threshold] CE(strong_b, argmax p_b) of B x C logits of two views; a scalar.

    p = softmax(logits), without gradient; the mean is over all B, so that few certain samples weigh little (Sohn et
    al., "FixMatch: simplifying semi-supervised learning with consistency and confidence", NeurIPS 2020, equation 4).
    """
    p, y = torch.softmax(logits.detach().float(), dim=1).max(dim=1)
    losses = functional.cross_entropy(strong.float(), y, reduction="none")
    return (losses * (p >= threshold)).mean()


def disturbed(z: Tensor, noise: float) -> Tensor:
    """B x D features plus Gaussian noise of `noise` times each feature's standard deviation in the batch."""
    return z + noise * z.detach().std(dim=0, correction=0) * torch.randn_like(z)


class PseudoLabel(DomainNet):
    """Source, target and the target's second view go up as one batch."""

    def forward(self, batch: DomainBatch, progress: float) -> Tensor:
        """The mean loss of a batch."""
        n, m = len(batch.source), len(batch.target)
        z = self.net.bottleneck(self._below(batch))
        logits = self.net.head(z)
        loss = pseudo_label(logits[n : n + m], logits[n + m :], threshold=self.options.threshold)
        return cross_entropy(logits[:n], batch.y) + self.options.trade_off * loss

    def _below(self, batch: DomainBatch) -> Tensor:
        """The network's features of all three: (n + 2 m) x D."""
        inputs = side_by_side(batch.source.inputs, batch.target.inputs)
        if batch.target.strong is not None:
            return self.net.network(*side_by_side(inputs, batch.target.strong))
        z = self.net.network(*inputs)
        return torch.cat([z, disturbed(z[len(batch.source) :], self.options.noise)])


def build(net: Net, options: Options) -> PseudoLabel:
    """Train `net` on the source and on what it is sure of on the target."""
    return PseudoLabel(net, options)
