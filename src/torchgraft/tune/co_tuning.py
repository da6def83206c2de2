"""LP-FT beside the classifier of pretraining, which is taught how the classes of both tasks go together."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torchgraft.backbones import Backbone
from torchgraft.features import pooling
from torchgraft.train.groups import Group
from torchgraft.train.loss import co_tuning, co_tuning_relation
from torchgraft.tune import _finetune, _recipe
from torchgraft.tune._classifier import Classifier
from torchgraft.tune.base import Candidate, Problem, Skip, take

TRANSFER = True
TRAINS = True
AUTO = False

_LACK = "its weights come without a classifier of pretraining"


@dataclass(frozen=True, kw_only=True)
class Options(_finetune.TrainOptions):
    """See `TrainOptions`; `lam`: weight of the pretraining classes' loss, 0 or more.

    `temperature`: that of the pretrained classifier's probabilities in the relation, above 0 (1: as they are).
    Raises `OptionError` for values out of range.
    """

    lam: float = 2.3
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _recipe.check_options(
            lam=(self.lam, self.lam >= 0, "a number of 0 or more"),
            temperature=(self.temperature, self.temperature > 0, "a number above 0"),
        )


def applies(problem: Problem) -> str:
    """Why there are no classes of pretraining: empty where there are."""
    return _recipe.applies_to(problem, _suits, _LACK)


def fit(problem: Problem, options: Options) -> Candidate:
    """Minimise CE(head, y) + lam CE(source classifier, p(y_s | y)) over backbone, head and source classifier.

    p(y_s | y) is the mean softmax of the pretrained classifier over the samples of a class that are fitted on. You et
    al., "Co-Tuning for transfer learning", NeurIPS 2020 (lam 2.3). With lam = 0 it is `lp_ft`. Raises `Skip` where
    features are pooled in another way than in pretraining.
    """
    options = _recipe.placed(problem, options, _suits, _LACK)
    _check_pooling(problem, options.source)
    recipe = _finetune.Recipe(
        phases=_recipe.one_phase("all layers", _groups),
        wrap=lambda step, problem, rows: add(step, problem, options, rows) if options.lam else None,
    )
    return _finetune.fine_tune(problem, options, recipe, "co_tuning")


def add(step: Classifier, problem: Problem, options: Options, rows: np.ndarray) -> None:
    """Give a classifier the one of pretraining as `step.source`, and its loss with what `rows` tell of the classes."""
    backbone = problem.resources.backbones[options.source]
    related = relation(problem, backbone, options, rows)
    step.source = copy.deepcopy(backbone.classifier)
    step.penalty = lambda step, z, batch: options.lam * co_tuning(step.source(z), batch.y, related.to(z.device))


def relation(problem: Problem, backbone: Backbone, options: Options, rows: np.ndarray) -> Tensor:
    """C x Cs: p(source class | target class), from the pooled features of `rows`."""
    z = np.asarray(take(problem.blocks[options.source], rows), dtype=np.float32)
    with torch.inference_mode():
        parts = [backbone.classifier(some).softmax(1) for some in torch.from_numpy(z).split(256)]
    p = torch.cat(parts).cpu().numpy()
    return co_tuning_relation(p, problem.y[rows], len(problem.classes), temperature=options.temperature)


def _suits(backbone: Backbone) -> bool:
    return backbone.classifier is not None


def _check_pooling(problem: Problem, source: str) -> None:
    backbone = problem.resources.backbones[source]
    used, own = (pooling.resolve(backbone, name) for name in (problem.resources.poolings[source], None))
    if used != own:
        raise Skip(f"{source} was pretrained with pooling {own}, its features are pooled with {used}")


def _groups(options: Options) -> _recipe.Groups:
    """As in `lp_ft`, the source classifier at the rate of the last layer."""
    ours = _recipe.everything(options)

    def groups(step: Classifier) -> list[Group]:
        found = ours(step)
        if not options.lam:
            return found
        params = tuple(step.source.parameters())
        return [*found, Group(name="source classifier", params=params, rate=options.layer_decay, decay=options.decay)]

    return groups
