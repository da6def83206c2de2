"""What a method that trains a backbone can be told, and what makes one such method differ from another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from torchgraft.backbones import Backbone
from torchgraft.train.groups import Group, parameter_groups
from torchgraft.train.step import Phase
from torchgraft.tune._classifier import Classifier
from torchgraft.tune._options import TrainOptions, applies, check_options
from torchgraft.tune.base import Problem, Skip

RATES = (3e-4, 1e-4, 1e-3)
"""Rates that are tried where none is given, the usual one first."""


Told = TypeVar("Told", bound=TrainOptions)

Groups = Callable[[Classifier], list[Group]]
"""What trains of a classifier, and how fast."""

Phases = Callable[[Classifier, TrainOptions, float, int, str], Sequence[Phase]]
"""(classifier, options, rate, epochs, BatchNorm policy) -> the phases; their epochs add up to `epochs`."""


def everything(options: TrainOptions, **more: Any) -> Groups:
    """The groups of backbone and head as the options have them; `more` goes to `parameter_groups`."""
    return lambda step: parameter_groups(
        step.network, step.head, **{"decay": options.decay, "layer_decay": options.layer_decay, **more}
    )


def one_phase(name: str, groups: Callable[[TrainOptions], Groups] = everything) -> Phases:
    """One phase from the first epoch to the last."""
    return lambda step, options, rate, epochs, norm: [
        Phase(name=name, epochs=epochs, rate=rate, groups=groups(options), norm=norm)
    ]


all_at_once = one_phase("all layers")
"""One phase in which everything trains."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Recipe:
    """What makes one method differ from another.

    `probe`: whether it starts from the exact linear probe (else from a random head on plain features); `phases`: what
    trains when, over `least` epochs or more; `wrap`: called on a fresh classifier and the rows it is fitted on, to add
    a penalty or adapters; `unwrap`: called before its weights are read; `rates`: those tried where none is given;
    `norm`: the BatchNorm policy where the options leave it open (empty: by the size of the batch); `hidden`, `dropout`:
    width of a layer before the classes (0: none; for random heads) and the share dropped after it.
    """

    probe: bool = True
    phases: Phases = all_at_once
    least: int = 1
    wrap: Callable[[Classifier, Problem, np.ndarray], None] = lambda step, problem, rows: None
    unwrap: Callable[[Classifier], None] = lambda step: None
    rates: tuple[float, ...] = RATES
    norm: str = ""
    hidden: int = 0
    dropout: float = 0.0


def applies_to(problem: Problem, suits: Callable[[Backbone], bool], lack: str) -> str:
    """Why no backbone at hand can be fine-tuned: there is none, or each has the `lack`. Builds networks."""
    reason = applies(problem)
    if reason or any(suits(backbone) for backbone in problem.resources.backbones.values()):
        return reason
    return f"{', '.join(problem.resources.backbones)}: {lack}"


def placed(problem: Problem, options: Told, suits: Callable[[Backbone], bool], lack: str) -> Told:
    """The options with the backbone to train as their `source`: the one asked for, else the first that suits.

    Raises `Skip` with its `lack` where it does not suit, or none does.
    """
    known = problem.resources.backbones
    asked = options.source if options.source is not None else next((name for name in known if suits(known[name])), None)
    if asked is None or (asked in known and not suits(known[asked])):
        raise Skip(f"{asked or ', '.join(known)}: {lack}")
    return replace(options, source=asked)


def check_head(hidden: int, dropout: float) -> None:
    """Raise `OptionError` for a hidden layer that can't be."""
    check_options(
        hidden=(hidden, hidden >= 0, "a width, 0 or more"),
        dropout=(dropout, 0 <= dropout < 1, "a share from 0, below 1"),
    )
