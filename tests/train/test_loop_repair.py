"""The loop when something goes wrong: it goes back, changes the rate, goes on, and says so."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from torchgraft.core.progress import Progress
from torchgraft.train.loop import LoopOptions, train
from torchgraft.train.repair import RepairOptions


class _Sick:
    """Batches whose inputs are overwritten at some steps."""

    def __init__(self, loader, at: set[int], value: float) -> None:
        self.loader, self.at, self.value, self.plan, self.count = loader, at, value, loader.plan, -1

    def __len__(self) -> int:
        return len(self.loader)

    def load(self, rows, generator):
        batch = self.loader.load(rows, generator)
        if generator is not None:
            self.count += 1
            if self.count in self.at:
                batch.inputs[0].fill_(self.value)
        return batch


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("validated", [True, False])
def test_it_goes_back_lowers_the_rate_and_ends_well(problem, tiny, value, validated) -> None:
    """Late in a phase to the last good state; early to its start."""
    for at, wasted in ((17, 2), (7, 7)):
        said = []
        progress = type("Listening", (Progress,), {"say": lambda self, line, said=said: said.append(line)})()
        step = tiny.Net()
        done = train(
            step, [tiny.phase(epochs=4, norm="train")], _Sick(problem.fit, {at}, value),
            options=LoopOptions(batch=8, repair=RepairOptions(lower=0.1)),
            validate=problem.measure if validated else None, progress=progress,
        )  # fmt: skip
        (repair,) = done.history.repairs
        assert (repair["kind"], repair["step"], repair["factor"]) == ("explosion", at, 0.1)
        assert len(said) == 1 and "multiplied by 0.1" in said[0]
        assert all(torch.isfinite(tensor).all() for tensor in step.state_dict().values())
        assert done.history.steps == 20 + wasted
        assert len(done.history.legs) == 5
        assert len(done.outputs) == 5 * validated
        assert done.history.legs[-1]["rate"] == pytest.approx(1e-3)
        json.dumps(done.history.to_dict(), allow_nan=False)


def test_after_an_early_explosion_it_is_as_if_the_rate_had_been_lower_from_the_start(problem, tiny) -> None:
    class Once(tiny.Net):
        calls = 0

        def forward(self, batch, progress):
            self.calls += 1
            return super().forward(batch, progress) * (float("nan") if self.calls == 12 else 1)

    phases = [tiny.phase(epochs=1, groups=tiny.head_only, name="head"), tiny.phase(epochs=4, norm="train")]
    options = LoopOptions(batch=8, ema=0.8, repair=RepairOptions(lower=0.5))
    one, other = Once(drop=0.3), tiny.Net(drop=0.3)
    repaired = train(one, phases, problem.fit, options=options, validate=problem.measure)
    lower = [phases[0], replace(phases[1], rate=phases[1].rate * 0.5)]
    plain = train(other, lower, problem.fit, options=options, validate=problem.measure)
    assert len(repaired.history.repairs) == 1
    assert tiny.same(one.state_dict(), other.state_dict())
    assert repaired.history.best == plain.history.best
    assert all(np.array_equal(a, b) for a, b in zip(repaired.outputs, plain.outputs, strict=True))


def test_a_finite_loss_with_an_infinite_gradient_is_not_taken(problem, tiny) -> None:
    class Steep(tiny.Net):
        calls = 0

        def forward(self, batch, progress):
            self.calls += 1
            loss = super().forward(batch, progress)
            return loss + (self.head.bias.sum() * 0).sqrt() if self.calls == 3 else loss  # slope 1/(2 sqrt 0) = inf

    done = train(Steep(), [tiny.phase()], problem.fit, options=LoopOptions(batch=8))
    assert "gradient" in done.history.repairs[0]["reason"]
    assert done.history.repairs[0]["step"] == 2


def test_after_too_many_repairs_the_best_state_is_kept(problem, tiny) -> None:
    step, said = tiny.Net(), []
    progress = type("Listening", (Progress,), {"say": lambda self, line: said.append(line)})()
    sick = _Sick(problem.fit, set(range(20, 999)), float("nan"))
    done = train(
        step, [tiny.phase(epochs=5, norm="train")], sick, options=LoopOptions(batch=8, repair=RepairOptions(most=3)),
        validate=problem.measure, progress=progress,
    )  # fmt: skip
    assert done.history.stopped == "3 repairs were not enough"
    assert "best state so far is kept" in said[-1]
    assert len(done.history.legs) == len(done.outputs) == 5
    assert problem.measure(step)[0]["loss"] == min(leg["loss"] for leg in done.history.legs)


@pytest.mark.parametrize("validated", [True, False])
def test_vanishing_gradients_raise_the_rate(problem, tiny, validated) -> None:
    class Faint(tiny.Net):
        def forward(self, batch, progress):
            return 1.0 + 1e-9 * super().forward(batch, progress)

    done = train(
        Faint(), [tiny.phase()], problem.fit, options=LoopOptions(batch=8, repair=RepairOptions(most=9)),
        validate=problem.measure if validated else None,
    )  # fmt: skip
    assert {one["kind"] for one in done.history.repairs} == {"vanishing"}
    assert done.history.repairs[0]["factor"] == 3.0


def test_a_plateau_decays_the_rate_and_is_no_failure(problem, tiny) -> None:
    done = train(
        tiny.Net(), [tiny.phase(epochs=8)], problem.fit,
        options=LoopOptions(batch=8, repair=RepairOptions(plateau=2, decay=0.5, most=2)),
        validate=lambda step: ({"loss": 1.0}, np.zeros((1, 3))),
    )  # fmt: skip
    assert [one["kind"] for one in done.history.repairs] == ["plateau"] * 4
    assert done.history.repairs[-1]["factor"] == 0.5**4
    assert not done.history.stopped


def test_a_leg_that_destroyed_what_there_was_is_undone(problem, tiny) -> None:
    scores = iter([0.5, 0.4, 0.41, 0.42, 2.0, 0.39])
    bars = []

    class Listening(Progress):
        def bar(self, what, total):
            bars.append(_Counting())
            return bars[-1]

    done = train(
        tiny.Net(), [tiny.phase(epochs=4)], problem.fit, options=LoopOptions(batch=8),
        validate=lambda step: ({"loss": next(scores), "base": 1.1}, np.zeros((1, 3))), progress=Listening(),
    )  # fmt: skip
    assert [leg["loss"] for leg in done.history.legs] == [0.5, 0.4, 0.41, 0.42, 0.39]
    assert [one["reason"] for one in done.history.repairs] == ["the held-out loss went from 0.4 to 2"]
    assert len(done.outputs) == 5
    assert bars[0].done == 20
    assert "loss" in bars[0].text


@pytest.mark.parametrize(
    ("scores", "kept", "wasted"),
    [
        ([0.5, 2.0, 2.0, 0.6, 0.4], [0.5, 2.0, 2.0, 0.6, 0.4], 0),  # it came back in time
        ([0.5, 2.0, 2.0, 2.0, 0.45, 0.4, 0.41, 0.39], [0.5, 0.45, 0.4, 0.41, 0.39], 15),  # not so: it begins anew
    ],
)
def test_what_gets_worse_first_may_come_back(problem, tiny, scores, kept, wasted) -> None:
    seen = iter(scores)
    done = train(
        tiny.Net(), [tiny.phase(epochs=4)], problem.fit, options=LoopOptions(batch=8),
        validate=lambda step: ({"loss": next(seen), "base": 1.1}, np.zeros((1, 3))),
    )  # fmt: skip
    assert [leg["loss"] for leg in done.history.legs] == kept
    assert [one["step"] for one in done.history.repairs] == [15] * bool(wasted)
    assert done.history.steps == 20 + wasted


class _Counting:
    done, text = 0, ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def advance(self, n=1):
        self.done += n

    def note(self, text):
        self.text = text
