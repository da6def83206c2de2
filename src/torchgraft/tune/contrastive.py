"""Contrastive tuning of a sentence encoder on few labelled texts, then the exact linear probe on its features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchgraft.tune import _options
from torchgraft.tune.base import Candidate, Problem

TRANSFER = True
TRAINS = True

A_CLASS = 32
"""Labels a class, on average, up to which it applies: above, the classes themselves are enough to train on."""

ALL = 1000
"""Labels up to which it applies."""


@dataclass(frozen=True, kw_only=True)
class Options(_options.EncoderOptions):
    """See `EncoderOptions`; without a `rate` it is 3e-4, and 5e-5 where that gains nothing, without `epochs` about 12
    updates, at least 2 epochs. `class_weight` is the probe's.

    `loss`: supcon or cosine (see `_pairs`); `temperature`: of supcon, above 0.
    """

    loss: str = "supcon"
    temperature: float = 0.1
    batch: int = 24


def applies(problem: Problem) -> str:
    """Why it is not for this problem: no text backbone, or labels enough for a classifier. Empty where it is."""
    reason = _options.applies(problem)
    if reason:
        return reason
    if not _text_sources(problem):
        return "it is made for texts, and no backbone at hand reads text"
    n, mean = len(problem.y), len(problem.y) / max(len(np.unique(problem.y)), 1)
    if n > ALL or mean > A_CLASS:
        return (
            f"it is made for few labels, up to {A_CLASS} a class and {ALL} in all; "
            f"with {mean:.0f} a class and {n} in all, training on the classes themselves is as good"
        )
    if np.bincount(problem.y).max() < 2:
        return "no class has two texts to make a pair of"
    return ""


def fit(problem: Problem, options: Options) -> Candidate:
    """Train the encoder until texts of one class are near each other, then fit the probe on the features it gives.

    Every update compares all pairs inside one batch that holds several texts of each class. On each fold the encoder is
    trained on the fit rows; after every epoch the exact probe is fitted on their features and asked for the held-out
    rows. The epoch and penalty with the least held-out log loss, pooled over the folds, are used for the final training
    on all rows. With rate 0 it would be the linear probe. Raises `Skip` where the budget is too short, or no
    epoch beats the probe it starts from.

    Tunstall et al., "Efficient few-shot learning without prompts" (SetFit), 2022, arXiv:2209.11055, with the loss of
    Khosla et al., "Supervised contrastive learning", NeurIPS 2020.
    """
    from torchgraft.tune._contrastive import Contrasting  # here: it loads torch, which planning needs not

    return Contrasting(problem, options, _text_sources(problem)).run()


def _text_sources(problem: Problem) -> list[str]:
    backbones = problem.resources.backbones if problem.resources else {}
    return [name for name, backbone in backbones.items() if backbone.modality == "text" and name in problem.dense]
