"""BatchNorm layers of a network, and their statistics on a target."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from torchgraft.adapt._domains import DomainLoader
from torchgraft.adapt.base import MEASURE, Net
from torchgraft.train.norm import reestimate

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def batch_norms(module: nn.Module) -> list[nn.Module]:
    """Every BatchNorm layer, from the input up."""
    return [layer for layer in module.modules() if isinstance(layer, _KINDS)]


def follow_target(net: Net, domains: DomainLoader, device: torch.device) -> int:
    """Give `net` the target's statistics, batch by batch in a shuffled order; see `train.norm.reestimate`.

    Layers whose policy keeps their statistics keep them. Returns how many layers changed.
    """
    return reestimate(_Whole(net), _batches(domains, device))


def _batches(domains: DomainLoader, device: torch.device) -> Iterator[tuple[torch.Tensor, ...]]:
    # Shuffled: samples that lie in order of class would give each batch statistics of its own.
    for rows in domains.target.plan(MEASURE, 0, domains.target_rows):
        yield domains.target.load(rows, None).to(device).inputs


class _Whole(nn.Module):
    """All layers of a `Net`, called as one module."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.net.features(inputs)
