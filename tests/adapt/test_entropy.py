from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy as reference

from torchgraft.adapt._entropy import entropy, entropy_of_mean, log_mean


def test_runs_from_nothing_to_log_of_the_classes() -> None:
    torch.testing.assert_close(entropy(torch.zeros(2, 4)), torch.full((2,), math.log(4)))
    assert entropy(torch.tensor([[500.0, -500, 0]])).item() == 0


def test_by_hand() -> None:
    """3/4 and 1/4, then the other way round: each row knows something, the mean nothing."""
    logits = torch.tensor([[0.75, 0.25], [0.25, 0.75]]).log()
    expected = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    torch.testing.assert_close(entropy(logits), torch.full((2,), expected))
    assert entropy_of_mean(logits).item() == pytest.approx(math.log(2))


def test_is_scipy_s() -> None:
    logits = np.random.default_rng(0).normal(size=(9, 5)) * 3
    p = softmax(logits, axis=1)
    given = torch.from_numpy(logits)
    np.testing.assert_allclose(entropy(given), reference(p, axis=1), rtol=1e-5)
    assert entropy_of_mean(given).item() == pytest.approx(reference(p.mean(0)), rel=1e-5)
    np.testing.assert_allclose(log_mean(given), np.log(p.mean(0)), rtol=1e-5)


def test_gradients_stay_finite_where_a_probability_is_zero() -> None:
    logits = torch.tensor([[300.0, 0, -300], [300, 0, -300]], requires_grad=True)
    (entropy(logits).sum() + entropy_of_mean(logits)).backward()
    assert torch.isfinite(logits.grad).all()
