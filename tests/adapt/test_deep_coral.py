from __future__ import annotations

import numpy as np
import pytest
import torch

from torchgraft.adapt import adapt, deep_coral
from torchgraft.adapt.deep_coral import covariance


def test_a_domain_with_itself_or_moved_is_zero(two) -> None:
    z, _ = two
    assert deep_coral.deep_coral(z, z).item() == 0
    assert deep_coral.deep_coral(z, z + 5).item() == pytest.approx(0, abs=1e-9)


def test_the_scale_is_the_paper_s() -> None:
    """Trap: 1 / (4 K^2), no difference of means. Covariances diag(2, 0) and [[2, 2], [2, 2]]: 3 * 4 / 16."""
    z_s = torch.tensor([[1.0, 0], [-1, 0]])
    z_t = torch.tensor([[3.0, 3], [1, 1]])
    torch.testing.assert_close(covariance(z_s), torch.tensor([[2.0, 0], [0, 0]]))
    torch.testing.assert_close(covariance(z_t), torch.full((2, 2), 2.0))
    assert deep_coral.deep_coral(z_s, z_t).item() == pytest.approx(12 / 16)


def test_is_numpy_s_covariance(two) -> None:
    c_s, c_t = (np.cov(z.numpy(), rowvar=False) for z in two)
    expected = ((c_s - c_t) ** 2).sum() / (4 * 4**2)
    assert deep_coral.deep_coral(*two).item() == pytest.approx(expected, rel=1e-4)


def test_the_means_can_be_asked_for(net, batch) -> None:
    plain, with_means = (deep_coral.build(net, deep_coral.Options(means=means)) for means in (False, True))
    passed = plain.passed(batch)
    gap = (passed.z_s.mean(0) - passed.z_t.mean(0)).square().mean()
    torch.testing.assert_close(with_means.transfer(passed, 0.0), plain.transfer(passed, 0.0) + gap)


def test_brings_the_covariances_together(shift, quick) -> None:
    def gap(trade_off: float) -> float:
        found = adapt("deep_coral", shift.xs, shift.ys, shift.xt, n_classes=3, options=quick | {"trade_off": trade_off})
        with torch.no_grad():
            z_s, z_t = (found.net.features((torch.from_numpy(x),)) for x in (shift.xs, shift.xt))
        return deep_coral.deep_coral(z_s, z_t).item()

    assert gap(100.0) < 0.5 * gap(0.0)


def test_is_better_than_the_source_alone_where_the_target_is_moved(shift, quick) -> None:
    plain, found = (
        adapt(name, shift.xs, shift.ys, shift.xt, n_classes=3, options=quick | more)
        for name, more in (("source_only", {}), ("deep_coral", {"trade_off": 100.0, "means": True}))
    )
    assert (found.logits.argmax(1) == shift.yt).mean() > (plain.logits.argmax(1) == shift.yt).mean() + 0.1
