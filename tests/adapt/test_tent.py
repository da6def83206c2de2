from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy
from torch import nn

from torchgraft.adapt import Net, adapt, adapt_network, tent
from torchgraft.core.errors import DataError
from torchgraft.model import LinearHead
from torchgraft.train.loader import ArrayLoader


@pytest.fixture(scope="module")
def plain(shift):
    return adapt(
        "source_only", shift.xs, shift.ys, shift.xt, n_classes=3, options={"width": 32, "epochs": 12, "batch": 48}
    )


@pytest.fixture
def deep() -> Net:
    """BatchNorm below and above, and dropout."""
    torch.manual_seed(0)
    return Net.fresh(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5)), 5, 3, bottleneck=4)


def test_runs_from_certain_to_uniform() -> None:
    assert tent.tent(1e3 * torch.eye(3)).item() == 0
    assert tent.tent(torch.zeros(4, 3)).item() == pytest.approx(math.log(3))


def test_by_hand() -> None:
    """(3/4, 1/4) and (1, 0)."""
    logits = torch.tensor([[math.log(3), 0], [200.0, 0]])
    assert tent.tent(logits).item() == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / 2)


def test_is_scipy_s_entropy() -> None:
    logits = np.random.default_rng(0).normal(size=(9, 5))
    assert tent.tent(torch.from_numpy(logits)).item() == pytest.approx(entropy(softmax(logits, 1), axis=1).mean())


def test_only_gamma_and_beta_train_and_only_batch_norm_is_in_training_mode(deep) -> None:
    step = tent.build(deep, tent.Options())
    trained = {id(p) for group in step.groups() for p in group.params}
    norms = (deep.network[1], deep.bottleneck[1])
    assert trained == {id(p) for layer in norms for p in layer.parameters()}
    assert {(group.rate, group.decay) for group in step.groups()} == {(1.0, 0.0)}
    step.train()
    assert step.training
    assert {part for part in deep.modules() if part.training} == set(norms)
    step.eval()
    assert not any(part.training for part in step.modules())


def test_the_rest_stays_the_same_bits(deep, shift) -> None:
    found = adapt_network(
        "tent", nn.Identity(), 5, None, ArrayLoader(shift.xt, None), n_classes=3, start=deep,
        options={"batch": 40, "rate": 0.1},
    )  # fmt: skip
    assert found.history.steps == 4
    before, after = deep.state_dict(), found.net.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    both = {f"{layer}.1.{name}" for layer in ("network", "bottleneck") for name in ("weight", "bias")}
    assert {name for name in changed if name.rpartition(".")[2] in ("weight", "bias")} == both


def test_what_it_starts_from_is_measured_before_anything_changes(shift, plain) -> None:
    found = adapt("tent", None, None, shift.xt, n_classes=3, start=plain.net)
    np.testing.assert_allclose(found.target_logits[0], plain.logits, atol=1e-5)
    assert (found.logits.argmax(1) == shift.yt).mean() > (plain.logits.argmax(1) == shift.yt).mean() + 0.1
    np.testing.assert_allclose(found.head.logits(shift.xt), found.logits, atol=1e-4)


def test_a_stream_is_the_authors_procedure(deep, shift) -> None:
    """Adam with its usual betas on gamma and beta, logits from before each update."""
    torch.manual_seed(0)
    with torch.no_grad():
        deep.head.weight.mul_(10)
    reference = copy.deepcopy(deep).eval()
    reference.requires_grad_(False)
    norms = [reference.network[1], reference.bottleneck[1]]
    params = [p.requires_grad_(True) for layer in norms for p in layer.train().parameters()]
    adam = torch.optim.Adam(params, lr=1e-3)
    stream = tent.Stream(deep)
    for some in np.array_split(shift.xt, 3):
        x = torch.from_numpy(some)
        expected = reference.logits((x,))
        p = expected.softmax(1)
        adam.zero_grad()
        (-(p * p.log()).sum(1).mean()).backward()
        adam.step()
        torch.testing.assert_close(stream((x,)), expected.detach(), atol=1e-5, rtol=1e-4)


def test_a_stream_brings_entropy_down_and_can_be_reset(deep, shift) -> None:
    before = copy.deepcopy(deep.state_dict())
    x = (torch.from_numpy(shift.xt),)
    stream = tent.Stream(deep, tent.Options(rate=0.05))
    first = stream(x)
    for _ in range(10):
        last = stream(x)
    assert tent.tent(last) < tent.tent(first)
    assert not first.requires_grad
    stream.reset()
    torch.testing.assert_close(stream(x), first)
    assert all(torch.equal(before[name], tensor) for name, tensor in deep.state_dict().items()), "it has its own copy"


def test_one_sample_alone_is_predicted_and_changes_nothing(deep, shift) -> None:
    stream = tent.Stream(deep)
    x = (torch.from_numpy(shift.xt[:1]),)
    before = copy.deepcopy(stream.net.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(stream(x), deep.eval().logits(x))
    assert all(torch.equal(before[name], tensor) for name, tensor in stream.net.state_dict().items())


def test_a_sample_that_is_not_finite_spoils_no_weight(deep, shift) -> None:
    stream = tent.Stream(deep)
    x = shift.xt.copy()
    x[3] = np.nan
    spoilt = stream((torch.from_numpy(x),))
    assert torch.isfinite(spoilt).all(dim=1).sum() == len(x) - 1, "the others are predicted"
    assert all(torch.isfinite(p).all() for p in stream.net.parameters())
    assert torch.isfinite(stream((torch.from_numpy(shift.xt),))).all()
    assert torch.isfinite(stream((torch.from_numpy(shift.xt[:1]),))).all(), "nor a running statistic"


def test_a_network_without_batch_norm_is_refused(shift) -> None:
    head = LinearHead(np.zeros((3, 6)), np.zeros(3))
    with pytest.raises(DataError, match="tent trains BatchNorm alone, and this network has none that may move"):
        adapt("tent", None, None, shift.xt, n_classes=3, start=head)
    with pytest.raises(DataError, match="tent trains BatchNorm alone"):
        tent.Stream(Net.of_head(head))
