"""ULMFiT: from a random head, unfreeze one layer after the other from the end, each slower than the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torchgraft.train.groups import layers
from torchgraft.train.schedule import Schedule, slanted_triangle
from torchgraft.train.step import Phase
from torchgraft.tune import _finetune, _recipe
from torchgraft.tune._classifier import Classifier
from torchgraft.tune.base import Candidate, Problem

TRANSFER = True
TRAINS = True
AUTO = False
applies = _finetune.applies

RATES = (3e-3, 1e-3, 1e-2)
"""Rates of the head; the last layer has 1/2.6 of it."""


@dataclass(frozen=True, kw_only=True)
class Options(_finetune.TrainOptions):
    """See `TrainOptions`; `rate` is that of the head, `layer_decay` that of a layer over that of the next one.

    `cut`: the share of the training in which rates rise, above 0 and below 1; `ratio`: the highest rate over the first
    and the last one, 1 or more. Raises `OptionError` for values out of range.
    """

    layer_decay: float = 1 / 2.6
    cut: float = 0.1
    ratio: float = 32.0

    def __post_init__(self) -> None:
        slanted_triangle(self.cut, self.ratio)
        _recipe.check_options(epochs=(self.epochs, self.epochs != 1, "0, or 2 and more"))


def fit(problem: Problem, options: Options) -> Candidate:
    """Phase k = 0, 1, ... trains the head and the last k layers; layer l has the rate eta / 2.6^(L - l).

    Howard and Ruder, "Universal language model fine-tuning for text classification", ACL 2018. A phase is an epoch, the
    last one, in which everything trains, has the epochs that are left; with fewer epochs than layers several layers are
    unfrozen at once. One slanted triangle (`train.schedule`) spans all phases. BatchNorm is frozen until all trains and
    keeps its statistics then, unless `norm` says otherwise: with others, head and layers see features they were not
    fitted on, and what was learnt is lost within an epoch at any rate.
    """
    recipe = _finetune.Recipe(probe=False, phases=_phases, least=2, rates=RATES, norm="affine")
    return _finetune.fine_tune(problem, options, recipe, "gradual")


def _phases(step: Classifier, options: Options, rate: float, epochs: int, norm: str) -> Sequence[Phase]:
    depth = len(layers(step.network))
    count = min(epochs, depth + 1)
    triangle = slanted_triangle(options.cut, options.ratio)
    phases = []
    for i in range(count):
        last = round(i * depth / (count - 1))
        end = epochs if i == count - 1 else i + 1
        phases.append(
            Phase(
                name=_name(last, depth),
                epochs=end - i,
                rate=rate,
                groups=_recipe.everything(options, last=last),
                norm=norm if last == depth or norm == "none" else "frozen",
                schedule=_stretch(triangle, i / epochs, end / epochs),
            )
        )
    return phases


def _name(last: int, depth: int) -> str:
    return "head" if not last else "all layers" if last == depth else f"head and last {last}"


def _stretch(whole: Schedule, begin: float, end: float) -> Schedule:
    """The part of a schedule between two shares of it, as a function of the share of that part."""
    return lambda p: whole(begin + p * (end - begin))
