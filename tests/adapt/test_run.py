from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft.adapt import AdaptOptions, DomainNet, adapt, adapt_network, dan
from torchgraft.core import registry
from torchgraft.core.errors import DataError, OptionError, UnknownName
from torchgraft.model import LinearHead, MlpHead
from torchgraft.train.loader import ArrayLoader, Subset
from torchgraft.train.step import Batch


def run(shift, options, method="dan", **more):
    return adapt(method, shift.xs, shift.ys, shift.xt, n_classes=3, options=options, **more)


def test_gives_everything_by_epoch(shift, quick) -> None:
    found = run(shift, quick | {"epochs": 3})
    assert found.target_logits.shape == (4, 129, 3)
    assert found.source_logits.shape == (4, len(found.source_rows), 3)
    assert len(found.source_rows) == 12
    assert np.bincount(shift.ys[found.source_rows]).tolist() == [4, 4, 4]
    assert found.kept == 3
    np.testing.assert_array_equal(found.logits, found.target_logits[3])
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert isinstance(found.head, MlpHead)
    np.testing.assert_allclose(found.head.logits(shift.xt), found.logits, atol=1e-4)
    last = found.history.legs[-1]
    held = found.source_logits[3].argmax(1) == shift.ys[found.source_rows]
    assert last["source_accuracy"] == pytest.approx(held.mean())
    assert "epoch 3 of 3, the last" in found.note
    assert not found.net.training


def test_the_same_call_gives_the_same_bits_and_leaves_the_generator_alone(shift, quick) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (run(shift, quick | {"epochs": 2}, "dann", seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.target_logits, two.target_logits)
    assert (one.target_logits != other.target_logits).any()
    assert torch.equal(before, torch.get_rng_state())


def test_a_score_says_which_epoch_is_kept(shift, quick) -> None:
    seen: list[tuple[tuple[int, ...], float]] = []

    def third(probabilities: np.ndarray, accuracy: float) -> float:
        seen.append((probabilities.shape, accuracy))
        return 1.0 if len(seen) == 3 else 0.0

    found = run(shift, quick | {"epochs": 5}, score=third)
    assert found.kept == 3
    assert len(seen) == 5, "a fresh network before training is not judged"
    assert {shape for shape, _ in seen} == {(129, 3)}
    assert all(0 <= accuracy <= 1 for _, accuracy in seen)
    np.testing.assert_allclose(found.head.logits(shift.xt), found.target_logits[3], atol=1e-4)


def test_a_rejected_epoch_is_not_kept(shift, quick) -> None:
    scores = iter([5.0, -math.inf, math.nan])
    assert run(shift, quick | {"epochs": 3}, score=lambda p, accuracy: next(scores)).kept == 1
    assert run(shift, quick | {"epochs": 3}, score=lambda p, accuracy: math.nan).kept == 1


def test_what_it_started_from_is_judged_too(shift, quick) -> None:
    first = run(shift, quick | {"epochs": 4}, "source_only")
    found = run(shift, quick | {"epochs": 2}, start=first.net, score=lambda p, accuracy: -1.0)
    assert found.kept == 0
    np.testing.assert_allclose(found.logits, first.logits, atol=1e-5)
    assert found.net is not first.net


def test_starts_from_a_head(shift, quick) -> None:
    head = LinearHead(np.random.default_rng(0).normal(size=(3, 6)), np.zeros(3))
    found = run(shift, quick | {"epochs": 1}, start=head)
    np.testing.assert_allclose(found.target_logits[0], head.logits(shift.xt), atol=1e-4)
    assert isinstance(found.head, LinearHead)
    with pytest.raises(DataError, match="`start` expects 5 features and 3 classes, got data of 6 and 3"):
        run(shift, quick, start=LinearHead(np.zeros((3, 5)), np.zeros(3)))


def test_held_out_rows_can_be_named(shift, quick) -> None:
    rows = np.array([7, 3, 100])
    found = run(shift, quick | {"epochs": 1}, validate=rows)
    assert found.source_rows.tolist() == [3, 7, 100]
    none = run(shift, quick | {"epochs": 1}, validate=np.array([], dtype=int), score=lambda p, a: float(math.isnan(a)))
    assert none.source_logits.shape == (2, 0, 3)
    assert none.kept == 1
    assert "source_accuracy" not in none.history.legs[-1]
    with pytest.raises(DataError, match="validate expects positions of the source's 120 samples, got 500"):
        run(shift, quick, validate=np.array([500]))


def test_stops_when_the_time_is_up(shift, quick) -> None:
    found = run(shift, quick, deadline=time.monotonic() - 1)
    assert found.history.steps == 0
    assert found.note == "dan: nothing was trained: the budget is spent"
    assert found.target_logits.shape == (1, 129, 3)


def test_plans_enough_updates_where_no_epochs_are_asked(shift, quick) -> None:
    del quick["epochs"]
    found = run(shift, quick | {"batch": 200, "rate": 1e-4}, "source_only")
    assert found.history.phases[0]["epochs"] == 40, "2 updates an epoch: the most epochs there are"


def test_an_adversary_s_rising_loss_is_no_explosion(shift, quick) -> None:
    found = run(shift, quick | {"epochs": 4, "hidden": 16, "high": 10.0, "batch": 8}, "dann")
    assert found.history.repairs == []


def test_labels_of_the_target_change_nothing(shift, quick) -> None:
    options = quick | {"epochs": 1}
    source = ArrayLoader(shift.xs, shift.ys, classes=3)
    one, other = (
        adapt_network("cdan", nn.Identity(), 6, source, ArrayLoader(shift.xt, y, classes=3), n_classes=3,
                      options=options | {"hidden": 8})
        for y in (None, shift.yt)
    )  # fmt: skip
    np.testing.assert_array_equal(one.target_logits, other.target_logits)


class Photos:
    """Photos B x 1 x 4 x 4 that are augmented with noise."""

    def __init__(self, x: np.ndarray, y: np.ndarray | None) -> None:
        self.inner = ArrayLoader(x, y, classes=2)
        self.plan = self.inner.plan

    def __len__(self) -> int:
        return len(self.inner)

    def load(self, rows, generator):
        batch = self.inner.load(rows, generator)
        if generator is None:
            return batch
        (x,) = batch.inputs
        return Batch((x + 0.01 * torch.randn(x.shape, generator=generator),), batch.y, rows)


def test_goes_end_to_end_through_a_network(quick) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = (rng.normal(size=(40, 1, 4, 4)) + 2 * y[:, None, None, None]).astype(np.float32)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = adapt_network(
        "dan", network, 16, Photos(x, y), Photos(x + 1, None), n_classes=2,
        options=quick | {"epochs": 4, "norm": "frozen"},
    )  # fmt: skip
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items()), "a copy is trained"
    tuned = found.net.network.state_dict()
    assert not torch.equal(before["0.weight"], tuned["0.weight"])
    assert torch.equal(before["1.running_mean"], tuned["1.running_mean"]), "trap: statistics of a frozen BatchNorm"
    assert found.net.bottleneck[1].running_mean.abs().sum() > 0
    with torch.no_grad():
        z = found.net.network(torch.from_numpy(x + 1)).numpy()
    np.testing.assert_allclose(found.head.logits(z), found.logits, atol=1e-4)


class Texts(ArrayLoader):
    """Ids and mask of unlike lengths in both domains."""

    def load(self, rows, generator):
        batch = super().load(rows, generator)
        (ids,) = batch.inputs
        return Batch((ids, (ids > 0).long()), batch.y, rows)


class Bag(nn.Module):
    """The mean embedding of what the mask shows."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 5)

    def forward(self, ids, mask):
        return (self.table(ids) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def test_texts_of_unlike_length_are_adapted(quick) -> None:
    rng = np.random.default_rng(0)
    source, target = rng.integers(1, 9, size=(30, 7)), rng.integers(1, 9, size=(24, 4))
    found = adapt_network(
        "jan", Bag(), 5, Texts(source, np.arange(30) % 2, classes=2), Texts(target, None), n_classes=2,
        options=quick | {"epochs": 2},
    )  # fmt: skip
    assert np.isfinite(found.logits).all()
    assert found.logits.shape == (24, 2)


class Adrift(DomainNet):
    """Takes no source, trains nothing; says what it was given."""

    def begin(self, domains) -> None:
        super().begin(domains)
        with torch.no_grad():
            self.net.head.bias.copy_(torch.tensor([float(len(domains)), 0, 0]))

    def groups(self):
        return []


def test_a_method_may_need_no_source_and_train_nothing(shift, quick, monkeypatch) -> None:
    class Entry:
        Options, SOURCE, build = AdaptOptions, False, Adrift

    monkeypatch.setattr(registry, "get", lambda room, name: Entry)
    with pytest.raises(DataError, match="free has no source data to learn from: give a fitted network or head"):
        adapt("free", None, None, shift.xt, n_classes=3, options=quick)
    start = LinearHead(np.zeros((3, 6)), np.zeros(3))
    found = adapt("free", None, None, shift.xt, n_classes=3, options=quick, start=start)
    assert found.history.phases == []
    np.testing.assert_allclose(found.logits, np.tile([129.0, 0, 0], (129, 1)))
    assert found.note == "free: nothing was trained"


def test_a_subset_of_the_source_can_be_given(shift, quick) -> None:
    source = Subset(ArrayLoader(shift.xs, shift.ys, classes=3), np.arange(60, 120))
    found = adapt_network(
        "dan", nn.Identity(), 6, source, ArrayLoader(shift.xt, None), n_classes=3, options=quick | {"epochs": 1}
    )
    assert (found.source_rows >= 60).all()
    assert len(found.source_rows) == 6


@pytest.mark.parametrize("name", registry.names("adapt"))
def test_every_method_keeps_the_contract(name: str) -> None:
    entry = registry.get("adapt", name)
    assert issubclass(entry.Options, AdaptOptions)
    assert isinstance(entry.SOURCE, bool)
    assert callable(entry.build)
    assert registry.describe("adapt")[name]


def test_what_cannot_be_used_is_said_at_once(shift) -> None:
    xs, ys, xt = shift.xs, shift.ys, shift.xt
    with pytest.raises(UnknownName, match="Did you mean 'dann'"):
        adapt("dannn", xs, ys, xt, n_classes=3)
    with pytest.raises(OptionError, match="dan: no option 'hiden'"):
        adapt("dan", xs, ys, xt, n_classes=3, options={"hiden": 3})
    broken = xt.copy()
    broken[3, 2] = np.nan
    with pytest.raises(DataError, match="source_z expects at least 2 samples, got 1; target_z has NaN .* 1 of 129"):
        adapt("dan", xs[:1], ys[:1], broken, n_classes=3)
    with pytest.raises(DataError, match="D = 5 and D = 6; ys expects class indices from 0 to 1, got 0 to 2"):
        adapt("dan", xs[:, :5], ys, xt, n_classes=2)
    with pytest.raises(DataError, match="learns from labelled source data"):
        adapt("dan", None, None, xt, n_classes=3)
    with pytest.raises(DataError, match="ys expects 120 class indices"):
        adapt("dan", xs, None, xt, n_classes=3)
    with pytest.raises(OptionError, match="dan expects its own Options"):
        adapt("dan", xs, ys, xt, n_classes=3, options=registry.get("adapt", "dann").Options())
    assert adapt("dan", xs, ys, xt, n_classes=3, options=dan.Options(epochs=1, width=4)).history.steps
