from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import normalize

from torchgraft.align import Domains, l2


def test_lengths_are_one_and_directions_stay(domains):
    aligned = l2.fit(domains, l2.Options())
    np.testing.assert_allclose(aligned.zs, normalize(domains.xs), atol=1e-6)
    np.testing.assert_allclose(aligned.zt, normalize(domains.xt), atol=1e-6)


def test_hand_worked():
    x = np.array([[3.0, 4], [0, 0]])
    np.testing.assert_allclose(l2.fit(Domains(xs=x, xt=x), l2.Options()).zt, [[0.6, 0.8], [0, 0]], atol=1e-7)


def test_rows_of_length_one_stay(same):
    once = l2.fit(same, l2.Options())
    twice = l2.fit(Domains(xs=once.zs, xt=once.zt), l2.Options())
    assert twice.zs == pytest.approx(once.zs, abs=1e-6)
