"""Freeze the backbone and train a random head, then unfreeze the last layers or all at a lower rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torchgraft.core.errors import OptionError
from torchgraft.train.groups import layers
from torchgraft.train.step import Phase
from torchgraft.tune import _finetune, _recipe
from torchgraft.tune._classifier import Classifier
from torchgraft.tune.base import Candidate, Problem

TRANSFER = True
TRAINS = True
AUTO = False
applies = _finetune.applies

RATES = (3e-3, 1e-3)
"""Rates of the random head alone, ten times those of a backbone. More suits the head, but not what comes after it."""


@dataclass(frozen=True, kw_only=True)
class Options(_finetune.TrainOptions):
    """See `TrainOptions`; `rate` is that of the first phase.

    `last`: how many layers from the end are unfrozen in the second phase (None: all; see `train.groups.layers`);
    `unfrozen_rate`: its rate over that of the first, above 0 and up to 1; `head_epochs`: epochs of the first phase (0:
    half); `hidden`: width of a ReLU layer before the classes (0: none); `dropout`: its dropout, in [0, 1).

    Raises `OptionError` for values out of range.
    """

    last: int | None = None
    unfrozen_rate: float = 0.1
    head_epochs: int = 0
    hidden: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _recipe.check_head(self.hidden, self.dropout)
        _recipe.check_options(
            last=(self.last, self.last is None or self.last >= 1, "a number of layers, 1 or more"),
            unfrozen_rate=(self.unfrozen_rate, 0 < self.unfrozen_rate <= 1, "a factor above 0 and up to 1"),
            head_epochs=(self.head_epochs, self.head_epochs >= 0, "a number of epochs, 0 or more"),
            epochs=(
                self.epochs,
                self.epochs == 0 or self.epochs > max(self.head_epochs, 1),
                "0, or more than the head's",
            ),
        )


def fit(problem: Problem, options: Options) -> Candidate:
    """The two phases of the textbooks (Chollet, "Deep learning with Python", 2017, section 5.3, with Keras).

    In the first one BatchNorm and dropout of the backbone are in inference mode; in the second one BatchNorm stays so
    unless `norm` says otherwise, since statistics of a layer that is frozen must not move.
    """
    recipe = _finetune.Recipe(
        probe=False,
        phases=_phases,
        least=max(options.head_epochs, 1) + 1,
        rates=RATES,
        norm="frozen",
        hidden=options.hidden,
        dropout=options.dropout,
    )
    return _finetune.fine_tune(problem, options, recipe, "head_then_full")


def _phases(step: Classifier, options: Options, rate: float, epochs: int, norm: str) -> Sequence[Phase]:
    first = min(options.head_epochs or max(epochs // 2, 1), epochs - 1)
    depth = len(layers(step.network))
    last = depth if options.last is None else min(options.last, depth)
    if last < depth and norm in ("adapt", "train"):
        raise OptionError(
            f"norm expects frozen or affine where only the last {last} of {depth} layers are unfrozen, got {norm!r}: "
            "statistics of frozen layers would move."
        )
    name = "all layers" if last == depth else f"head and last {last}"
    lower = rate * options.unfrozen_rate
    return [
        Phase(name="head", epochs=first, rate=rate, groups=_recipe.everything(options, last=0), norm=_frozen(norm)),
        Phase(
            name=name,
            epochs=epochs - first,
            rate=lower,
            groups=_recipe.everything(options, last=options.last),
            norm=norm,
        ),
    ]


def _frozen(norm: str) -> str:
    return norm if norm == "none" else "frozen"
