from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import entropy

from torchgraft.rank import Evidence, leep, nce


def given(source: np.ndarray, y: np.ndarray, n_classes: int) -> Evidence:
    return Evidence(z=np.ones((len(y), 1), dtype=np.float32), y=y, n_classes=n_classes, source=source)


def test_hand_worked():
    """Mass of the groups 1.1 and 0.9; P(y=0 | z) = (0.8 + 0.2) / 1.1 and (0.2 + 0.8) / ... by the labels 0, 0, 1."""
    theta = np.array([[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]])
    y = np.array([0, 0, 1])
    first, second = 1.3 / 1.4, 0.7 / 1.6  # P(0 | z)
    likelihoods = [0.8 * first + 0.2 * second, 0.5 * first + 0.5 * second, 0.1 * (1 - first) + 0.9 * (1 - second)]
    assert leep.score(given(theta, y, 2)) == pytest.approx(np.log(likelihoods).mean(), abs=1e-12)


def as_the_paper_states(theta: np.ndarray, y: np.ndarray) -> float:
    """Loops over samples, labels and groups: joint, conditional, expected empirical predictor, its mean log."""
    n, groups = theta.shape
    joint = [[sum(theta[i, z] for i in range(n) if y[i] == c) / n for z in range(groups)] for c in range(y.max() + 1)]
    mass = [sum(row[z] for row in joint) for z in range(groups)]
    logs = []
    for i in range(n):
        logs.append(math.log(sum(joint[y[i]][z] / mass[z] * theta[i, z] for z in range(groups) if mass[z])))
    return sum(logs) / n


@pytest.mark.parametrize("seed", range(3))
def test_is_the_formula_of_the_paper(evidence, seed):
    asked = evidence(n=40, c=3, seed=seed, source=7)
    assert leep.score(asked) == pytest.approx(as_the_paper_states(asked.source, asked.y), abs=1e-12)


def test_sure_probabilities_make_it_nce(evidence):
    asked = evidence(n=200, source=9)
    sure = np.eye(9)[asked.source.argmax(axis=1)]
    hard = given(sure, asked.y, asked.n_classes)
    assert leep.score(hard) == pytest.approx(nce.score(hard), abs=1e-12)


def test_the_paper_s_bound_from_below(evidence):
    """Each sample has at least the term of its most probable z, under P of the soft counts."""
    asked = evidence(n=200, source=9)
    theta = asked.source
    most = theta.argmax(axis=1)
    given_z = np.stack([theta[asked.y == c].sum(axis=0) for c in range(asked.n_classes)]) / theta.sum(axis=0)
    below = np.log(theta.max(axis=1) * given_z[asked.y, most]).mean()
    assert below <= leep.score(asked) <= 0


def test_what_says_nothing_scores_the_entropy_of_the_labels(evidence):
    y = np.repeat([0, 1, 2], [50, 30, 20])
    flat = given(np.tile([0.7, 0.3, 0.0], (100, 1)), y, 3)  # the last group has no mass
    assert leep.score(flat) == pytest.approx(-entropy([0.5, 0.3, 0.2]), abs=1e-12)


def test_what_says_all_scores_zero_and_empty_classes_change_nothing():
    y = np.array([0, 2, 0, 2])
    assert leep.score(given(np.eye(3)[y], y, 5)) == 0.0


def test_sharper_sources_score_higher_and_order_does_not_matter(evidence):
    asked = evidence(n=150, source=8)
    sharper = asked.source**3 / (asked.source**3).sum(axis=1, keepdims=True)
    assert leep.score(given(sharper, asked.y, asked.n_classes)) > leep.score(asked)
    mixed = np.random.default_rng(0).permutation(150)
    again = given(asked.source[mixed][:, ::-1], asked.y[mixed], asked.n_classes)
    assert leep.score(again) == pytest.approx(leep.score(asked), abs=1e-12)


def test_probabilities_in_float32_and_without_source(evidence):
    asked = evidence(source=6)
    single = given(asked.source.astype(np.float32), asked.y, asked.n_classes)
    assert leep.score(single) == pytest.approx(leep.score(asked), abs=1e-6)
    assert math.isnan(leep.score(evidence()))
    assert leep.SOURCE
