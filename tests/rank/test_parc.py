from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from torchgraft.features.mapping import PCA
from torchgraft.rank import Evidence, parc
from torchgraft.rank.parc import score


def dense(z: np.ndarray, y: np.ndarray, c: int) -> float:
    """With both correlation matrices written out, and scipy's Spearman."""
    projected = PCA.fit(z, k=32).transform(z).astype(np.float64)
    projected = (projected - projected.mean(axis=0)) / projected.std(axis=0)
    pairs = np.triu_indices(len(y), 1)
    return 100 * spearmanr(1 - np.corrcoef(projected)[pairs], (1 - np.corrcoef(np.eye(c)[y]))[pairs].round(9)).statistic


@pytest.mark.parametrize(("n", "d"), [(90, 8), (120, 50), (30, 60)])
def test_is_the_formula(evidence, n, d):
    given = evidence(n, d)
    assert score(given) == pytest.approx(dense(given.z, given.y, 4), abs=0.05)


def test_hand_worked():
    """Rows are (a, 0), (-a, 0), (0, a), (0, -a) when whitened: less their mean, (1, -1) times 1, -1, -1, 1.

    Correlations are 1 or -1, and labels are given so that they say the same.
    """
    z = np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]], dtype=np.float32)
    given = Evidence(z=z, y=np.array([0, 1, 1, 0]), n_classes=2)
    assert score(given) == pytest.approx(100)
    # one label turned: of 6 pairs, 3 alike, of which 1 is near; ranks 1.5 (near, twice) and 4.5: phi of the 2 x 2 table
    turned = Evidence(z=z, y=np.array([0, 1, 1, 1]), n_classes=2)
    assert score(turned) == pytest.approx(100 * np.corrcoef([0, 0, 1, 1, 1, 1], [0, 1, 0, 0, 1, 1])[0, 1], abs=1e-6)


def test_scale_and_shift_do_not_matter(evidence):
    given = evidence(100, 20)
    moved = Evidence(z=30 * given.z + 2, y=given.y, n_classes=4)
    assert score(moved) == pytest.approx(score(given), abs=0.01)


def test_better_features_score_higher(evidence):
    scores = [score(evidence(200, 10, gap=gap)) for gap in (0.0, 1.0, 4.0)]
    assert abs(scores[0]) < 10
    assert scores == sorted(scores)


def test_many_samples_are_drawn_from(evidence, monkeypatch):
    given = evidence(400, 6)
    whole = score(given)
    monkeypatch.setattr(parc, "SAMPLES", 150)
    drawn = [score(Evidence(z=given.z, y=given.y, n_classes=4, seed=seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert np.mean(drawn) == pytest.approx(whole, abs=10)


@pytest.mark.parametrize("y", [[0, 0, 0], [0, 1, 2]])
def test_not_defined_without_pairs_of_both_kinds(y):
    z = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    assert np.isnan(score(Evidence(z=z, y=np.array(y), n_classes=3)))


def test_not_defined_below_rank_two():
    y = np.arange(6) % 2
    for z in (np.ones((6, 3)), np.arange(6.0)[:, None] * [1, 2, 3]):
        assert np.isnan(score(Evidence(z=z.astype(np.float32), y=y, n_classes=2)))
