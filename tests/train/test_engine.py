"""One update over pieces and processes. What one process does alone is tested with the loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from torchgraft.train import optim
from torchgraft.train._engine import Engine
from torchgraft.train.loader import ArrayLoader
from torchgraft.train.step import Batch

RUN = Path(__file__).with_name("distributed_run.py")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, dict, list[dict]]:
    """(folder, what one process reported, what each of two did)."""
    folder = tmp_path_factory.mktemp("distributed")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for command in ([sys.executable], two):
        done = subprocess.run(
            [*command, RUN, folder], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    reports = [json.loads((folder / name).read_text()) for name in ("1-0.json", "2-0.json", "2-1.json")]
    return folder, reports[0], reports[1:]


@pytest.mark.parametrize("name", ["frozen", "pieces"])
def test_two_processes_walk_the_curve_of_one(runs, name) -> None:
    """37 samples in batches of 7 or 6: shares differ, and so do the last ones."""
    _, one, both = runs
    for other in both:
        assert np.allclose(other[name]["curve"], one[name]["curve"], atol=1e-4)
        assert np.allclose(other[name]["held"], one[name]["held"], atol=1e-4)


@pytest.mark.parametrize("name", ["frozen", "pieces", "statistics", "patience", "deadline"])
def test_processes_agree_to_the_bit_on_weights_and_ends(runs, name) -> None:
    _, _, (first, second) = runs
    for what in ("weights", "stopped", "best", "seen", "steps", "held"):
        assert first[name][what] == second[name][what], what


def test_frozen_statistics_survive_ddp(runs) -> None:
    """The running mean begins at 0: it stays there under `frozen` and leaves it under `train`."""
    _, one, both = runs
    for report in (one, *both):
        assert not report["frozen"]["moved"]
        assert report["statistics"]["moved"]


def test_the_main_process_decides(runs) -> None:
    _, _, (first, _) = runs
    assert first["patience"]["stopped"] == ""
    assert first["patience"]["best"] == 4
    assert first["deadline"]["stopped"] == "the budget is spent"
    assert first["deadline"]["steps"] == 0


def test_the_main_process_alone_writes_checkpoints(runs) -> None:
    written = {f"{path.parent.name}/{path.name}" for path in runs[0].rglob("*.safetensors")}
    assert written == {f"{name}/0.safetensors" for name in ("frozen", "pieces", "statistics", "patience")}


def test_the_gradient_is_that_of_the_mean_loss(tiny) -> None:
    z = np.random.default_rng(0).normal(size=(7, 2, 4, 4)).astype(np.float32)
    y = np.arange(7) % 3
    for micro in (0, 2):
        step = tiny.Net()
        engine = Engine(optim.accelerator("fp32"), step, ArrayLoader(z, y), micro=micro, clip=0.5)
        engine.open("sgd", tiny.everything(step.eval()), 0.1, None)
        loss = engine.gradients(np.arange(7), 0.0, (0,))
        found = step.head.weight.grad.clone()
        expected = torch.nn.functional.cross_entropy(step.head(step.backbone(torch.from_numpy(z))), torch.from_numpy(y))
        (gradient,) = torch.autograd.grad(expected, [step.head.weight])
        assert loss == pytest.approx(expected.item(), abs=1e-6)
        assert torch.allclose(found, gradient, atol=1e-6)
        total = np.sqrt(sum(norm**2 for norm in engine.norms().values()))
        engine.update(0.0)
        after = np.sqrt(sum(norm**2 for norm in engine.norms().values()))
        assert after == pytest.approx(min(total, 0.5), abs=1e-4)
        engine.close()


def test_what_guessing_costs_by_hand(tiny) -> None:
    """Classes 0, 0, 1, 2 seen: 1.5 log 2. Soft targets count by their shares; without labels it is 0."""
    z = np.zeros((4, 2, 4, 4), dtype=np.float32)
    engine = Engine(optim.accelerator("fp32"), tiny.Net(), ArrayLoader(z, None), micro=0, clip=0.0)
    assert engine.guess() == 0.0
    engine._count(Batch((torch.zeros(2),), torch.tensor([0, 0]), np.arange(2)))
    assert engine.guess() == 0.0
    engine._count(Batch((torch.zeros(2),), torch.tensor([[0.0, 0.5, 0.5], [0.0, 0.5, 0.5]]), np.arange(2)))
    assert engine.guess() == pytest.approx(1.5 * np.log(2))
    engine._count(Batch((torch.zeros(2),), None, np.arange(2)))
    assert engine.guess() == pytest.approx(1.5 * np.log(2))
