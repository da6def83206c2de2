from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from torchgraft.adapt import adapt, dan, jan
from torchgraft.core.errors import OptionError


@pytest.fixture
def told() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(9, 3, generator=generator).softmax(1), torch.randn(7, 3, generator=generator).softmax(1)


def test_with_equal_predictions_it_is_dan(two) -> None:
    p = torch.tensor([[0.2, 0.8]])
    found = jan.jan(*two, p.expand(9, 2), p.expand(7, 2))
    torch.testing.assert_close(found, dan.dan(*two), rtol=1e-4, atol=1e-6)


def test_by_hand() -> None:
    """Features 0, 0 and 1, 1 as for DAN; predictions of the domains are a squared distance of 2 apart."""
    of_features = [math.exp(-1 / a) for a in (0.125, 0.25, 0.5, 1, 2)]
    across = sum(of_features) * math.exp(-2 / (2 * 0.92**2))
    p_s, p_t = torch.tensor([[1.0, 0], [1, 0]]), torch.tensor([[0.0, 1], [0, 1]])
    found = jan.jan(torch.zeros(2, 1), torch.ones(2, 1), p_s, p_t)
    assert found.item() == pytest.approx(5 + 5 - 2 * across, rel=1e-5)


def test_is_the_product_over_layers(two, told) -> None:
    z, p = (torch.cat(pair).numpy().astype(np.float64) for pair in (two, told))
    gaps, told_gaps = (((a[:, None] - a[None]) ** 2).sum(axis=2) for a in (z, p))
    kernel = sum(np.exp(-gaps / (2 * 2.0**k * gaps.mean())) for k in range(-3, 2)) * np.exp(-told_gaps / (2 * 0.92**2))
    n, m = 9, 7
    off_s, off_t = (~np.eye(size, dtype=bool) for size in (n, m))
    expected = kernel[:n, :n][off_s].mean() + kernel[n:, n:][off_t].mean() - 2 * kernel[:n, n:].mean()
    assert jan.jan(*two, *told).item() == pytest.approx(expected, rel=1e-4)


def test_predictions_have_a_gradient(two, told) -> None:
    p_t = told[1].clone().requires_grad_(True)
    jan.jan(*two, told[0], p_t).backward()
    assert p_t.grad.abs().sum() > 0


def test_is_better_than_the_source_alone_where_the_target_is_moved(shift, quick) -> None:
    plain, found = (
        adapt(name, shift.xs, shift.ys, shift.xt, n_classes=3, options=quick) for name in ("source_only", "jan")
    )
    assert (found.logits.argmax(1) == shift.yt).mean() > (plain.logits.argmax(1) == shift.yt).mean() + 0.1


def test_the_bandwidth_is_checked() -> None:
    with pytest.raises(OptionError, match="sigma expects"):
        jan.Options(sigma=0.0)
