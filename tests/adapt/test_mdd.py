from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn import functional

from torchgraft.adapt import adapt, mdd
from torchgraft.adapt._adversary import reversal_weight


def test_an_adversary_that_knows_nothing() -> None:
    """Uniform over C classes: log((C - 1) / C) - gamma log C."""
    z = torch.randn(5, 4)
    found = mdd.mdd(z, torch.zeros(5, 4), z, torch.zeros(5, 4), gamma=4.0)
    assert found.item() == pytest.approx(math.log(3 / 4) - 4 * math.log(4), rel=1e-5)


def test_by_hand() -> None:
    """The adversary gives the source's class 0.8, the target's 0.25 and 0.5; gamma is 2."""
    head_s, others_s = torch.tensor([[1.0, 0]]), torch.tensor([[0.8, 0.2]]).log()
    head_t, others_t = torch.tensor([[0.0, 1], [1, 0]]), torch.tensor([[0.75, 0.25], [0.5, 0.5]]).log()
    expected = (math.log(0.75) + math.log(0.5)) / 2 + 2 * math.log(0.8)
    assert mdd.mdd(head_s, others_s, head_t, others_t, gamma=2.0).item() == pytest.approx(expected, rel=1e-5)


def test_is_the_usual_form_where_that_can_be_computed() -> None:
    generator = torch.Generator().manual_seed(0)
    head_s, others_s, head_t, others_t = torch.randn(4, 9, 5, generator=generator)
    y_s, y_t = head_s.argmax(1), head_t.argmax(1)
    of_target = -functional.nll_loss(torch.log(1 - torch.softmax(others_t, dim=1)), y_t)
    expected = of_target - 4 * functional.cross_entropy(others_s, y_s)
    torch.testing.assert_close(mdd.mdd(head_s, others_s, head_t, others_t), expected)


def test_stays_exact_where_the_adversary_is_sure() -> None:
    """1 - p is e^-60 to all digits of a float32: no offset hides it, and the slope is -1."""
    logits = torch.tensor([[60.0, 0]], requires_grad=True)
    found = mdd.log_missing(logits, torch.tensor([0]))
    assert found.item() == pytest.approx(-60)
    found.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-1.0, 1]]))


def test_the_gradient_is_that_of_two_players(net, batch) -> None:
    """The adversary ascends the discrepancy, the features descend it at the schedule's weight, the head neither."""
    step = mdd.build(net, mdd.Options(hidden=16)).eval()
    other = copy.deepcopy(step)
    step.transfer(step.passed(batch), 0.2).backward()

    passed = other.passed(batch)
    found = mdd.mdd(passed.logits_s, other.other(passed.z_s), passed.logits_t, other.other(passed.z_t))
    of_adversary = torch.autograd.grad(-found, list(other.other.parameters()), retain_graph=True)
    of_features = torch.autograd.grad(reversal_weight(0.2, high=0.1) * found, list(other.net.bottleneck.parameters()))
    trained = [*step.other.parameters(), *step.net.bottleneck.parameters()]
    for p, expected in zip(trained, [*of_adversary, *of_features], strict=True):
        torch.testing.assert_close(p.grad, expected, atol=1e-6, rtol=1e-4)
    assert net.head.weight.grad is None


def test_is_better_than_the_source_alone_where_the_target_is_moved(shift, quick) -> None:
    plain, found = (
        adapt(name, shift.xs, shift.ys, shift.xt, n_classes=3, options=quick | more)
        for name, more in (("source_only", {}), ("mdd", {"hidden": 16, "epochs": 20}))
    )
    assert (found.logits.argmax(1) == shift.yt).mean() > (plain.logits.argmax(1) == shift.yt).mean() + 0.1
