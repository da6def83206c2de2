"""The exact linear probe, then everything at a lower rate."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.tune import _finetune
from torchgraft.tune.base import Candidate, Problem

TRANSFER = True
TRAINS = True
applies = _finetune.applies


@dataclass(frozen=True, kw_only=True)
class Options(_finetune.TrainOptions):
    """See `TrainOptions`."""


def fit(problem: Problem, options: Options) -> Candidate:
    """LP-FT: the head is fitted to its minimum on frozen features first, so that it does not bend the backbone.

    Kumar et al., "Fine-tuning can distort pretrained features and underperform out-of-distribution", ICLR 2022.
    With rate 0 it is the linear probe.
    """
    return _finetune.fine_tune(problem, options, _finetune.Recipe(), "lp_ft")
