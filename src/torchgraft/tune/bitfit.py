"""BitFit: the exact linear probe, then only the biases of the backbone and the head train."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.backbones import Backbone
from torchgraft.train.groups import is_bias
from torchgraft.tune import _finetune, _recipe
from torchgraft.tune.base import Candidate, Problem

TRANSFER = True
TRAINS = True
AUTO = False

RATES = (3e-3, 1e-2, 1e-3)
"""About ten times those of all weights. The paper's lower ones are for more steps than few labels give."""

_LACK = "its layers have no biases"


@dataclass(frozen=True, kw_only=True)
class Options(_finetune.TrainOptions):
    """See `TrainOptions`. The BatchNorm policy is `affine` unless `norm` says otherwise: its betas are biases."""


def applies(problem: Problem) -> str:
    """Why there are no biases to train: empty where there are."""
    return _recipe.applies_to(problem, _suits, _LACK)


def fit(problem: Problem, options: Options) -> Candidate:
    """Minimise the cross entropy over the biases of the backbone (those of norms too) and the head.

    Ben Zaken et al., "BitFit: simple parameter-efficient fine-tuning for transformer-based masked language-models", ACL
    2022; rates of 1e-4 to 1e-3 there. About a thousandth of the weights move. With rate 0 it is the linear probe.
    """
    options = _recipe.placed(problem, options, _suits, _LACK)
    recipe = _finetune.Recipe(
        phases=_recipe.one_phase("biases and head", lambda given: _recipe.everything(given, only=is_bias)),
        rates=RATES,
        norm="affine",
    )
    return _finetune.fine_tune(problem, options, recipe, "bitfit")


def _suits(backbone: Backbone) -> bool:
    return any(is_bias(name) for name, _ in backbone.module.named_parameters())
