from __future__ import annotations

import math

import pytest

from torchgraft.train.repair import Repair, RepairOptions, Watch


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_taken(value: float) -> None:
    assert Watch().look(value, {}) == f"the loss is {value}"
    assert Watch().look(1.0, {"head": 1.0, "stem": value}) == f"the gradient of stem is {value}"


def test_a_loss_ten_times_the_usual_is_an_explosion_from_the_second_step_on() -> None:
    watch = Watch()
    assert not watch.look(2.0, {})
    assert not watch.look(19.9, {})
    assert watch.look(20.1, {}) == "the loss, 20.1, is 10 times what it was"


def test_a_loss_that_creeps_up_is_compared_with_its_least_median() -> None:
    watch = Watch()
    assert not any(watch.look(loss, {}) for loss in (2.0, 2.0, 2.0, *range(3, 20)))
    assert watch.look(20.5, {})


def test_a_fitted_start_may_see_hard_samples() -> None:
    """From a fitted head, well-set: losses of 0.22 at first, then up to 1.96 (questions), 1.41 (small photos)."""
    watch = Watch()
    assert not any(watch.look(loss, {}) for loss in (0.01, 0.02, 0.2, 1.4, 1.96, 4.9))
    assert watch.look(5.1, {})


def test_a_gradient_a_thousand_times_its_median_is_an_explosion_of_its_group() -> None:
    watch = Watch()
    assert not any(watch.look(1.0, {"stem": 1.0, "head": 5.0}) for _ in range(4))
    assert not watch.look(1.0, {"stem": 999.0, "head": 4999.0})
    assert "of stem, 1e+03, is 1001 times" in watch.look(1.0, {"stem": 1001.0, "head": 1.0})


@pytest.mark.parametrize(
    ("before", "after", "base", "undone"),
    [
        (0.658, 0.815, 1.79, False),  # questions, probe to the first epoch at the good rate
        (0.847, 1.149, 2.30, False),  # small photos, likewise
        (0.658, 1.482, 1.79, True),  # questions, four times the good rate: it never came back
        (0.658, 1.795, 1.79, True),  # a hundred times
        (2.30, 2.31, 2.30, False),  # a random head that has learnt nothing yet
        (3.0, 2.6, 2.30, False),  # one that began worse than guessing
        (2.30, 2.60, 2.30, True),
        (0.5, 99.0, math.inf, False),  # nobody said what guessing is worth
        (0.5, math.nan, math.inf, True),
        (0.5, math.inf, 1.0, True),
    ],
)
def test_what_the_held_out_loss_may_lose(before: float, after: float, base: float, undone: bool) -> None:
    best = {"loss": before} if math.isinf(base) else {"loss": before, "base": base}
    assert bool(Watch().collapsed({"loss": after}, best)) == undone


@pytest.mark.parametrize(("steps", "after"), [(0, 0), (40, 30), (200, 100), (5000, 100)])
def test_what_gets_worse_first_is_given_time_to_come_back(steps: int, after: int) -> None:
    """A hundred updates, three quarters of a phase at most. What is not finite is never right."""
    watch = Watch(steps=steps)
    for seen in range(after + 1):
        assert watch.settled == (seen == after)
        assert bool(watch.collapsed({"loss": 2.3}, {"loss": 0.5, "base": 2.3})) == watch.settled
        assert bool(watch.diverged([4.0] * 25, 2.3)) == watch.settled
        assert watch.collapsed({"loss": math.nan}, {"loss": 0.5, "base": 2.3})
        assert not watch.look(1.0, {})


def test_a_loss_that_climbs_before_it_has_settled_may_reach_twenty() -> None:
    young, settled = Watch(steps=200), Watch()
    for watch in (young, settled):
        assert not watch.look(0.4, {})
        assert bool(watch.look(6.4, {})) == (watch is settled)
    assert young.look(20.1, {}) == "the loss, 20.1, is 10 times what it was"


def test_a_loss_that_is_meant_to_rise_can_be_let_go() -> None:
    watch = Watch(RepairOptions(worse=math.inf, rose=math.inf))
    watch.look(0.2, {})
    assert not watch.diverged([0.1] * 30, 0.0)
    assert not watch.diverged([5.0] * 30, 0.0)


def test_a_leg_that_is_worse_than_guessing_or_than_an_earlier_one_diverged() -> None:
    """Level 2.3, the larger of guessing and the first loss: 1.02 and 0.07 times it are the limits."""
    watch = Watch()
    watch.look(2.2, {})
    assert not watch.diverged([2.9] * 15 + [2.34] * 15, 2.3)
    assert watch.diverged([2.0] * 15 + [2.35] * 15, 2.3) == "the training loss, 2.35, is worse than guessing (2.3)"
    assert not watch.diverged([1.5] * 30, 2.3)
    assert not watch.diverged([1.66] * 30, 2.3)
    assert watch.diverged([1.67] * 30, 2.3) == "the training loss rose from 1.5 to 1.67"
    assert not watch.diverged([9.0] * 19, 2.3)  # too few to tell


def test_the_first_leg_from_a_fitted_head_may_rise() -> None:
    """As measured: 0.22 to 0.48 of 1.79 (questions), 0.55 to 0.82 of 2.30 (small photos); 2.06 at a rate too high."""
    for first, leg, guess, bad in ((0.22, 0.48, 1.79, False), (0.55, 0.82, 2.3, False), (0.22, 2.06, 1.79, True)):
        watch = Watch()
        watch.look(first, {})
        assert bool(watch.diverged([leg] * 25, guess)) == bad


def test_gradients_vanish_only_while_there_is_something_to_learn() -> None:
    faint, done, alive = Watch(), Watch(), Watch()
    for _ in range(3):
        faint.look(1.0, {"a": 1e-9, "b": 1e-8})
        done.look(1e-8, {"a": 1e-9})
        alive.look(1.0, {"a": 1e-9, "b": 1.0})
    assert faint.vanished() == "the largest gradient norm, that of b, is 1.0e-08"
    assert not done.vanished()
    assert not alive.vanished()
    assert not Watch().vanished()


def test_a_watch_goes_on_where_it_was() -> None:
    one, other = Watch(steps=500), Watch()
    for i in range(70):
        one.look(1.0 + i / 100, {"a": 1.0, "b": 2.0})
    other.load_state(one.state())
    assert other == one
    assert other.losses.maxlen == one.losses.maxlen


def test_a_repair_is_plain_values() -> None:
    repair = Repair(phase="all", step=3, kind="explosion", reason="the loss is nan", factor=0.1)
    assert repair.to_dict() == {
        "phase": "all", "step": 3, "kind": "explosion", "reason": "the loss is nan", "factor": 0.1,
    }  # fmt: skip
    assert RepairOptions().lower < 1 < RepairOptions().raise_
