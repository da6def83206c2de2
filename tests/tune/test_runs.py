from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from torchgraft.train.loop import LoopOptions
from torchgraft.tune import _runs
from torchgraft.tune.base import Skip


def _history(*factors: float) -> SimpleNamespace:
    return SimpleNamespace(history=SimpleNamespace(repairs=[{"factor": factor} for factor in factors]))


def test_the_rate_after_repairs_by_hand():
    """The last factor of each run counts, 1 where nothing was repaired."""
    assert _runs.lowered([_history(), _history()]) == 1.0
    assert _runs.lowered([_history(), _history(0.5, 0.1), _history(0.5)]) == 0.5


def test_scores_by_hand(hard_text):
    """Four rows of two classes: guessing costs log 2; logits of 0 do as well, sure and right ones cost nearly 0."""
    problem = replace(hard_text(), y=np.array([0, 1, 0, 1, 1, 1]))
    score = _runs.scores(problem, np.arange(4), "none")
    zero = score(np.zeros((4, 2)))
    assert zero["base"] == pytest.approx(np.log(2))
    assert zero["loss"] == pytest.approx(np.log(2))
    sure = score(np.array([[9.0, 0], [0, 9], [9, 0], [0, 9]]))
    assert sure["accuracy"] == 1.0
    assert sure["loss"] < 0.01
    for broken in (None, np.full((4, 2), np.nan)):
        found = score(broken)
        assert np.isnan(found["loss"])
        assert found["accuracy"] == 0.0


def test_balanced_scores_give_each_class_the_same_weight(hard_text):
    problem = replace(hard_text(), y=np.array([0, 1, 1, 1]))
    plain, balanced = (_runs.scores(problem, np.arange(4), name)(np.zeros((4, 2))) for name in ("none", "balanced"))
    assert plain["base"] == pytest.approx(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))
    assert balanced["base"] == pytest.approx(np.log(2))


def test_what_the_deadline_cuts_is_no_candidate(monkeypatch):
    cut = SimpleNamespace(history=SimpleNamespace(stopped=_runs.SPENT))
    monkeypatch.setattr(_runs, "train", lambda *args, **more: cut)
    resources = SimpleNamespace(folder=None, logs=None, deadline=0.0, progress=None, on_leg=None)
    with pytest.raises(Skip, match="the budget was spent"):
        _runs.run(None, [], None, np.arange(2), resources, options=LoopOptions(), validate=None, name="x")
