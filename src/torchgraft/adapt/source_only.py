"""Plain cross entropy on the source: the baseline that every adaptation is compared to."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from torchgraft.adapt._domains import DomainBatch
from torchgraft.adapt.base import AdaptOptions, DomainNet, Net
from torchgraft.train.loss import cross_entropy

SOURCE = True


@dataclass(frozen=True, kw_only=True)
class Options(AdaptOptions):
    """What can be set; see `AdaptOptions`. Half of each batch is the target's, and goes unused."""


class SourceOnly(DomainNet):
    """The target never goes through the network in training, so BatchNorm doesn't see it either."""

    def forward(self, batch: DomainBatch, progress: float) -> Tensor:
        """Mean cross entropy of the source samples."""
        return cross_entropy(self.logits(batch.source.inputs), batch.y)


def build(net: Net, options: Options) -> SourceOnly:
    """Train `net` on the source alone."""
    return SourceOnly(net, options)
