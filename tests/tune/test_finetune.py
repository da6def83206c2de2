from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from torchgraft.core.journal import Journal
from torchgraft.core.progress import SILENT
from torchgraft.data import folds
from torchgraft.tune import _budget, _finetune, full, lp_ft
from torchgraft.tune._recipe import Recipe, TrainOptions
from torchgraft.tune.base import Skip

QUICK = {"rate": 1e-2, "epochs": 3, "batch": 10}


def _into(lines: list[str]) -> SimpleNamespace:
    """A progress whose lines end up in `lines`."""
    return SimpleNamespace(bar=SILENT.bar, say=lines.append)


def test_what_is_measured_is_what_is_shipped(hard_text, alone, shipped):
    problem = alone(hard_text())
    for recipe in (Recipe(), Recipe(probe=False)):
        candidate = _finetune.fine_tune(problem, TrainOptions(**QUICK), recipe, f"probe {recipe.probe}")
        assert candidate.chosen["epochs"] == 3
        np.testing.assert_allclose(shipped(problem, candidate), candidate.logits, atol=1e-3)


def test_a_random_head_is_no_start_to_fall_back_to(hard_text):
    """Where no epoch improves on the start, the one from the probe is skipped and the other one is a rung."""
    problem = hard_text()
    nothing = TrainOptions(rate=1e-30, epochs=2)
    with pytest.raises(Skip, match="on 60 held-out samples no epoch at rate 1.0e-30 beats the linear probe"):
        _finetune.fine_tune(problem, nothing, Recipe(), "one")
    candidate = _finetune.fine_tune(problem, nothing, Recipe(probe=False), "two")
    assert candidate.chosen["epochs"] >= 1


def test_rates_are_tried_and_the_one_with_the_least_loss_is_kept(hard_text):
    problem = hard_text()
    seen = []
    problem = replace(problem, resources=replace(problem.resources, on_leg=lambda history: seen.append(history)))
    options = TrainOptions(epochs=3, batch=10)
    candidate = _finetune.fine_tune(problem, options, Recipe(rates=(1e-30, 1e-2, 1e-25)), "test")
    assert candidate.chosen["rate"] == 1e-2
    names = [history["phases"][0]["name"] for history in seen]
    assert [name for name in dict.fromkeys(names) if "trying" in name] == [
        f"test, trying rate {rate}: all layers" for rate in ("1e-30", "1e-02", "1e-25")
    ]


def test_all_epochs_that_are_asked_for_run(hard_text):
    candidate = full.fit(hard_text(), full.Options(rate=1e-2, epochs=5, batch=10))
    runs = candidate.history[:-1]
    assert len(runs) == 2
    assert all(len(history["legs"]) == 1 + 5 for history in runs)
    assert candidate.chosen["of"] == 5


@pytest.mark.parametrize("left", [True, False])
def test_folds_beyond_the_plan_run_where_time_is_left(hard_text, left):
    journal, lines = Journal(), []
    journal.once("full:test/text", lambda: {"rate": 1e-2, "epochs": 2, "folds": 1})
    if not left:
        journal.once("full:test/text, fold 2", lambda: False)
    problem = hard_text(journal=journal, progress=_into(lines))
    candidate = full.fit(problem, full.Options(batch=10))
    assert candidate.chosen["folds"] == 1 + left
    assert len(candidate.rows) == sum(len(held) for _, held in problem.folds[: 1 + left])
    assert any("on 1 of 2 folds, more if there is time." in line for line in lines)


def test_a_spent_budget_is_no_candidate(hard_text):
    problem = hard_text(deadline=time.monotonic() - 1)
    with pytest.raises(Skip, match="the budget has 0 s left"):
        lp_ft.fit(problem, lp_ft.Options(**QUICK))


@pytest.mark.parametrize("name", ["fold 1 of 2", "all samples"])
def test_the_deadline_ends_it_wherever_it_is(hard_text, name):
    """A training that was cut short is not what the folds measured, so it is not shipped."""
    journal = Journal()
    journal.once("full:test/text", lambda: {"rate": 1e-2, "epochs": 50, "folds": 2})
    cut = []

    def on_leg(history) -> None:
        if name in history["phases"][0]["name"] and not cut:
            cut.append(time.monotonic())

    clock = time.monotonic

    def late() -> float:
        return clock() + (1e9 if cut else 0.0)

    problem = hard_text(journal=journal, on_leg=on_leg, deadline=clock() + 1e6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchgraft.train.loop.time.monotonic", late)
        with pytest.raises(Skip, match="the budget was spent before it was done"):
            full.fit(problem, full.Options(batch=10))


def test_a_training_that_explodes_is_skipped(hard_text):
    with pytest.raises(Skip):
        full.fit(hard_text(), full.Options(rate=1e30, epochs=2, batch=10))


def test_the_norm_of_the_recipe_and_of_the_options(trained_photos):
    problem = trained_photos()
    options = {"rate": 1e-3, "epochs": 1, "batch": 16, "augment": "none"}
    used = []
    for recipe, more in (
        (Recipe(probe=False), {}),
        (Recipe(probe=False, norm="affine"), {}),
        (Recipe(probe=False, norm="affine"), {"norm": "adapt"}),
        (Recipe(probe=False), {"batch": 8}),
    ):
        candidate = _finetune.fine_tune(problem, TrainOptions(**{**options, **more}), recipe, f"run {len(used)}")
        used.append(candidate.history[0]["phases"][0]["norm"])
    assert used == ["train", "affine", "adapt", "frozen"]


def test_a_range_test_comes_first_and_bounds_the_trials(hard_text, monkeypatch):
    lines: list[str] = []
    problem = hard_text(progress=_into(lines))
    options = TrainOptions(epochs=2, batch=10)
    candidate = _finetune.fine_tune(problem, options, Recipe(probe=False, rates=(1e-2, 1e-3, 1e3)), "test")
    said = next(line for line in lines if "range test" in line)
    assert said.startswith("test, range test of the rate: the loss is least at ")
    assert said.endswith("Rates to try: 1e-02, 1e-03"), "1e3 is beyond"
    assert candidate.chosen["range_test"] in said
    lines.clear()
    _finetune.fine_tune(problem, replace(options, rate=1e-2), Recipe(probe=False), "given")
    assert not [line for line in lines if "range test" in line]


def test_without_time_for_a_range_test_there_is_none(hard_text, monkeypatch):
    lines: list[str] = []
    problem = hard_text(deadline=time.monotonic() + 1000, progress=_into(lines))
    cost = 1000 / (_budget.MARGIN * (60 * 2 + 2 * (30 * 2 + 30 * 3 / 3)) * 1.01)  # just enough to train
    monkeypatch.setattr(_finetune._FineTuning, "_seconds_a_sample", lambda *given: cost)
    candidate = _finetune.fine_tune(problem, TrainOptions(epochs=2, batch=10), Recipe(probe=False), "test")
    assert candidate.chosen["rate"] == Recipe().rates[0]
    assert not [line for line in lines if "range test" in line or "trying" in line]


def test_trials_that_would_cost_the_second_fold_are_left_out(hard_text, monkeypatch):
    """On one fold few gains can be told from luck: the usual rate on two is worth more than the best one on one."""
    lines: list[str] = []
    problem = hard_text(deadline=time.monotonic() + 1000, progress=_into(lines))
    problem = replace(problem, folds=folds(problem.y, k=5, seed=0))
    cost = 1000 / (_budget.MARGIN * (60 * 8 + 2 * (48 * 8 + 12 * 9 / 3)) * 1.01)  # just enough for two folds
    monkeypatch.setattr(_finetune._FineTuning, "_seconds_a_sample", lambda *given: cost)
    candidate = _finetune.fine_tune(problem, TrainOptions(epochs=8, batch=10), Recipe(probe=False), "test")
    assert _budget.plan(n=60, folds=[(48, 12)] * 5, cost=cost, left=1000, epochs=8, trials=3)["folds"] == 1
    assert candidate.chosen["rate"] == Recipe().rates[0]
    assert any("epochs on 2 of 5 folds" in line for line in lines)
    assert not [line for line in lines if "trying" in line]


def test_of_few_pictures_a_fitted_head_takes_the_usual_rate_without_a_search(trained_photos):
    """What a trial can see of them is how training gets worse first, which favours the rate that does least."""
    lines: list[str] = []
    problem, options = trained_photos(progress=_into(lines)), TrainOptions(epochs=1, augment="none")
    with suppress(Skip):  # whether it trains is not asked
        _finetune.fine_tune(problem, options, Recipe(rates=(1e-3, 1e-2)), "fitted")
    assert [line for line in lines if line.startswith("fitted: rate 1.0e-03")]
    assert not [line for line in lines if "range test" in line or "trying" in line]
    _finetune.fine_tune(problem, options, Recipe(probe=False, rates=(1e-3, 1e-2)), "random")
    assert [line for line in lines if line.startswith("random, range test")]


def test_trials_end_where_another_one_would_leave_no_time_to_train(hard_text, monkeypatch):
    problem, asked = hard_text(), []
    plan = _finetune.plan

    def short(**given):
        asked.append(given["trials"])
        return {"skip": "no time"} if given["trials"] == 1 else plan(**given)

    monkeypatch.setattr(_finetune, "plan", short)
    candidate = _finetune.fine_tune(problem, TrainOptions(epochs=2, batch=10), Recipe(rates=(1e-2, 1e-3)), "test")
    assert candidate.chosen["rate"] == 1e-2
    assert 1 in asked


def test_where_no_trial_beats_the_start_the_usual_rate_is_taken(hard_text):
    """A rate at which nothing happens loses least, and is no good. Trials have no repairs: each speaks for itself."""
    lines: list[str] = []
    problem = hard_text(progress=_into(lines))
    candidate = _finetune.fine_tune(problem, TrainOptions(epochs=3, batch=10), Recipe(rates=(2.0, 1e-30)), "test")
    assert candidate.chosen["rate"] >= 0.1
    assert not [line for line in lines if "trying" in line and "multiplied by" in line]


def test_a_trial_that_explodes_counts_for_the_rate_that_repairs_left_it(hard_text):
    candidate = _finetune.fine_tune(
        hard_text(), TrainOptions(epochs=3, batch=10), Recipe(probe=False, rates=(1e-30, 1e30)), "test"
    )
    assert candidate.chosen["rate"] < 1e29
