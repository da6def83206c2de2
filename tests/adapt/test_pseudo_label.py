from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from torchgraft.adapt import DomainBatch, Net, Target, adapt, adapt_network, pseudo_label
from torchgraft.train.loader import ArrayLoader


def test_nothing_certain_costs_nothing() -> None:
    logits = torch.zeros(4, 3)
    assert pseudo_label.pseudo_label(logits, torch.randn(4, 3), threshold=0.9).item() == 0


def test_by_hand() -> None:
    """0.95 for class 0, taught to a view that gives it 1/4; the second sample is under the threshold but counts."""
    weak = torch.tensor([[0.95, 0.05], [0.6, 0.4]]).log()
    strong = torch.tensor([[0.25, 0.75], [0.1, 0.9]]).log()
    assert pseudo_label.pseudo_label(weak, strong, threshold=0.9).item() == pytest.approx(math.log(4) / 2, rel=1e-5)
    found = pseudo_label.pseudo_label(weak, strong, threshold=0.0).item()
    assert found == pytest.approx((math.log(4) + math.log(10)) / 2, rel=1e-5)


def test_is_cross_entropy_with_what_is_certain_left_in() -> None:
    generator = torch.Generator().manual_seed(0)
    weak, strong = 3 * torch.randn(2, 40, 5, generator=generator)
    p, y = weak.softmax(1).max(1)
    y = torch.where(p >= 0.8, y, -1)
    expected = functional.cross_entropy(strong, y, ignore_index=-1, reduction="sum") / 40
    torch.testing.assert_close(pseudo_label.pseudo_label(weak, strong, threshold=0.8), expected)
    assert 0 < (y >= 0).sum() < 40


def test_the_label_has_no_gradient() -> None:
    weak, strong = (torch.randn(6, 3, requires_grad=True) for _ in range(2))
    pseudo_label.pseudo_label(weak, strong, threshold=0.0).backward()
    assert weak.grad is None
    assert strong.grad.abs().sum() > 0


def test_the_noise_is_in_units_of_each_feature() -> None:
    torch.manual_seed(0)
    z = torch.randn(20_000, 2) * torch.tensor([1.0, 100])
    added = pseudo_label.disturbed(z, 0.5) - z
    torch.testing.assert_close(added.std(0), 0.5 * z.std(0), rtol=0.03, atol=0)
    assert torch.equal(pseudo_label.disturbed(z, 0.0), z)
    assert torch.isfinite(pseudo_label.disturbed(z[:1], 0.5)).all()


def test_without_noise_both_views_are_one(net, batch) -> None:
    net.bottleneck[1].eval()
    step = pseudo_label.build(net, pseudo_label.Options(threshold=0.4, noise=0.0, trade_off=2.0))
    logits_s, logits_t = (net.logits(part.inputs) for part in (batch.source, batch.target))
    p, y = logits_t.softmax(1).max(1)
    losses = functional.cross_entropy(logits_t, y, reduction="none") * (p >= 0.4)
    expected = functional.cross_entropy(logits_s, batch.y) + 2 * losses.mean()
    torch.testing.assert_close(step(batch, 0.0), expected)
    assert losses.sum() > 0


def test_the_strong_view_is_taken_where_there_is_one() -> None:
    """A network of no layers: the weak view is sure of class 0, the strong one of class 1, at a cost of 20."""
    net = Net(nn.Identity(), nn.Identity(), nn.Linear(2, 2))
    with torch.no_grad():
        net.head.weight.copy_(torch.eye(2))
        net.head.bias.zero_()
    weak, strong = (torch.tensor([row] * 4) for row in ([20.0, 0], [0.0, 20]))
    source = ArrayLoader(weak.numpy(), np.zeros(4, dtype=int)).load(np.arange(4), None)
    step = pseudo_label.build(net, pseudo_label.Options(noise=0.0))
    target = Target((weak,), np.arange(4))
    assert step(DomainBatch(source, target), 0.0).item() == pytest.approx(0, abs=1e-6)
    target = Target((weak,), np.arange(4), (strong,))
    assert step(DomainBatch(source, target), 0.0).item() == pytest.approx(20, rel=1e-5)


def test_goes_through_a_network_with_a_strong_view(shift, quick) -> None:
    strong = shift.xt + 0.3 * np.random.default_rng(0).normal(size=shift.xt.shape).astype(np.float32)
    found = adapt_network(
        "pseudo_label", nn.Linear(6, 5), 5, ArrayLoader(shift.xs, shift.ys, classes=3), ArrayLoader(shift.xt, None),
        n_classes=3, strong=ArrayLoader(strong, None), options=quick | {"epochs": 2},
    )  # fmt: skip
    assert np.isfinite(found.logits).all()


def test_is_better_than_the_source_alone_where_the_target_is_moved(shift, quick) -> None:
    plain, found = (
        adapt(name, shift.xs, shift.ys, shift.xt, n_classes=3, options=quick)
        for name in ("source_only", "pseudo_label")
    )
    assert (found.logits.argmax(1) == shift.yt).mean() > (plain.logits.argmax(1) == shift.yt).mean() + 0.1
