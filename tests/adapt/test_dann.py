from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from torchgraft.adapt import adapt, dann
from torchgraft.adapt._adversary import reversal_weight


def test_is_log_2_on_equal_domains_for_one_that_knows_nothing(two) -> None:
    z, _ = two
    assert dann.dann(z, z, lambda x: x.sum(1, keepdim=True) * 0, 1.0).item() == pytest.approx(math.log(2))


def test_by_hand() -> None:
    """D(z) = sigmoid(z): the source at log 3 is told 3/4, the target at 0 told 1/2; slopes are D - 1 and D, halved."""
    z_s, z_t = torch.tensor([[math.log(3)]], requires_grad=True), torch.zeros(1, 1, requires_grad=True)
    loss = dann.dann(z_s, z_t, nn.Identity(), 0.5)
    assert loss.item() == pytest.approx((-math.log(0.75) - math.log(0.5)) / 2, rel=1e-5)
    loss.backward()
    assert z_s.grad.item() == pytest.approx(-0.5 * (0.75 - 1) / 2)
    assert z_t.grad.item() == pytest.approx(-0.5 * 0.5 / 2)


def test_the_gradient_is_that_of_two_players(net, batch) -> None:
    """The discriminator's is that of its own loss, the network's that of cross entropy minus weight times it."""
    step = dann.build(net, dann.Options(hidden=16, trade_off=1.0))
    other = copy.deepcopy(step)
    step(batch, 0.07).backward()

    passed = other.passed(batch)
    told = other.discriminator(torch.cat([passed.z_s, passed.z_t])).squeeze(1)
    truth = torch.cat([torch.ones(10), torch.zeros(8)])
    weight = torch.cat([torch.full((10,), 1 / 20), torch.full((8,), 1 / 16)])
    adversary = nn.functional.binary_cross_entropy_with_logits(told, truth, weight, reduction="sum")
    of_discriminator = torch.autograd.grad(adversary, list(other.discriminator.parameters()), retain_graph=True)
    objective = other.supervised(passed) - reversal_weight(0.07) * adversary
    of_net = torch.autograd.grad(objective, list(other.net.parameters()))
    for p, expected in zip(step.discriminator.parameters(), of_discriminator, strict=True):
        torch.testing.assert_close(p.grad, expected, atol=1e-6, rtol=1e-4)
    for p, expected in zip(step.net.parameters(), of_net, strict=True):
        torch.testing.assert_close(p.grad, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("epochs", [2, 5])
def test_the_weight_runs_over_the_planned_steps(shift, quick, monkeypatch, epochs: int) -> None:
    """Trap: with a fixed number of iterations a short training would end at a weight of 0.46."""
    seen: list[float] = []

    def noted(progress: float, **more: float) -> float:
        seen.append(reversal_weight(progress, **more))
        return seen[-1]

    monkeypatch.setattr(dann, "reversal_weight", noted)
    options = quick | {"epochs": epochs, "hidden": 8}
    found = adapt("dann", shift.xs, shift.ys, shift.xt, n_classes=3, options=options)
    steps = found.history.steps
    assert len(seen) == steps
    assert seen == pytest.approx([math.tanh(5 * i / steps) for i in range(steps)])
    assert seen[0] == 0
    assert seen[-1] > 0.99


def test_is_better_than_the_source_alone_where_the_target_is_moved(shift, quick) -> None:
    plain, found = (
        adapt(name, shift.xs, shift.ys, shift.xt, n_classes=3, options=quick | more)
        for name, more in (("source_only", {}), ("dann", {"hidden": 16, "epochs": 20}))
    )
    assert (found.logits.argmax(1) == shift.yt).mean() > (plain.logits.argmax(1) == shift.yt).mean() + 0.1
