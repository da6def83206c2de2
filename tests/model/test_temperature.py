from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from torchgraft.model import as_sure_as


@pytest.mark.parametrize("t", [0.4, 1.0, 10.0])
def test_the_temperature_that_made_the_probabilities_is_found(t: float) -> None:
    logits = np.random.default_rng(0).normal(size=(50, 4))
    assert as_sure_as(logits, softmax(logits / t, axis=1)) == pytest.approx(t, rel=1e-3)


def test_by_hand() -> None:
    """Logits log 4 and 0 say 0.8; to say 2/3 they have to be log 2 and 0: T = 2."""
    assert as_sure_as(np.array([[np.log(4.0), 0.0]]), np.array([[2 / 3, 1 / 3]])) == pytest.approx(2.0, rel=1e-3)


def test_other_answers_make_it_timid() -> None:
    logits = np.array([[3.0, 0.0], [3.0, 0.0]])
    same, split = np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([[0.9, 0.1], [0.1, 0.9]])
    assert as_sure_as(logits, split) > 20 * as_sure_as(logits, same)
