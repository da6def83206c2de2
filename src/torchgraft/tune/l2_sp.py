"""LP-FT with a penalty on the distance from the pretrained weights, instead of weight decay."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from torchgraft.train.loss import l2_sp
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
    """See `TrainOptions`; `decay` is 0, as it would pull to 0 what the penalty pulls to the pretrained weights.

    `alpha`: weight of the distance of the backbone (the authors take 0.001 to 1); `beta`: weight of the head's size.
    Both are 0 or more. Raises `OptionError` for values out of range.
    """

    decay: float = 0.0
    alpha: float = 0.01
    beta: float = 0.01

    def __post_init__(self) -> None:
        wanted = "a number of 0 or more"
        _recipe.check_options(alpha=(self.alpha, self.alpha >= 0, wanted), beta=(self.beta, self.beta >= 0, wanted))


def fit(problem: Problem, options: Options) -> Candidate:
    """Minimise cross entropy + alpha/2 ||theta - theta_0||^2 + beta/2 ||w||^2 from the exact probe.

    theta are the backbone's weights, theta_0 the pretrained ones, w the head's. Li et al., "Explicit inductive bias for
    transfer learning with convolutional networks", ICML 2018. With alpha = beta = 0 it is `lp_ft` without decay.
    """
    recipe = _finetune.Recipe(wrap=lambda step, problem, rows: add(step, options))
    return _finetune.fine_tune(problem, options, recipe, "l2_sp")


def add(step: Classifier, options: Options) -> None:
    """Give a classifier the penalty on the distance from the weights that it has now."""
    start = {name: p.detach().clone() for name, p in step.network.named_parameters()}

    def penalty(step: Classifier, z: Tensor, batch: Batch) -> Tensor:
        for name in [name for name, p in start.items() if p.device != z.device]:
            start[name] = start[name].to(z.device)
        return l2_sp(step.network, start, options.alpha, options.beta, step.head)

    step.penalty = penalty if options.alpha or options.beta else None
