from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from torchgraft.adapt._adversary import discriminator, domain_loss, reversal_weight, reverse_gradient


def test_the_value_stays_and_the_gradient_turns() -> None:
    z = torch.tensor([[1.0, -2.0]], requires_grad=True)
    turned = reverse_gradient(z, 0.3)
    torch.testing.assert_close(turned, z)
    (turned * torch.tensor([[5.0, 7.0]])).sum().backward()
    torch.testing.assert_close(z.grad, torch.tensor([[-1.5, -2.1]]))


def test_the_adversary_descends_what_the_features_ascend() -> None:
    z = torch.randn(6, 4, requires_grad=True)
    layer = torch.nn.Linear(4, 1)
    told = layer(reverse_gradient(z, 0.5)).squeeze(1)
    domain_loss(told[:3], told[3:]).backward()
    for_features, for_layer = z.grad.clone(), layer.weight.grad.clone()
    z.grad = None
    layer.zero_grad()
    told = layer(z).squeeze(1)
    domain_loss(told[:3], told[3:]).backward()
    torch.testing.assert_close(for_features, -0.5 * z.grad)
    torch.testing.assert_close(for_layer, layer.weight.grad)


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.0), (0.1, 0.4621172), (0.5, 0.9866143), (1.0, 0.9999092)])
def test_the_schedule_is_the_paper_s(progress: float, weight: float) -> None:
    """2 / (1 + exp(-10 p)) - 1, which is tanh(5 p)."""
    assert reversal_weight(progress) == pytest.approx(weight, rel=1e-6)
    assert reversal_weight(progress, high=0.1, slope=4) == pytest.approx(0.1 * math.tanh(2 * progress))


def test_the_loss_by_hand() -> None:
    """Told 0.8 and 0.5 of the source, 0.25 of the target."""
    told_s, told_t = torch.tensor([0.8, 0.5]).logit(), torch.tensor([0.25]).logit()
    expected = ((-math.log(0.8) - math.log(0.5)) / 2 - math.log(0.75)) / 2
    assert domain_loss(told_s, told_t).item() == pytest.approx(expected, rel=1e-5)
    weighted = ((-0.5 * math.log(0.8) - 1.5 * math.log(0.5)) / 2 - math.log(0.75)) / 2
    found = domain_loss(told_s, told_t, torch.tensor([0.5, 1.5]), torch.ones(1))
    assert found.item() == pytest.approx(weighted, rel=1e-5)


def test_is_log_2_where_nothing_can_be_told() -> None:
    assert domain_loss(torch.zeros(5), torch.zeros(9)).item() == pytest.approx(math.log(2))


def test_is_the_usual_cross_entropy_for_equal_numbers() -> None:
    told = torch.randn(8)
    truth = torch.cat([torch.ones(4), torch.zeros(4)])
    expected = functional.binary_cross_entropy(told.sigmoid(), truth)
    torch.testing.assert_close(domain_loss(told[:4], told[4:]), expected)


def test_the_discriminator_has_the_papers_layers() -> None:
    made = discriminator(7, 16)
    assert made(torch.randn(5, 7)).shape == (5, 1)
    assert sum(isinstance(layer, torch.nn.BatchNorm1d) for layer in made) == 2
    assert [layer.out_features for layer in made if isinstance(layer, torch.nn.Linear)] == [16, 16, 1]
