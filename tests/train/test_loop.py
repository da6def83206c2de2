"""The loop against hand-written ones, and against itself after every kind of interruption."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from torchgraft.core.errors import ArtifactError, DataError
from torchgraft.core.progress import Progress
from torchgraft.train import loop as loops
from torchgraft.train import schedule
from torchgraft.train.loop import SPENT, LoopOptions, train
from torchgraft.train.norm import set_norm
from torchgraft.train.optim import mixed
from torchgraft.train.repair import RepairOptions

RUN = Path(__file__).with_name("resumed_run.py")


class _Stopped(Exception):
    """The power went out."""


class _Plain:
    """A loader without its augmentation."""

    def __init__(self, loader) -> None:
        self.loader, self.plan = loader, loader.plan

    def __len__(self) -> int:
        return len(self.loader)

    def load(self, rows, generator):
        return self.loader.load(rows, None)


class _Fails:
    """A loader that gives up at its n-th batch."""

    def __init__(self, loader, after: int) -> None:
        self.loader, self.left, self.plan = loader, after, loader.plan

    def __len__(self) -> int:
        return len(self.loader)

    def load(self, rows, generator):
        self.left -= 1
        if self.left < 0:
            raise _Stopped
        return self.loader.load(rows, generator)


def _plain(history) -> dict:
    values = history.to_dict()
    return {name: value for name, value in values.items() if "seconds" not in name}


# what it computes


def test_it_is_the_loop_one_would_write_by_hand(problem, tiny) -> None:
    """20 steps of torch's own AdamW: the same losses and weights."""
    factor = schedule.cosine(warmup=0.2)
    phase = tiny.phase(epochs=3, schedule=factor)
    plain = _Plain(problem.loader)
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
            _Plain(problem.fit),
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


# what is kept


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


# going on


def _everything_at_once(tiny):
    phases = [
        tiny.phase(epochs=2, rate=2e-2, groups=tiny.head_only, name="head"),
        tiny.phase(epochs=3, rate=1e-2, norm="train", name="all"),
    ]
    options = LoopOptions(batch=8, micro=5, ema=0.8, wise=0.9, seed=7, leg=3, repair=RepairOptions(plateau=2))
    return phases, options


def _whole(problem, tiny, phases, options, loader=None, file=None, deadline=math.inf):
    step = tiny.Net(drop=0.3)
    done = train(
        step, phases, loader or problem.fit, options=options, validate=problem.measure, checkpoint=file,
        deadline=deadline,
    )  # fmt: skip
    return step, done


def _same_run(tiny, one, other) -> None:
    assert tiny.same(one[0].state_dict(), other[0].state_dict())
    assert _plain(one[1].history) == _plain(other[1].history)
    assert len(one[1].outputs) == len(other[1].outputs)
    assert all(np.array_equal(a, b) for a, b in zip(one[1].outputs, other[1].outputs, strict=True))


@pytest.mark.parametrize("share", [0, 1e9])
def test_stopped_at_any_batch_it_goes_on_to_the_bit(problem, tiny, tmp_path, monkeypatch, share) -> None:
    """Two phases, EMA, WiSE, dropout, noise, pieces, moments in channels_last; `share`: checkpoints often or seldom."""
    monkeypatch.setattr(loops, "_SHARE", share)
    phases, options = _everything_at_once(tiny)
    expected = _whole(problem, tiny, phases, options)
    batches = 25 * 2
    for after in range(0, batches, 2 if share == 0 else 9):
        file = tmp_path / f"{after}.safetensors"
        with pytest.raises(_Stopped):
            _whole(problem, tiny, phases, options, _Fails(problem.fit, after), file)
        _same_run(tiny, expected, _whole(problem, tiny, phases, options, file=file))


def test_stopped_again_and_again_it_goes_on_to_the_bit(problem, tiny, tmp_path) -> None:
    phases, options = _everything_at_once(tiny)
    file = tmp_path / "run.safetensors"
    for _ in range(9):
        with pytest.raises(_Stopped):
            _whole(problem, tiny, phases, options, _Fails(problem.fit, 7), file)
    _same_run(tiny, _whole(problem, tiny, phases, options), _whole(problem, tiny, phases, options, file=file))


def test_a_finished_run_is_only_read(problem, tiny, tmp_path) -> None:
    phases, options = _everything_at_once(tiny)
    file = tmp_path / "run.safetensors"
    expected = _whole(problem, tiny, phases, options, file=file)
    _same_run(tiny, expected, _whole(problem, tiny, phases, options, _Fails(problem.fit, 0), file))


@pytest.mark.parametrize("more", [{"patience": 1}, {"legs": 4}, {"optimizer": "sgd", "legs": 5}])
def test_runs_that_end_early_go_on_to_the_bit(problem, tiny, tmp_path, more) -> None:
    phases, options = _everything_at_once(tiny)
    options = replace(options, **more)
    expected = _whole(problem, tiny, phases, options)
    for after in (3, 9, 17):
        file = tmp_path / f"{after}.safetensors"
        with contextlib.suppress(_Stopped):
            _whole(problem, tiny, phases, options, _Fails(problem.fit, after), file)
        _same_run(tiny, expected, _whole(problem, tiny, phases, options, file=file))


def test_repairs_in_the_middle_go_on_to_the_bit(problem, tiny, tmp_path) -> None:
    class Moody(tiny.Net):
        """Explodes now and then, as its weights happen to be; never in the first step of a leg."""

        def forward(self, batch, progress):
            loss = super().forward(batch, progress)
            moody = int(self.head.weight.detach().view(torch.int32).sum()) % 3 == 0
            return loss * float("nan") if moody and round(progress * 15) % 5 in (1, 2, 4) else loss

    def run(loader, file=None):
        step = Moody(drop=0.3)
        options = LoopOptions(batch=8, leg=3, ema=0.8, repair=RepairOptions(lower=0.9, most=99))
        phases = [tiny.phase(epochs=3, norm="train")]
        return step, train(step, phases, loader, options=options, validate=problem.measure, checkpoint=file)

    expected = run(problem.fit)
    repairs = expected[1].history.repairs
    assert len(repairs) > 2
    assert {one["kind"] for one in repairs} == {"explosion"}
    for after in range(2, expected[1].history.steps + len(repairs), 3):
        file = tmp_path / f"{after}.safetensors"
        with pytest.raises(_Stopped):
            run(_Fails(problem.fit, after), file)
        _same_run(tiny, expected, run(problem.fit, file))


def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path) -> None:
    """Six runs, each killed up to three times: in `resumed_run.py`, which forks, so that imports are paid for once."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, RUN, tmp_path, "6"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["killed"] >= 5
    assert report["digests"] == [report["expected"]] * 6


def test_a_checkpoint_of_another_training_is_refused(problem, tiny, tmp_path) -> None:
    phases, options = _everything_at_once(tiny)
    file = tmp_path / "run.safetensors"
    _whole(problem, tiny, phases, replace(options, legs=1), file=file)
    with pytest.raises(ArtifactError, match=r"run\.safetensors .*options"):
        _whole(problem, tiny, phases, replace(options, seed=8), file=file)
    with pytest.raises(ArtifactError, match="phases"):
        _whole(problem, tiny, phases[1:], options, file=file)
    with pytest.raises(ArtifactError, match="samples"):
        _whole(problem, tiny, phases, options, problem.loader, file)
    with pytest.raises(ArtifactError, match="weights"):
        train(tiny.Net(classes=4), phases, problem.fit, options=options, checkpoint=file)


def test_a_damaged_checkpoint_is_named(problem, tiny, tmp_path) -> None:
    file = tmp_path / "run.safetensors"
    phases, options = _everything_at_once(tiny)
    _whole(problem, tiny, phases, replace(options, legs=1), file=file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"run\.safetensors can't be read as a checkpoint.*Delete it"):
        _whole(problem, tiny, phases, options, file=file)


def test_time_that_ran_out_may_be_given_again(problem, tiny, tmp_path) -> None:
    phases, options = _everything_at_once(tiny)
    file = tmp_path / "run.safetensors"
    spent = _whole(problem, tiny, phases, options, file=file, deadline=0.0)[1]
    assert spent.history.stopped == SPENT
    _same_run(tiny, _whole(problem, tiny, phases, options), _whole(problem, tiny, phases, options, file=file))


def test_checkpoints_take_a_twentieth_of_the_time(problem, tiny, tmp_path, monkeypatch) -> None:
    """With writing that takes 1 s and legs of 4 s, every sixth leg is saved, and the end of a phase."""
    clock, saved = [0.0], []
    monkeypatch.setattr(loops.time, "monotonic", lambda: clock[0])

    def save(path, state):
        saved.append(state["history"]["steps"])
        clock[0] += 1

    monkeypatch.setattr(loops.checkpoints, "save", save)

    class Slow(tiny.Net):
        def forward(self, batch, progress):
            clock[0] += 4
            return super().forward(batch, progress)

    options = LoopOptions(batch=37, leg=1)
    train(Slow(), [tiny.phase(epochs=14)], problem.fit, options=options, checkpoint=tmp_path / "run.safetensors")
    assert saved == [1, 6, 11, 14]


# repairs


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


@pytest.mark.parametrize(("value", "words"), [(float("nan"), "is nan"), (float("inf"), "is (nan|inf)")])
@pytest.mark.parametrize("validated", [True, False])
def test_it_goes_back_lowers_the_rate_and_ends_well(problem, tiny, value, words, validated) -> None:
    said = []
    progress = type("Listening", (Progress,), {"say": lambda self, line: said.append(line)})()
    step = tiny.Net()
    done = train(
        step, [tiny.phase(epochs=4, norm="train")], _Sick(problem.fit, {7}, value), options=LoopOptions(batch=8),
        validate=problem.measure if validated else None, progress=progress,
    )  # fmt: skip
    (repair,) = done.history.repairs
    assert (repair["kind"], repair["step"], repair["factor"]) == ("explosion", 7, 0.1)
    assert len(said) == 1 and "multiplied by 0.1" in said[0]
    assert all(torch.isfinite(tensor).all() for tensor in step.state_dict().values())
    assert done.history.steps == 22  # two steps of the second epoch were taken twice
    assert len(done.history.legs) == 5
    assert done.history.legs[-1]["rate"] == pytest.approx(1e-3)
    json.dumps(done.history.to_dict(), allow_nan=False)


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
    sick = _Sick(problem.fit, set(range(5, 999)), float("nan"))
    done = train(
        step, [tiny.phase(epochs=5, norm="train")], sick, options=LoopOptions(batch=8, repair=RepairOptions(most=3)),
        validate=problem.measure, progress=progress,
    )  # fmt: skip
    assert done.history.stopped == "3 repairs were not enough"
    assert "best state so far is kept" in said[-1]
    assert len(done.history.legs) == len(done.outputs) == 2
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
    scores = iter([0.5, 0.4, 2.0, 0.39, 0.38])
    bars = []

    class Listening(Progress):
        def bar(self, what, total):
            bars.append(_Counting())
            return bars[-1]

    done = train(
        tiny.Net(), [tiny.phase(epochs=3)], problem.fit, options=LoopOptions(batch=8),
        validate=lambda step: ({"loss": next(scores), "base": 1.1}, np.zeros((1, 3))), progress=Listening(),
    )  # fmt: skip
    assert [leg["loss"] for leg in done.history.legs] == [0.5, 0.4, 0.39, 0.38]
    assert [one["reason"] for one in done.history.repairs] == ["the held-out loss went from 0.4 to 2"]
    assert len(done.outputs) == 4
    assert bars[0].done == 15
    assert "loss" in bars[0].text


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


def test_an_error_leaves_the_step_usable(problem, tiny) -> None:
    step = tiny.Net()
    with pytest.raises(_Stopped):
        train(step, [tiny.phase()], _Fails(problem.fit, 3), options=LoopOptions(batch=8))
    copy.deepcopy(step)
    assert "forward" not in vars(step)
