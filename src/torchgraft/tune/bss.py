"""LP-FT with batch spectral shrinkage: a penalty on the smallest singular values of a batch's features."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from torchgraft.train.loss import bss
from torchgraft.train.step import Batch
from torchgraft.tune import _finetune, _recipe
from torchgraft.tune._classifier import Classifier
from torchgraft.tune.base import Candidate, Problem

TRANSFER = True
TRAINS = True
AUTO = False
applies = _finetune.applies


@dataclass(frozen=True, kw_only=True)
class Options(_finetune.TrainOptions):
    """See `TrainOptions`; `k`: how many singular values, 1 or more; `eta`: weight of the penalty, 0 or more.

    Raises `OptionError` for values out of range.
    """

    k: int = 1
    eta: float = 0.001

    def __post_init__(self) -> None:
        _recipe.check_options(
            k=(self.k, self.k >= 1, "a number of singular values, 1 or more"),
            eta=(self.eta, self.eta >= 0, "a number of 0 or more"),
        )


def fit(problem: Problem, options: Options) -> Candidate:
    """Minimise cross entropy + eta sum of the k smallest squared singular values of a batch's B x D pooled features.

    Directions in which features hardly vary don't transfer. Chen et al., "Catastrophic forgetting meets negative
    transfer: batch spectral shrinkage for safe transfer learning", NeurIPS 2019. With eta = 0 it is `lp_ft`.
    """
    recipe = _finetune.Recipe(wrap=lambda step, problem, rows: add(step, options))
    return _finetune.fine_tune(problem, options, recipe, "bss")


def add(step: Classifier, options: Options) -> None:
    """Give a classifier the penalty."""

    def penalty(step: Classifier, z: Tensor, batch: Batch) -> Tensor:
        return options.eta * bss(z, options.k)

    step.penalty = penalty if options.eta else None
