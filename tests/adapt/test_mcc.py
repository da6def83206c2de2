from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from torchgraft.adapt import adapt, mcc


def test_is_zero_where_all_is_certain_and_largest_where_nothing_is() -> None:
    assert mcc.mcc(1e4 * torch.eye(4)).item() == pytest.approx(0, abs=1e-6)
    assert mcc.mcc(torch.zeros(7, 4)).item() == pytest.approx(3 / 4)


def test_by_hand() -> None:
    """p = (1, 0) and (1/2, 1/2), weights 2 and 1 + 1/2 brought to 8/7 and 6/7.

    M = 8/7 [[1, 0], [0, 0]] + 6/7 [[1/4, 1/4], [1/4, 1/4]] = [[19, 3], [3, 3]] / 14: 3/22 and 3/6 of the rows.
    """
    logits = torch.tensor([[200.0, -200], [0, 0]])
    assert mcc.mcc(logits, temperature=1.0).item() == pytest.approx((3 / 22 + 1 / 2) / 2)


def test_is_the_formula_in_numpy() -> None:
    logits = np.random.default_rng(0).normal(size=(11, 4)) * 4
    p = softmax(logits / 2.5, axis=1)
    w = 1 + np.exp(-entropy(p, axis=1))
    confusion = sum(len(w) * w[b] / w.sum() * np.outer(p[b], p[b]) for b in range(11))
    confusion /= confusion.sum(axis=1, keepdims=True)
    expected = (confusion.sum() - np.trace(confusion)) / 4
    assert mcc.mcc(torch.from_numpy(logits)).item() == pytest.approx(expected, rel=1e-5)


def test_weights_have_no_gradient() -> None:
    """The slope is that of the formula with fixed weights."""
    logits = torch.randn(6, 3, dtype=torch.float32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mcc.mcc(logits, temperature=2.0).backward()
    other = logits.detach().clone().requires_grad_()
    p = torch.softmax(other / 2, dim=1)
    w = 1 + torch.exp(-torch.special.entr(p.detach()).sum(1))
    confusion = p.T @ torch.diag(6 * w / w.sum()) @ p
    confusion = confusion / confusion.sum(1, keepdim=True)
    ((confusion.sum() - confusion.trace()) / 3).backward()
    torch.testing.assert_close(logits.grad, other.grad, atol=1e-6, rtol=1e-4)


def test_a_class_that_nothing_is_predicted_as_does_no_harm() -> None:
    logits = torch.tensor([[0.0, -1e4], [0.0, -1e4]], requires_grad=True)
    loss = mcc.mcc(logits)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(logits.grad).all()


def test_only_the_target_s_predictions_count(net, batch) -> None:
    step = mcc.build(net, mcc.Options())
    passed = step.passed(batch)
    torch.testing.assert_close(step.transfer(passed, 0.3), mcc.mcc(passed.logits_t, temperature=2.5))
    assert step(batch, 0.0).item() < math.inf


def test_is_better_than_the_source_alone_where_the_target_is_moved(shift, quick) -> None:
    plain, found = (
        adapt(name, shift.xs, shift.ys, shift.xt, n_classes=3, options=quick) for name in ("source_only", "mcc")
    )
    assert (found.logits.argmax(1) == shift.yt).mean() > (plain.logits.argmax(1) == shift.yt).mean() + 0.1
