from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft.core.errors import OptionError, UserError
from torchgraft.train import optim
from torchgraft.train.groups import Group
from torchgraft.train.loop import LoopOptions, train


def _groups(*params: nn.Parameter, rate: float = 1.0) -> list[Group]:
    return [Group(name=f"g{i}", params=(p,), rate=rate / (i + 1), decay=0.1) for i, p in enumerate(params)]


def test_groups_get_their_share_of_the_rate() -> None:
    p, q = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    engine = optim.optimizer("adamw", _groups(p, q), 0.5)
    assert [group["lr"] for group in engine.param_groups] == [0.5, 0.25]
    optim.set_rate(engine, 0.1)
    assert [group["lr"] for group in engine.param_groups] == [0.1, 0.05]
    assert engine.param_groups[0]["betas"] == (0.9, 0.999)


def test_sgd_by_hand() -> None:
    """Nesterov: v = 0.9 v + g, theta -= rate (g + 0.9 v), with g the gradient plus decay theta."""
    p = nn.Parameter(torch.tensor([1.0]))
    engine = optim.optimizer("sgd", _groups(p), 0.1)
    theta, v = 1.0, 0.0
    for _ in range(3):
        p.grad = torch.tensor([2.0])
        engine.step()
        g = 2.0 + 0.1 * theta
        v = 0.9 * v + g
        theta -= 0.1 * (g + 0.9 * v)
        assert p.item() == pytest.approx(theta, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: optim.optimizer("adam", [], 0.1), "adamw, sgd, got 'adam'. Did you mean 'adamw'"),
        (lambda: optim.accelerator("bf61"), "auto, fp32, bf16, fp16, got 'bf61'. Did you mean 'bf16'"),
        (lambda: optim.accelerator(tracker="tensorbord"), "Did you mean 'tensorboard'"),
    ],
)
def test_unknown_names_get_near_misses(call, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        call()


def test_norms_by_hand() -> None:
    p, q, still = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    p.grad, q.grad = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0])
    groups = [Group(name="both", params=(p, q), rate=1.0, decay=0.0), *_groups(q, still)]
    assert optim.gradient_norms(groups) == pytest.approx({"both": np.sqrt(29), "g0": 2.0})
    assert optim.gradient_norms(_groups(still)) == {}


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_moments_come_back_to_their_own_weights_in_any_layout(kind: str) -> None:
    """Weights in channels_last, moments stored contiguous: as if nothing had happened."""
    start = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    ends = []
    for interrupted in (False, True):
        p = nn.Parameter(start.clone())
        engine = optim.optimizer(kind, _groups(p), 0.1)
        for t in range(4):
            if interrupted and t == 2:
                state = engine.state_dict()
                for one in state["state"].values():
                    one |= {k: v.contiguous() for k, v in one.items() if isinstance(v, torch.Tensor)}
                engine = optim.optimizer(kind, _groups(p), 0.1)
                optim.restore(engine, state)
            p.grad = torch.randn(start.shape, generator=torch.Generator().manual_seed(t))
            p.grad = p.grad.to(memory_format=torch.channels_last)
            engine.step()
        ends.append(p.detach())
    assert torch.equal(*ends)


def test_a_restored_optimizer_shares_nothing_with_the_state_it_came_from() -> None:
    p = nn.Parameter(torch.ones(3))
    engine = optim.optimizer("adamw", _groups(p), 0.1)
    p.grad = torch.ones(3)
    engine.step()
    state = engine.state_dict()
    kept = state["state"][0]["exp_avg"].clone()
    other = optim.optimizer("adamw", _groups(p), 0.1)
    optim.restore(other, state)
    other.step()
    assert torch.equal(state["state"][0]["exp_avg"], kept)


def test_seeds_differ_where_any_number_does() -> None:
    seeds = {optim.mixed(a, b) for a in range(20) for b in range(20)}
    assert len(seeds) == 400
    assert optim.mixed(1, 23) != optim.mixed(12, 3)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert optim.mixed(1, 2) == optim.mixed(1, 2)


def test_randomness_inside_does_not_leak() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with pytest.raises(ValueError), optim.own_randomness(torch.device("cpu")):
        torch.manual_seed(99)
        raise ValueError
    assert torch.equal(torch.rand(2), expected)


def test_precision_can_change_within_a_process() -> None:
    assert optim.accelerator("bf16").mixed_precision == "bf16"
    found = optim.accelerator("fp32")
    assert (found.mixed_precision, found.num_processes) == ("no", 1)
    assert optim.from_main(found, [1.5, 2.0]) == [1.5, 2.0]


def test_training_prints_nothing(problem, tiny, capfd) -> None:
    train(tiny.Net(), [tiny.phase(epochs=1)], problem.fit, options=LoopOptions(batch=8), validate=problem.measure)
    assert capfd.readouterr() == ("", "")


def test_tensorboard_gets_curves(problem, tiny, tmp_path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    options = LoopOptions(batch=8, tracker="tensorboard", logs=str(tmp_path / "curves"))
    train(
        tiny.Net(), [tiny.phase(epochs=2)], problem.fit, options=options, validate=problem.measure,
        checkpoint=tmp_path / "fold-1.safetensors",
    )  # fmt: skip
    (events,) = (tmp_path / "curves" / "fold-1").rglob("events.out.tfevents.*")
    found = accumulator.EventAccumulator(str(events)).Reload()
    assert len(found.Scalars("loss")) == 10
    assert [one.step for one in found.Scalars("held_out_loss")] == [5, 10]
    assert Path(events).stat().st_size


@pytest.mark.parametrize("tracker", optim.TRACKERS)
def test_a_tracker_that_is_not_installed_is_named(monkeypatch, tracker: str) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(optim, "find_spec", lambda name: None if name == tracker else there(name))
    install = r"'torchgraft\[tensorboard\]'" if tracker == "tensorboard" else tracker
    with pytest.raises(UserError, match=rf"tracker {tracker} needs {tracker}\. Install it: pip install {install}\."):
        optim.accelerator(tracker=tracker)


def test_what_a_tracker_says_is_told() -> None:
    class Refusing:
        def init_trackers(self, name: str) -> None:
            raise RuntimeError(f"no store for {name}\nand much more")

    optim.begin_tracking(Refusing(), "", "run")
    with pytest.raises(UserError, match="tracker mlflow could not begin: RuntimeError: no store for run$"):
        optim.begin_tracking(Refusing(), "mlflow", "run")
