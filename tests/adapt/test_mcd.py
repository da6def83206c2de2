from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch.nn import functional

from torchgraft.adapt import adapt, mcd


def test_two_heads_that_agree_have_no_discrepancy() -> None:
    logits = torch.randn(5, 4)
    assert mcd.discrepancy(logits, logits + 3).item() == pytest.approx(0, abs=1e-7)
    assert mcd.imbalance(torch.zeros(6, 4)).item() == pytest.approx(math.log(4))


def test_by_hand() -> None:
    """(3/4, 1/4) against (1/4, 3/4), and two that are the same: 1/2 in half of the entries; means 5/8 and 3/8."""
    p = torch.tensor([[0.75, 0.25], [0.5, 0.5]])
    assert mcd.discrepancy(p.log(), p.flip(1).log()).item() == pytest.approx(0.25)
    assert mcd.imbalance(p.log()).item() == pytest.approx(-(math.log(5 / 8) + math.log(3 / 8)) / 2)


def test_is_the_formula_in_numpy() -> None:
    one, other = np.random.default_rng(0).normal(size=(2, 9, 4)) * 3
    p, q = softmax(one, axis=1), softmax(other, axis=1)
    found = mcd.discrepancy(torch.from_numpy(one), torch.from_numpy(other))
    assert found.item() == pytest.approx(np.abs(p - q).mean(), rel=1e-5)
    assert mcd.imbalance(torch.from_numpy(one)).item() == pytest.approx(-np.log(p.mean(0)).mean(), rel=1e-5)


def test_heads_open_what_features_close_k_times_as_fast(net, batch) -> None:
    """The gradients of the paper's steps B and C, each with the other player fixed."""
    step = mcd.build(net, mcd.Options(turns=3.0, balance=0.0))
    other = copy.deepcopy(step)
    step(batch, 0.5).backward()

    passed = other.passed(batch)
    heads = [*other.net.head.parameters(), *other.other.parameters()]
    below = list(other.net.bottleneck.parameters())
    crossed = sum(functional.cross_entropy(head(passed.z_s), batch.y) for head in (other.net.head, other.other))
    gap = mcd.discrepancy(other.net.head(passed.z_t), other.other(passed.z_t))
    of_heads = torch.autograd.grad(crossed - gap, heads, retain_graph=True)
    of_features = torch.autograd.grad(crossed + 3 * gap, below)
    trained = [*step.net.head.parameters(), *step.other.parameters(), *step.net.bottleneck.parameters()]
    for p, expected in zip(trained, [*of_heads, *of_features], strict=True):
        torch.testing.assert_close(p.grad, expected, atol=1e-6, rtol=1e-4)


def test_the_second_head_trains_and_begins_elsewhere(net) -> None:
    step = mcd.build(net, mcd.Options())
    trained = {id(p) for group in step.groups() for p in group.params}
    assert {id(p) for p in step.other.parameters()} <= trained
    assert (step.other.weight - net.head.weight).abs().max() > 0.01


def test_is_better_than_the_source_alone_where_the_target_is_moved(shift, quick) -> None:
    plain, found = (
        adapt(name, shift.xs, shift.ys, shift.xt, n_classes=3, options=quick) for name in ("source_only", "mcd")
    )
    assert (found.logits.argmax(1) == shift.yt).mean() > (plain.logits.argmax(1) == shift.yt).mean() + 0.1
