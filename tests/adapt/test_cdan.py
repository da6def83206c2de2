from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft.adapt import Net, adapt, cdan, dann


def test_with_one_class_and_no_weights_it_is_dann(two) -> None:
    z, p = torch.cat(two), torch.ones(16, 1)
    torch.manual_seed(0)
    tell = nn.Linear(4, 1)
    torch.testing.assert_close(cdan.cdan(cdan.outer(z, p), 9, tell, 1.0), dann.dann(*two, tell, 1.0))
    equal = cdan.cdan(cdan.outer(z, p), 9, tell, 1.0, torch.full((16,), 1.7))
    torch.testing.assert_close(equal, dann.dann(*two, tell, 1.0))


def test_the_product_by_hand() -> None:
    found = cdan.outer(torch.tensor([[2.0, 3.0]]), torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.75, 1.5, 2.25]]))
    z, p = torch.randn(5, 4), torch.randn(5, 3).softmax(1)
    np.testing.assert_allclose(cdan.outer(z, p), np.stack([np.outer(b, a).ravel() for a, b in zip(z, p, strict=True)]))


def test_certain_predictions_count_twice_as_much_at_most() -> None:
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    torch.testing.assert_close(cdan.certainty(p), torch.tensor([2.0, 1.5]))


def test_weights_are_brought_to_mean_1_in_each_domain() -> None:
    """Told 0.8, 0.5 and 0.25 with certainties 2, 1 and 5: weights 4/3, 2/3 and 1."""
    told = torch.tensor([[0.8], [0.5], [0.25]]).logit()
    found = cdan.cdan(told, 2, nn.Identity(), 1.0, torch.tensor([2.0, 1.0, 5.0]))
    expected = ((-4 / 3 * math.log(0.8) - 2 / 3 * math.log(0.5)) / 2 - math.log(0.75)) / 2
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_the_random_map_keeps_inner_products() -> None:
    torch.manual_seed(0)
    z, p = torch.randn(6, 20), torch.randn(6, 5).softmax(1)
    drawn = cdan.RandomMap(20, 5, 20_000)(z, p)
    exact = cdan.outer(z, p)
    torch.testing.assert_close(drawn @ drawn.T, exact @ exact.T, atol=0.6, rtol=0.1)


def test_the_map_is_random_where_the_product_is_too_large() -> None:
    small, large = (
        cdan.build(Net.fresh(nn.Identity(), 4, n, bottleneck=64), cdan.Options(hidden=8, projected=32))
        for n in (64, 65)
    )
    assert small.map is None
    assert small.discriminator[0].in_features == 64 * 64
    assert large.discriminator[0].in_features == 32
    fixed = set(large.map.state_dict())
    assert fixed == {"of_features", "of_classes"}, "saved with the rest"
    assert not list(large.map.parameters())


def test_predictions_are_given_without_their_gradient(net, batch) -> None:
    """The head learns from the source's classes alone: the adversary's gradient stops at the probabilities."""
    step = cdan.build(net, cdan.Options(hidden=8))
    step.transfer(step.passed(batch), 1.0).backward()
    assert net.head.weight.grad is None
    assert net.bottleneck[0].weight.grad.abs().sum() > 0


def test_without_entropy_all_samples_count_alike(net, batch) -> None:
    plain = cdan.build(net, cdan.Options(hidden=8, entropy=False)).eval()
    passed = plain.passed(batch)
    p = torch.cat([passed.logits_s, passed.logits_t]).softmax(1)
    told = plain.discriminator(cdan.outer(torch.cat([passed.z_s, passed.z_t]), p)).squeeze(1)
    losses = nn.functional.softplus(torch.cat([-told[:10], told[10:]]))
    expected = (losses[:10].mean() + losses[10:].mean()) / 2
    torch.testing.assert_close(plain.transfer(passed, 0.5), expected)


def test_is_better_than_the_source_alone_where_the_target_is_moved(shift, quick) -> None:
    plain, found = (
        adapt(name, shift.xs, shift.ys, shift.xt, n_classes=3, options=quick | more)
        for name, more in (("source_only", {}), ("cdan", {"hidden": 16, "epochs": 20}))
    )
    assert (found.logits.argmax(1) == shift.yt).mean() > (plain.logits.argmax(1) == shift.yt).mean() + 0.1
