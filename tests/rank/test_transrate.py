from __future__ import annotations

import numpy as np
import pytest

from torchgraft.rank import Evidence
from torchgraft.rank.transrate import score


def dense(z: np.ndarray, y: np.ndarray) -> float:
    """By singular values of the scaled features, class by class."""
    z = z.astype(np.float64) - z.mean(axis=0, dtype=np.float64)
    z /= np.sqrt(np.trace(z.T @ z) / len(z))

    def rate(rows: np.ndarray) -> float:
        return 0.5 * np.log1p(np.linalg.svd(rows, compute_uv=False) ** 2 / (len(rows) * 1e-4)).sum()

    return rate(z) - sum((y == c).mean() * rate(z[y == c]) for c in np.unique(y))


@pytest.mark.parametrize(("n", "d"), [(150, 10), (40, 90)])
def test_is_the_formula(evidence, n, d):
    given = evidence(n, d)
    assert score(given) == pytest.approx(dense(given.z, given.y), rel=1e-8)


def test_equals_a_mean_over_classes_of_one_size(evidence):
    """The authors' code: unscaled, the classes' sum divided by C."""
    given = evidence(120, 6)
    z = given.z.astype(np.float64) - given.z.mean(axis=0, dtype=np.float64)
    z /= np.sqrt((z**2).sum() / 120)

    def rate(rows: np.ndarray) -> float:
        return 0.5 * np.linalg.slogdet(np.eye(6) + rows.T @ rows / (len(rows) * 1e-4))[1]

    authors = rate(z) - sum(rate(z[given.y == c]) for c in range(4)) / 4
    assert score(given) == pytest.approx(authors, rel=1e-9)


def test_hand_worked():
    """z = -1, 1 is scaled already; each class alone has the same spread about 0, so nothing is won.

    z = (1, 0), (-1, 0), (0, 1), (0, -1): one class a direction. All: S = I / 2; each: 1 along its own.
    """
    line = Evidence(z=np.array([[-1.0], [1]], dtype=np.float32), y=np.array([0, 1]), n_classes=2)
    assert score(line) == pytest.approx(0, abs=1e-12)
    cross = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], dtype=np.float32)
    given = Evidence(z=cross, y=np.array([0, 0, 1, 1]), n_classes=2)
    assert score(given) == pytest.approx(np.log(5001) - 0.5 * np.log(10001))


@pytest.mark.parametrize(("n", "d"), [(100, 8), (30, 60)])
def test_scale_shift_rotation_and_copies_do_not_matter(evidence, n, d):
    given = evidence(n, d)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0]
    moved = Evidence(z=(40 * given.z @ turn + 2).astype(np.float32), y=given.y, n_classes=4)
    assert score(moved) == pytest.approx(score(given), rel=1e-4)
    twice = Evidence(z=np.vstack([given.z, given.z]), y=np.tile(given.y, 2), n_classes=4)
    assert score(twice) == pytest.approx(score(given), rel=1e-6)


def test_is_never_negative_and_rises_with_the_gap(evidence):
    scores = [score(evidence(200, 10, gap=gap)) for gap in (0.0, 2.0, 8.0)]
    assert scores[0] >= 0
    assert scores == sorted(scores)


def test_constant_features_and_one_class():
    z = np.ones((6, 3), dtype=np.float32)
    assert score(Evidence(z=z, y=np.arange(6) % 2, n_classes=2)) == 0
    z = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    assert score(Evidence(z=z, y=np.zeros(6, dtype=np.int64), n_classes=2)) == pytest.approx(0, abs=1e-12)
