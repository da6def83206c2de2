"""Expected times of fine-tuning: by the plan, from a pace that is given, and measured on a real step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from torchgraft.tune import _budget, expected_seconds
from torchgraft.tune._finetune import _FineTuning


def test_it_is_the_plan_at_the_measured_pace(trained_photos, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = trained_photos()
    monkeypatch.setattr(_FineTuning, "_seconds_a_sample", lambda self, head, fit: 0.5)
    source = next(iter(problem.resources.backbones))
    sizes = [(len(fit), len(held)) for fit, held in problem.folds]
    planned = _budget.plan(
        n=len(problem.y), folds=sizes, cost=0.5, left=float("inf"), epochs=0, trials=3, modality="image", dips=True
    )
    assert expected_seconds(problem, source) == planned["seconds"]


def test_real_steps_take_time(trained_text) -> None:
    problem = trained_text(k=5)  # three steps an epoch
    source = next(iter(problem.resources.backbones))
    found = expected_seconds(problem, source)
    assert np.isfinite(found) and found > 0


def test_a_budget_that_is_spent_does_not_shorten_the_plan(trained_photos, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = trained_photos()
    monkeypatch.setattr(_FineTuning, "_seconds_a_sample", lambda self, head, fit: 0.5)
    spent = replace(problem, resources=replace(problem.resources, deadline=0.0))
    source = next(iter(problem.resources.backbones))
    assert expected_seconds(spent, source) == expected_seconds(problem, source)


def test_it_is_not_measured_beyond_the_deadline(trained_text) -> None:
    problem = trained_text(k=5)
    spent = replace(problem, resources=replace(problem.resources, deadline=0.0))
    assert np.isnan(expected_seconds(spent, next(iter(problem.resources.backbones))))


def test_a_single_step_tells_nothing(trained_photos) -> None:
    problem = trained_photos()
    assert np.isnan(expected_seconds(problem, next(iter(problem.resources.backbones))))
