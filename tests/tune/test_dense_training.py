"""Training on scenes: what trains, what stays, and how many epochs fit."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from torchgraft.tune import decoder, scene_lp_ft
from torchgraft.tune._dense_training import DenseRecipe, _plan, _Training, fine_tune_scenes
from torchgraft.tune.base import Skip


@pytest.mark.parametrize(("encoder", "moves"), [(True, True), (False, False)])
def test_the_encoder_moves_only_where_it_is_meant_to(scene_problem, encoder: bool, moves: bool) -> None:
    problem = scene_problem()
    options = scene_lp_ft.Options(per_scene=20, epochs=1, rate=1e-3, batch=4)
    found = fine_tune_scenes(problem, options, DenseRecipe(decoder="linear", encoder=encoder), "m")
    assert bool(found.tuned) == moves
    if moves:
        (tuned,) = found.tuned.values()
        assert not any("running" in name for name in tuned.arrays), "statistics stay those the probe was fitted on"


def test_epochs_and_folds_follow_the_time_left(scene_problem) -> None:
    problem = scene_problem()
    assert _plan(problem, 0.001, 1e6, 8, least=2) == {"epochs": 8, "folds": 2}
    n, (fit, held) = 12, (6, 6)
    one = 1.25 * (n * 8 + fit * 8 + held * 10 / 3)
    assert _plan(problem, 1.0, one, 8, least=2) == {"epochs": 8, "folds": 1}
    assert _plan(problem, 1.0, one - 1, 8, least=2) == {"epochs": 7, "folds": 1}
    assert "the budget has 0 s left" in _plan(problem, 1.0, 0.0, 8, least=2)["skip"]


def test_a_spent_budget_is_a_skip(scene_problem) -> None:
    problem = scene_problem()
    problem = replace(problem, resources=replace(problem.resources, deadline=0.0))
    with pytest.raises(Skip, match="budget"):
        decoder.fit(problem, decoder.Options(per_scene=20))


def test_held_out_loss_and_what_guessing_costs(scene_problem) -> None:
    problem = scene_problem()
    training = _Training(problem, scene_lp_ft.Options(per_scene=20), DenseRecipe(decoder="linear", encoder=True), "m")
    _, held = problem.folds[0]
    step = training._step(training.setting.probe.heads[0], problem.folds[0][0])
    with torch.no_grad():
        score, outputs = training._validate(held)(step.eval())
    y = training.check.y[held].ravel()
    share = np.bincount(y) / len(y)
    assert score["base"] == pytest.approx(-(share[share > 0] * np.log(share[share > 0])).sum())
    assert score["loss"] < score["base"] and outputs.shape == (len(held), 128, 3)


@pytest.mark.parametrize("loss", ["focal", "dice", "lovasz", "ce+dice", "ce+lovasz"])
def test_every_loss_can_be_asked_for_alone(scene_problem, loss: str) -> None:
    options = scene_lp_ft.Options(per_scene=20, epochs=1, rate=1e-3, batch=4, loss=loss)
    found = scene_lp_ft.fit(scene_problem(), options)
    assert found.chosen["loss"] == loss


def test_folds_stop_where_the_training_on_all_scenes_would_no_longer_fit(scene_problem, monkeypatch) -> None:
    """The first fold is made to look as if it had taken an hour."""
    problem = scene_problem()
    problem = replace(problem, resources=replace(problem.resources, deadline=time.monotonic() + 600))
    true = _Training._train

    def slow(self, *args, **more):
        run = true(self, *args, **more)
        run.history.seconds = 3600.0
        return run

    monkeypatch.setattr(_Training, "_train", slow)
    found = scene_lp_ft.fit(problem, scene_lp_ft.Options(per_scene=20, epochs=1, rate=1e-3, batch=4))
    assert found.chosen["folds"] == 1 and found.rows.tolist() == problem.folds[0][1].tolist()
