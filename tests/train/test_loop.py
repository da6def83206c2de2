"""The loop against hand-written ones: what it computes, keeps, and says."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from torchgraft.core.errors import DataError
from torchgraft.train import schedule
from torchgraft.train.loop import SPENT, LoopOptions, train
from torchgraft.train.norm import set_norm
from torchgraft.train.optim import mixed
from torchgraft.train.repair import RepairOptions


def test_it_is_the_loop_one_would_write_by_hand(problem, tiny) -> None:
    """20 steps of torch's own AdamW: the same losses and weights."""
    factor = schedule.cosine(warmup=0.2)
    phase = tiny.phase(epochs=3, schedule=factor)
    plain = tiny.Plain(problem.loader)
    step, other = tiny.Net(), tiny.Net()
    set_norm(other, "frozen")
    done = train(step, [phase], plain, options=LoopOptions(batch=8, clip=0.0, seed=3))

    groups = [(g.rate, {"params": list(g.params), "weight_decay": g.decay}) for g in tiny.everything(other)]
    engine, losses = torch.optim.AdamW([group for _, group in groups], lr=0.0, foreach=False), []
    for epoch in range(3):
        for rows in plain.plan(8, mixed(3, 0, 0, epoch)):
            for group, (share, _) in zip(engine.param_groups, groups, strict=True):
                group["lr"] = 1e-2 * share * factor(len(losses) / 24)
            engine.zero_grad()
            loss = other(plain.load(rows, None), 0.0)
            loss.backward()
            engine.step()
            losses.append(loss.item())
    assert len(losses) == done.history.steps == 24
    smooth = losses[0]
    for i, loss in enumerate(losses):
        smooth = loss if not i else 0.9 * smooth + 0.1 * loss
        assert done.history.curve[i][1] == pytest.approx(smooth, abs=1e-5)
    for name, tensor in step.state_dict().items():
        assert torch.allclose(tensor.float(), other.state_dict()[name].float(), atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_rate_of_zero_changes_no_bit(problem, tiny, optimizer) -> None:
    step = tiny.Net(drop=0.5)
    before = tiny.weights(step)
    options = LoopOptions(batch=8, optimizer=optimizer, ema=0.9, wise=0.5)
    train(step, [tiny.phase(rate=0.0)], problem.fit, options=options)
    assert tiny.same(before, step.state_dict())


@pytest.mark.parametrize("micro", [1, 3, 8])
def test_pieces_of_a_batch_add_up_to_the_batch(problem, tiny, micro) -> None:
    runs = []
    for size in (0, micro):
        step = tiny.Net()
        done = train(
            step,
            [tiny.phase(rate=1e-3)],
            tiny.Plain(problem.fit),
            options=LoopOptions(batch=8, micro=size, optimizer="sgd"),
        )
        runs.append((done.history.curve, tiny.weights(step)))
    assert np.allclose(runs[0][0], runs[1][0], atol=1e-6)
    assert all(torch.allclose(a.float(), runs[1][1][name].float(), atol=1e-6) for name, a in runs[0][1].items())


def test_the_moving_average_by_hand(problem, tiny) -> None:
    """What is kept after 3 steps is the average of the weights after each, with the momentum of `Ema`."""
    states = []

    class Spied(tiny.Net):
        def forward(self, batch, progress):
            states.append(self.head.weight.detach().clone())
            return super().forward(batch, progress)

    step = Spied()
    phase = tiny.phase(epochs=1, rate=0.1, schedule=schedule.constant())
    train(step, [phase], problem.fit, options=LoopOptions(batch=13, ema=0.5))
    plain = tiny.Net()
    train(plain, [phase], problem.fit, options=LoopOptions(batch=13))
    average = states[0]
    for t, after in enumerate([*states[1:], plain.head.weight.detach()]):
        m = min(0.5, (1 + t) / (10 + t))
        average = m * average + (1 - m) * after
    assert torch.allclose(step.head.weight, average, atol=1e-6)


def test_wise_is_half_way_between_before_and_after(problem, tiny) -> None:
    before = tiny.weights(tiny.Net())
    full, half = tiny.Net(), tiny.Net()
    train(full, [tiny.phase()], problem.fit, options=LoopOptions(batch=8))
    done = train(half, [tiny.phase()], problem.fit, options=LoopOptions(batch=8, wise=0.5))
    for name in ("head.weight", "backbone.0.weight"):
        middle = (before[name] + full.state_dict()[name]) / 2
        assert torch.allclose(half.state_dict()[name], middle, atol=1e-6)
    assert done.history.average == "wise 0.5"


def test_phases_train_what_they_name(problem, tiny) -> None:
    step = tiny.Net()
    before = tiny.weights(step)
    done = train(step, [tiny.phase(groups=tiny.head_only)], problem.fit, options=LoopOptions(batch=8))
    changed = {name for name, tensor in step.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert done.history.phases[0]["trained"] == 18
    train(step, [tiny.phase(norm="train")], problem.fit, options=LoopOptions(batch=8))
    assert not torch.equal(step.backbone[1].running_mean, before["backbone.1.running_mean"])


def test_before_epoch_sees_the_same_randomness_and_mode_whatever_came_before(problem, tiny) -> None:
    seen = []

    class Drawing(tiny.Net):
        def before_epoch(self, epoch):
            seen.append((epoch, self.training, float(torch.rand(()))))

    for burnt in (0, 5):
        torch.rand(burnt)
        train(Drawing(), [tiny.phase(epochs=3)], problem.fit, options=LoopOptions(batch=8, leg=2))
    assert [epoch for epoch, *_ in seen] == [0, 1, 2] * 2
    assert not any(training for _, training, _ in seen)
    assert seen[:3] == seen[3:]


def test_the_callers_randomness_is_left_alone(problem, tiny) -> None:
    step = tiny.Net()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(step, [tiny.phase(epochs=1)], problem.fit, options=LoopOptions(batch=8))
    assert torch.equal(torch.rand(3), expected)


def test_the_best_state_comes_back_and_the_state_before_training_counts(problem, tiny) -> None:
    step = tiny.Net()
    good = LoopOptions(batch=8, seed=1)
    train(step, [tiny.phase(epochs=6, norm="train")], problem.fit, options=good, validate=problem.measure)
    reached = problem.measure(step)[0]["loss"]
    fitted = tiny.weights(step)
    worse = LoopOptions(batch=8, optimizer="sgd", repair=RepairOptions(lost=100.0, loss_over=1e9))
    phase = tiny.phase(epochs=3, rate=0.3, schedule=schedule.constant())
    done = train(step, [phase], problem.fit, options=worse, validate=problem.measure)
    losses = [leg["loss"] for leg in done.history.legs]
    assert len(losses) == len(done.outputs) == 4
    assert done.history.best == int(np.argmin(losses))
    assert losses[0] == pytest.approx(reached)
    assert problem.measure(step)[0]["loss"] == pytest.approx(min(losses))
    if done.history.best == 0:
        assert tiny.same(fitted, step.state_dict())


def test_what_only_makes_it_worse_is_not_kept(problem, tiny) -> None:
    step = tiny.Net()
    before = tiny.weights(step)
    scores = iter([0.5, 0.6, 0.7])
    done = train(
        step, [tiny.phase()], problem.fit, options=LoopOptions(batch=8),
        validate=lambda step: ({"loss": next(scores)}, np.zeros((1, 3))),
    )  # fmt: skip
    assert done.history.best == 0
    assert tiny.same(before, step.state_dict())


def test_without_held_out_rows_the_last_state_is_kept(problem, tiny) -> None:
    one, two = tiny.Net(), tiny.Net()
    done = train(one, [tiny.phase(epochs=3)], problem.fit, options=LoopOptions(batch=8))
    train(two, [tiny.phase(epochs=3)], problem.fit, options=LoopOptions(batch=8), validate=_falling())
    assert tiny.same(one.state_dict(), two.state_dict())
    assert (done.history.best, done.outputs, done.history.average) == (3, (), "trained")
    assert [leg["phase"] for leg in done.history.legs] == ["before", "all", "all", "all"]
    assert not one.training


def _falling():
    scores = iter(range(100, 0, -1))
    return lambda step: ({"loss": float(next(scores))}, np.zeros((1, 3)))


def test_patience_ends_it(problem, tiny) -> None:
    scores = iter([1.0, 0.9, 0.95, 0.96, 0.1])
    done = train(
        tiny.Net(), [tiny.phase(epochs=9)], problem.fit, options=LoopOptions(batch=8, patience=2),
        validate=lambda step: ({"loss": next(scores)}, np.zeros((1, 3))),
    )  # fmt: skip
    assert (len(done.history.legs), done.history.best) == (4, 1)
    assert done.history.stopped == "no better held-out loss for 2 legs"


@pytest.mark.parametrize(("leg", "expected"), [(0, [5, 10]), (2, [2, 4, 5, 7, 9, 10]), (3, [3, 5, 8, 10])])
def test_legs_are_epochs_or_parts_of_them(problem, tiny, leg, expected) -> None:
    done = train(tiny.Net(), [tiny.phase()], problem.fit, options=LoopOptions(batch=8, leg=leg))
    assert [one["step"] for one in done.history.legs[1:]] == expected


def test_it_stops_after_some_legs_or_at_the_deadline(problem, tiny) -> None:
    cut = train(tiny.Net(), [tiny.phase(epochs=5)], problem.fit, options=LoopOptions(batch=8, legs=2))
    assert len(cut.history.legs) == 3
    assert not cut.history.stopped
    step = tiny.Net()
    before = tiny.weights(step)
    late = train(
        step, [tiny.phase(epochs=5)], problem.fit, options=LoopOptions(batch=8), validate=problem.measure, deadline=0.0
    )
    assert late.history.stopped == SPENT
    assert (late.history.steps, len(late.history.legs)) == (0, 1)
    assert tiny.same(before, step.state_dict())
    json.dumps(late.history.to_dict(), allow_nan=False)


def test_nothing_to_train_on_is_said(problem, tiny) -> None:
    empty = type(problem.fit)(problem.loader, np.zeros(0, dtype=int))
    with pytest.raises(DataError, match="nothing to train on"):
        train(tiny.Net(), [tiny.phase()], empty, options=LoopOptions())


def test_an_error_leaves_the_step_usable(problem, tiny) -> None:
    step = tiny.Net()
    with pytest.raises(tiny.Stopped):
        train(step, [tiny.phase()], tiny.Fails(problem.fit, 3), options=LoopOptions(batch=8))
    copy.deepcopy(step)
    assert "forward" not in vars(step)
