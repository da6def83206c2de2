"""The loop against itself, after every kind of interruption: equal to the bit."""

from __future__ import annotations

import contextlib
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

from torchgraft.core.errors import ArtifactError
from torchgraft.train import loop as loops
from torchgraft.train.loop import SPENT, LoopOptions, train
from torchgraft.train.repair import RepairOptions

RUN = Path(__file__).with_name("resumed_run.py")


def _plain(history) -> dict:
    values = history.to_dict()
    return {name: value for name, value in values.items() if "seconds" not in name}


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
        with pytest.raises(tiny.Stopped):
            _whole(problem, tiny, phases, options, tiny.Fails(problem.fit, after), file)
        _same_run(tiny, expected, _whole(problem, tiny, phases, options, file=file))


def test_stopped_again_and_again_it_goes_on_to_the_bit(problem, tiny, tmp_path) -> None:
    phases, options = _everything_at_once(tiny)
    file = tmp_path / "run.safetensors"
    for _ in range(9):
        with pytest.raises(tiny.Stopped):
            _whole(problem, tiny, phases, options, tiny.Fails(problem.fit, 7), file)
    _same_run(tiny, _whole(problem, tiny, phases, options), _whole(problem, tiny, phases, options, file=file))


def test_a_finished_run_is_only_read(problem, tiny, tmp_path) -> None:
    phases, options = _everything_at_once(tiny)
    file = tmp_path / "run.safetensors"
    expected = _whole(problem, tiny, phases, options, file=file)
    _same_run(tiny, expected, _whole(problem, tiny, phases, options, tiny.Fails(problem.fit, 0), file))


@pytest.mark.parametrize("more", [{"patience": 1}, {"legs": 4}, {"optimizer": "sgd", "legs": 5}])
def test_runs_that_end_early_go_on_to_the_bit(problem, tiny, tmp_path, more) -> None:
    phases, options = _everything_at_once(tiny)
    options = replace(options, **more)
    expected = _whole(problem, tiny, phases, options)
    for after in (3, 9, 17):
        file = tmp_path / f"{after}.safetensors"
        with contextlib.suppress(tiny.Stopped):
            _whole(problem, tiny, phases, options, tiny.Fails(problem.fit, after), file)
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
        with pytest.raises(tiny.Stopped):
            run(tiny.Fails(problem.fit, after), file)
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
