from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft.core.errors import DataError, OptionError
from torchgraft.train.groups import Group
from torchgraft.train.loader import ArrayLoader
from torchgraft.train.loop import LoopOptions, train
from torchgraft.train.range_test import RangeTest, range_test
from torchgraft.train.step import Step


class Bowl(Step):
    """loss = curvature theta^2 / 2: SGD without momentum falls below the rate 2 / curvature, and explodes above."""

    def __init__(self, curvature: float = 100.0) -> None:
        super().__init__()
        self.theta, self.curvature = nn.Parameter(torch.ones(1)), curvature

    def forward(self, batch, progress):
        return self.curvature * self.theta.square().sum() / 2


def _one(step: Step) -> list[Group]:
    return [Group(name="all", params=tuple(step.parameters()), rate=1.0, decay=0.0)]


def _loader(n: int = 32) -> ArrayLoader:
    return ArrayLoader(np.zeros((n, 1), dtype=np.float32), None)


def test_on_a_bowl_the_suggestion_is_below_the_rate_that_explodes() -> None:
    found = range_test(Bowl(), _one, _loader(), kind="sgd", low=1e-5, high=10.0, steps=80)
    assert 1e-4 < found.suggestion < 2 / 100
    assert found.losses[-1] > 4 * min(found.losses)
    assert len(found.rates) == len(found.losses) < 80
    ratios = np.diff(np.log(found.rates))
    assert np.allclose(ratios, ratios[0])


def test_the_smoothed_loss_by_hand() -> None:
    """At rates that change nothing every loss is 50: smoothing with the correction for the start gives 50."""
    found = range_test(Bowl(), _one, _loader(), kind="sgd", low=1e-12, high=1e-11, steps=5)
    assert found.losses == pytest.approx([50.0] * 5)


def test_everything_is_put_back(problem, tiny) -> None:
    step = tiny.Net(drop=0.5)
    step.backbone[0].weight.requires_grad_(False)
    step.eval()
    before = tiny.weights(step)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    range_test(step, tiny.everything, problem.fit, steps=20)
    assert torch.equal(torch.rand(2), expected)
    assert tiny.same(before, step.state_dict())
    assert all(p.grad is None for p in step.parameters())
    assert [name for name, p in step.named_parameters() if not p.requires_grad] == ["backbone.0.weight"]
    assert not any(part.training for part in step.modules())


def test_it_is_put_back_after_an_error_too(problem, tiny) -> None:
    step = tiny.Net()
    before = tiny.weights(step)
    step.forward = lambda batch, progress: step.head.weight.sum() * 0 + 1 / 0
    with pytest.raises(ZeroDivisionError):
        range_test(step, tiny.everything, problem.fit)
    assert tiny.same(before, step.state_dict())


def test_the_suggestion_trains_better_than_a_hundredth_or_a_hundred_times_it(problem, tiny) -> None:
    found = range_test(tiny.Net(), tiny.everything, problem.fit, batch=8, high=10.0)
    losses = []
    for rate in (found.suggestion / 100, found.suggestion, found.suggestion * 100):
        step = tiny.Net()
        train(step, [tiny.phase(epochs=6, rate=rate)], problem.fit, options=LoopOptions(batch=8))
        losses.append(problem.measure(step)[0]["loss"])
    assert losses[1] == min(losses)


def test_the_same_seed_gives_the_same_answer(problem, tiny) -> None:
    one, two = (range_test(tiny.Net(drop=0.3), tiny.everything, problem.fit, steps=15, seed=4) for _ in range(2))
    assert one == two


def test_a_loss_that_is_never_finite_gives_the_lowest_rate() -> None:
    found = range_test(Bowl(float("nan")), _one, _loader(), low=1e-5)
    assert (found.losses, found.suggestion) == ((), 1e-5)


def test_bad_calls_are_named() -> None:
    with pytest.raises(DataError, match="nothing to train on"):
        range_test(Bowl(), _one, _loader(0))
    for wrong in ({"low": 0.1, "high": 0.01}, {"low": 0.0}, {"steps": 1}):
        with pytest.raises(OptionError, match="low < high"):
            range_test(Bowl(), _one, _loader(), **wrong)


def test_rates_above_the_least_loss_are_not_worth_a_trial() -> None:
    found = RangeTest(rates=(1e-5, 1e-3, 1e-2), losses=(1.0, 0.5, 0.7), suggestion=1e-4, fell=True)
    assert found.bounded((1e-3, 3e-4, 1e-2)) == (1e-3, 3e-4)
    assert found.bounded((1e-2, 1e-1)) == (1e-2,), "the lowest stays: nothing blew up there"
    assert str(found) == "the loss is least at 1e-03"


def test_where_nothing_falls_only_what_blows_up_is_left_out() -> None:
    found = RangeTest(rates=(1e-5, 1e-3), losses=(0.1, 0.1), suggestion=1e-5, blown=5e-3)
    assert found.bounded((3e-4, 1e-2, 1e-3)) == (3e-4, 1e-3)
    assert found.bounded((1e-2, 1e-1)) == (1e-5,), "all of them blow up"
    assert str(found) == "the loss does not fall, blows up at 5e-03"


def test_a_fitted_head_gets_no_bound_from_the_luck_of_its_batches() -> None:
    rng = np.random.default_rng(0)
    loader = ArrayLoader(rng.normal(1.0, 0.25, (64, 1)).astype(np.float32), None)
    step = Bowl()
    step.forward = lambda batch, progress: batch.inputs[0].mean() + 0 * step.theta.sum()
    found = range_test(step, _one, loader, steps=30)
    assert (found.fell, found.blown, found.suggestion) == (False, float("inf"), 1e-6)
    assert found.bounded((3e-4, 1e-3)) == (3e-4, 1e-3)


def test_what_blows_up_is_told_and_the_deadline_ends_it() -> None:
    found = range_test(Bowl(), _one, _loader(), kind="sgd", low=1e-5, high=10.0, steps=80)
    assert found.fell
    assert found.rates[-1] <= found.blown < 10
    assert range_test(Bowl(), _one, _loader(), deadline=time.monotonic() - 1).rates == ()
