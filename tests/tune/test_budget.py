from __future__ import annotations

import time

import numpy as np
import pytest

from torchgraft.train.loader import ArrayLoader
from torchgraft.tune import _budget
from torchgraft.tune.base import Skip, TooLong

FIVE = [(80, 20)] * 5


def planned(**more):
    return _budget.plan(**{"n": 100, "folds": FIVE, "cost": 0.01, "left": 1e9, "epochs": 0, "trials": 0, **more})


def test_what_is_wanted_where_there_is_time():
    found = planned()
    assert (found["epochs"], found["folds"]) == (12, 5)
    assert found["seconds"] == pytest.approx(0.01 * (100 * 12 + 5 * (80 * 12 + 20 * 13 / 3)))
    assert planned(n=10_000)["epochs"] == 2
    assert planned(n=10**6)["epochs"] == 1
    assert planned(n=10**6, least=3)["epochs"] == 3


@pytest.mark.parametrize(("n", "epochs"), [(50, 20), (200, 20), (384, 10), (640, 6), (2500, 3), (10**6, 1)])
def test_few_pictures_are_seen_more_often(n: int, epochs: int) -> None:
    """4000 over n, where that is more than 150 over its root."""
    assert planned(n=n, modality="image")["epochs"] == epochs
    assert planned(n=n)["epochs"] <= epochs


def test_folds_are_given_up_first_to_two_then_epochs_to_a_half_then_the_second_fold():
    def found(left):
        return planned(left=left)["epochs"], planned(left=left)["folds"]

    assert found(50.0) == (12, 2)
    assert found(30.0) == (8, 2)
    assert found(21.0) == (6, 2)
    assert found(20.0) == (8, 1)
    assert found(12.5) == (5, 1)
    assert "would take" in planned(left=6.25)["skip"]
    assert "the budget has 0 s left" in planned(left=-3.0)["skip"]


def test_a_cheaper_backbone_may_fit_only_where_there_is_time_left():
    assert type(_budget.refusal(planned(left=6.25))) is TooLong
    assert type(_budget.refusal(planned(left=-3.0))) is Skip
    assert "would take" in str(_budget.refusal(planned(left=6.25)))


def test_a_costlier_backbone_trains_only_on_two_folds_and_pictures_only_where_there_is_time_to_come_back():
    """2400 pictures are 12 epochs of these 200; the cheapest one takes what there is, and so do texts."""

    def found(left, **more):
        plan = planned(n=200, folds=[(160, 40)] * 5, left=left, **more)
        return plan.get("epochs", 0), plan.get("folds", 0)

    assert found(83.0, modality="image", cheapest=False) == (12, 2)
    assert found(80.0, modality="image", cheapest=False) == (0, 0)
    assert found(80.0, modality="image") == (11, 2)
    assert found(40.0, modality="text", cheapest=False) == (5, 2)
    assert found(30.0, modality="text", cheapest=False) == (4, 2)
    assert found(30.0, modality="text") == (6, 1)
    assert planned(n=10**6, modality="image", cheapest=False)["epochs"] == 1
    assert planned(folds=FIVE[:1], left=50.0, cheapest=False)["folds"] == 1


def test_epochs_that_are_given_stay():
    assert planned(left=50.0, epochs=12)["epochs"] == 12
    assert planned(left=29.0, epochs=12)["folds"] == 1
    assert "skip" in planned(left=25.0, epochs=12)


@pytest.mark.parametrize("left", np.geomspace(6, 200, 9))
def test_a_plan_fits(left):
    found = planned(left=left, trials=3, least=2)
    assert "skip" in found or found["seconds"] * _budget.MARGIN <= left
    assert "skip" in found or found["epochs"] >= 4


def test_trials_cost_two_epochs_or_what_the_method_needs():
    assert planned(trials=3)["seconds"] - planned()["seconds"] == pytest.approx(0.01 * 3 * (80 * 2 + 20))
    assert _budget.trial_epochs(80, 12) == 2
    assert _budget.trial_epochs(80, 12, 3) == 3
    assert _budget.trial_epochs(80, 1) == 1


@pytest.mark.parametrize(
    ("n", "epochs", "trial"), [(160, 20, 0), (512, 6, 0), (800, 5, 0), (800, 6, 3), (1600, 3, 3), (1600, 2, 0)]
)
def test_where_training_dips_a_trial_sees_2400_or_there_is_none(n: int, epochs: int, trial: int) -> None:
    """At most 800 are tried on, so it takes three epochs; and it may be half as long as the training at most."""
    assert _budget.trial_epochs(n, epochs, dips=True) == trial


def test_trials_that_are_not_worth_it_cost_nothing():
    assert planned(dips=True, trials=3) == planned()
    large = {"n": 2000, "folds": [(1600, 400)] * 5, "epochs": 3, "dips": True}
    assert planned(**large, trials=3)["seconds"] - planned(**large)["seconds"] == pytest.approx(0.01 * 3 * (2400 + 400))


def test_steps_are_timed(monkeypatch):
    loader = _budget.Timed(ArrayLoader(np.zeros((10, 2), dtype=np.float32), None))
    assert len(loader) == 10
    assert loader.seconds_a_sample() == 0.0
    clock = iter([0.0, 50.0, 52.0, 56.0, 58.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    for rows in [*loader.plan(2, None)]:
        assert len(loader.load(rows, None)) == 2
    # the first step warms up; the others take 2, 4 and 2 seconds for two samples
    assert loader.seconds_a_sample() == 1.0
