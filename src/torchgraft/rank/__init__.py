"""Which backbone, before any training: scores of frozen features against labels."""

from torchgraft.rank._agreement import regret, weighted_tau
from torchgraft.rank.base import Evidence

__all__ = ["Evidence", "regret", "weighted_tau"]
