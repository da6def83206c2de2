from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft.adapt import Net, adabn, adapt, adapt_network
from torchgraft.core.errors import DataError
from torchgraft.model import LinearHead
from torchgraft.train.loader import ArrayLoader


@pytest.fixture(scope="module")
def plain(shift):
    return adapt(
        "source_only", shift.xs, shift.ys, shift.xt, n_classes=3, options={"width": 32, "epochs": 12, "batch": 48}
    )


def test_the_prior_by_hand() -> None:
    """30 samples of the source at 2 and 10 of the target at 6."""
    assert adabn.blend(torch.tensor(2.0), torch.tensor(6.0), 10, 30.0).item() == pytest.approx(3)
    one, other = torch.randn(5), torch.randn(5)
    torch.testing.assert_close(adabn.blend(one, other, 10, 0.0), other)
    assert torch.equal(adabn.blend(one, one, 7, 3.0), one)


def test_on_data_moved_and_stretched_nothing_is_lost(shift, plain) -> None:
    """BatchNorm after a linear layer can't see that a + b x came in place of x once its statistics are those of it."""
    at_home = adapt("adabn", None, None, shift.xs, n_classes=3, start=plain.net)
    moved = adapt("adabn", None, None, 3 * shift.xs + 5, n_classes=3, start=plain.net)
    np.testing.assert_allclose(moved.logits, at_home.logits, atol=2e-3)
    assert (plain.head.logits(3 * shift.xs + 5).argmax(1) == shift.ys).mean() < 0.7
    assert (moved.logits.argmax(1) == shift.ys).mean() > 0.9


def test_is_the_network_with_the_target_as_one_batch(shift, plain) -> None:
    """Of fewer samples than a batch of measurements, the mean and variance are those of training mode."""
    found = adapt("adabn", None, None, shift.xt, n_classes=3, start=plain.net)
    layers = copy.deepcopy(plain.net)
    with torch.no_grad():
        z = layers.bottleneck[0](torch.from_numpy(shift.xt))
    norm = found.net.bottleneck[1]
    np.testing.assert_allclose(norm.running_mean, z.mean(0), atol=1e-5)
    np.testing.assert_allclose(norm.running_var, z.var(0), rtol=1e-4)
    assert (found.logits.argmax(1) == shift.yt).mean() > (plain.logits.argmax(1) == shift.yt).mean() + 0.1


def test_weights_stay_and_nothing_is_trained(shift, plain) -> None:
    found = adapt("adabn", None, None, shift.xt, n_classes=3, start=plain.net)
    before = dict(plain.net.named_parameters())
    assert all(torch.equal(before[name], p) for name, p in found.net.named_parameters())
    assert found.history.steps == 0
    assert found.note == "adabn: nothing was trained"
    np.testing.assert_allclose(found.head.logits(shift.xt), found.logits, atol=1e-4)


def test_a_large_prior_is_the_source(shift, plain) -> None:
    found = adapt("adabn", None, None, shift.xt, n_classes=3, start=plain.net, options={"prior": 1e9})
    np.testing.assert_allclose(found.logits, plain.logits, atol=1e-3)


def test_frozen_statistics_stay_the_same_bits(shift) -> None:
    net = Net.fresh(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)), 5, 3, bottleneck=4)
    found = adapt_network(
        "adabn", nn.Identity(), 5, None, ArrayLoader(shift.xt, None), n_classes=3, start=net,
        options={"norm": "frozen", "prior": 3.0},
    )  # fmt: skip
    for name in ("running_mean", "running_var"):
        assert torch.equal(getattr(found.net.network[1], name), getattr(net.network[1], name))
        assert not torch.equal(getattr(found.net.bottleneck[1], name), getattr(net.bottleneck[1], name))


def test_a_network_without_batch_norm_is_refused(shift) -> None:
    with pytest.raises(DataError, match="statistics of BatchNorm, and this network has none that may move"):
        adapt("adabn", None, None, shift.xt, n_classes=3, start=LinearHead(np.zeros((3, 6)), np.zeros(3)))
