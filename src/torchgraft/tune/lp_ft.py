"""The exact linear probe, then everything at a lower rate."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.tune._options import TrainOptions, applies
from torchgraft.tune.base import Candidate, Problem

__all__ = ["TRAINS", "TRANSFER", "Options", "applies", "fit"]

TRANSFER = True
TRAINS = True


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """See `TrainOptions`."""


def fit(problem: Problem, options: Options) -> Candidate:
    """LP-FT: the head is fitted to its minimum on frozen features first, so that it does not bend the backbone.

    Kumar et al., "Fine-tuning can distort pretrained features and underperform out-of-distribution", ICLR 2022.
    Before its first step it is the linear probe.
    """
    from torchgraft.tune._finetune import Recipe, fine_tune  # here: it loads torch, which planning needs not

    return fine_tune(problem, options, Recipe(), "lp_ft")
