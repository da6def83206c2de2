"""Deep adaptation of a network to an unlabelled target, on features or through a backbone: each file is one method."""

from torchgraft.adapt._domains import DomainBatch, DomainLoader, Target
from torchgraft.adapt._grafted import WORKS, net_of, unfit, with_network
from torchgraft.adapt._run import Adapted, Score, adapt, adapt_network
from torchgraft.adapt.base import AdaptOptions, DomainNet, Net, Passed

__all__ = [
    "WORKS",
    "AdaptOptions",
    "Adapted",
    "DomainBatch",
    "DomainLoader",
    "DomainNet",
    "Net",
    "Passed",
    "Score",
    "Target",
    "adapt",
    "adapt_network",
    "net_of",
    "unfit",
    "with_network",
]
