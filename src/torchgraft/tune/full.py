"""Everything at once from a random head: the plain fine-tuning that the others are held against."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.tune import _finetune, _recipe
from torchgraft.tune.base import Candidate, Problem

TRANSFER = True
TRAINS = True
AUTO = False
applies = _finetune.applies


@dataclass(frozen=True, kw_only=True)
class Options(_finetune.TrainOptions):
    """See `TrainOptions`; `hidden` is the width of a ReLU layer before the classes (0: none), `dropout` its dropout.

    Raises `OptionError` for values out of range.
    """

    hidden: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _recipe.check_head(self.hidden, self.dropout)


def fit(problem: Problem, options: Options) -> Candidate:
    """Cross entropy of a random head on pooled features, backbone and head at one rate.

    The textbook's fine-tuning, and the baseline of Kumar et al., ICLR 2022 (`lp_ft`): a random head's gradients bend
    the features before it has learnt anything. The head's biases begin at the log frequencies of the classes.
    """
    recipe = _finetune.Recipe(probe=False, hidden=options.hidden, dropout=options.dropout)
    return _finetune.fine_tune(problem, options, recipe, "full")
