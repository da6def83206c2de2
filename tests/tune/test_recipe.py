from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from torchgraft.core.errors import OptionError
from torchgraft.tune import _recipe
from torchgraft.tune._classifier import Classifier
from torchgraft.tune._recipe import TrainOptions
from torchgraft.tune.base import Skip


def test_everything_has_the_options_rates_and_decay(make_step):
    step, _ = make_step()
    groups = _recipe.everything(TrainOptions(layer_decay=0.5, decay=0.1))(step)
    rates = {group.name: group.rate for group in groups if group.decay}
    assert rates == {"module.embedding": 0.125, "module.blocks.0": 0.25, "module.blocks.1": 0.5, "head": 1.0}
    assert {group.decay for group in groups} == {0.1, 0.0}
    assert sum(len(group.params) for group in groups) == len(list(step.parameters()))
    assert {group.decay for group in _recipe.everything(TrainOptions(decay=0.1), decay=0.0)(step)} == {0.0}


def test_one_phase_from_end_to_end(make_step):
    step, _ = make_step()
    (phase,) = _recipe.all_at_once(step, TrainOptions(), 1e-3, 7, "frozen")
    assert (phase.epochs, phase.rate, phase.norm) == (7, 1e-3, "frozen")


def test_the_backbone_that_suits(hard_text):
    problem = hard_text()
    backbone = problem.resources.backbones["test/text"]
    both = {"test/other": replace(backbone, name="test/other"), "test/text": backbone}
    problem = replace(problem, resources=replace(problem.resources, backbones=both))

    def suits(one) -> bool:
        return one.name == "test/text"

    assert _recipe.applies_to(problem, suits, "no") == ""
    assert _recipe.applies_to(problem, lambda one: False, "no luck") == "test/other, test/text: no luck"
    assert _recipe.placed(problem, TrainOptions(), suits, "no").source == "test/text"
    assert _recipe.placed(problem, TrainOptions(source="test/text"), suits, "no").source == "test/text"
    for source in (None, "test/other"):
        with pytest.raises(Skip, match="test/other.*no luck"):
            _recipe.placed(problem, TrainOptions(source=source), lambda one: False, "no luck")
    assert _recipe.applies_to(replace(problem, resources=None), suits, "no") == "there is no backbone to train"


def test_a_head_that_can_not_be():
    with pytest.raises(OptionError, match=r"hidden expects a width, 0 or more, got -3; dropout expects"):
        _recipe.check_head(-3, 1.5)
    _recipe.check_head(0, 0.0)


def test_a_wrap_sees_the_rows_that_are_fitted_on(hard_text):
    from torchgraft.tune import _finetune

    seen = []

    def wrap(step, problem, rows) -> None:
        assert isinstance(step, Classifier)
        assert isinstance(step.head, nn.Linear)
        seen.append(rows.tolist())

    problem = hard_text()
    recipe = _finetune.Recipe(probe=False, wrap=wrap)
    _finetune.fine_tune(problem, TrainOptions(rate=1e-2, epochs=1), recipe, "test")
    (first, _), (second, _) = problem.folds
    timed, *runs = seen
    assert timed == first.tolist()
    assert runs == [first.tolist(), second.tolist(), np.arange(60).tolist()]
