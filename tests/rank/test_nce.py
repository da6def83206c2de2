from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score

from torchgraft.rank import Evidence, nce


def given(z: np.ndarray, y: np.ndarray, n_classes: int, groups: int) -> Evidence:
    """Samples whose most probable group is `z`."""
    source = np.full((len(y), groups), 0.5 / groups) + 0.5 * np.eye(groups)[z]
    return Evidence(z=np.ones((len(y), 1), dtype=np.float32), y=y, n_classes=n_classes, source=source)


def test_hand_worked():
    """z = 0 meets the labels 0, 0, 1 and z = 2 meets 1: 3/4 (2/3 log 2/3 + 1/3 log 1/3) + 1/4 log 1; z = 1 is empty."""
    expected = 0.75 * (2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert nce.score(given(np.array([0, 0, 0, 2]), np.array([0, 0, 1, 1]), 2, 3)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_is_mutual_information_minus_the_entropy_of_the_labels(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, 300)
    z = np.where(rng.random(300) < 0.6, y, rng.integers(0, 11, 300))
    expected = mutual_info_score(y, z) - entropy(np.bincount(y))
    assert nce.score(given(z, y, 4, 11)) == pytest.approx(expected, abs=1e-12)


def test_the_ends_of_the_range():
    y = np.array([0, 1, 2, 3] * 5)
    assert nce.score(given(y, y, 4, 6)) == 0.0
    assert nce.score(given(np.zeros(20, dtype=int), y, 4, 6)) == pytest.approx(-math.log(4), abs=1e-12)


def test_names_of_groups_and_empty_classes_change_nothing(evidence):
    asked = evidence(n=150, source=8)
    turned = Evidence(z=asked.z, y=asked.y + 2, n_classes=9, source=asked.source[:, ::-1])
    assert nce.score(turned) == pytest.approx(nce.score(asked), abs=1e-12)
    assert -math.log(4) <= nce.score(asked) < 0


def test_without_source_it_is_not_defined(evidence):
    assert math.isnan(nce.score(evidence()))
    assert nce.SOURCE
