from __future__ import annotations

import pytest
import torch

from torchgraft.adapt import adapt, afn
from torchgraft.adapt._entropy import entropy


def test_the_value_is_the_squared_step_whatever_the_lengths(two) -> None:
    z, _ = two
    assert afn.afn(z).item() == pytest.approx(1, rel=1e-5)
    assert afn.afn(100 * z, step=0.5).item() == pytest.approx(0.25, rel=1e-3)


def test_the_gradient_by_hand() -> None:
    """Of (3, 4): -2 step / B along (0.6, 0.8). A feature of length 0 has none."""
    z = torch.tensor([[3.0, 4], [0, 0]], requires_grad=True)
    afn.afn(z, step=2.0).backward()
    torch.testing.assert_close(z.grad, torch.tensor([[-1.2, -1.6], [0, 0]]))


def test_a_step_of_gradient_lengthens_all_alike(two) -> None:
    """Against finite differences of the mean length, which is what the gradient is a multiple of."""
    z = two[0].double().requires_grad_()
    (slope,) = torch.autograd.grad(afn.afn(z), z)
    (of_length,) = torch.autograd.grad(z.norm(dim=1).mean(), z)
    torch.testing.assert_close(slope, -2 * of_length, atol=1e-6, rtol=1e-5)
    grown = (z - slope).norm(dim=1) - z.norm(dim=1)
    torch.testing.assert_close(grown, torch.full_like(grown, 2 / 9), atol=1e-5, rtol=1e-4)


def test_dropout_keeps_the_length() -> None:
    torch.manual_seed(0)
    z = torch.randn(1, 20_000)
    dropped = afn.drop_keeping_norm(z, 0.5)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert dropped.norm().item() == pytest.approx(z.norm().item(), rel=0.03)


def test_drops_in_training_alone(net, batch) -> None:
    step = afn.build(net, afn.Options()).train()
    passed = step.passed(batch)
    torch.testing.assert_close(passed.logits_t, net.head(passed.z_t))
    assert (passed.z_t == 0).float().mean() > (net.features(batch.target.inputs) == 0).float().mean()
    step.eval()
    torch.testing.assert_close(step.passed(batch).z_t, net.features(batch.target.inputs))


def test_entropy_can_be_asked_for(net, batch) -> None:
    plain, more = (afn.build(net, afn.Options(entropy=weight, drop=0.0)) for weight in (0.0, 0.3))
    passed = plain.passed(batch)
    expected = plain(batch, 0.0) + 0.3 * entropy(passed.logits_t).mean()
    torch.testing.assert_close(more(batch, 0.0), expected)
    torch.testing.assert_close(plain(batch, 0.0), plain.supervised(passed) + 0.05 * 2)


def test_is_better_than_the_source_alone_where_the_target_is_moved(shift, quick) -> None:
    plain, found = (
        adapt(name, shift.xs, shift.ys, shift.xt, n_classes=3, options=quick) for name in ("source_only", "afn")
    )
    assert (found.logits.argmax(1) == shift.yt).mean() > (plain.logits.argmax(1) == shift.yt).mean() + 0.1
