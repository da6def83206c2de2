"""The learning curve's refits: on fewer rows, and never on the held-out ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from torchgraft.core import registry
from torchgraft.data import folds
from torchgraft.tasks import single_label
from torchgraft.tasks._labels import refit
from torchgraft.tune import lda
from torchgraft.tune.base import Problem


@pytest.fixture
def problem() -> Problem:
    """90 rows of 6 features in three classes that overlap a little."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    z = (rng.normal(size=(90, 6)) + 1.5 * np.eye(6)[y]).astype(np.float32)
    return Problem(blocks={"array": z}, y=y, classes=("a", "b", "c"), folds=folds(y, seed=0))


def _entry(problem: Problem, name: str, options: Any = None) -> SimpleNamespace:
    method = registry.get("tune", name)
    options = options or method.Options()
    candidate = method.fit(problem, options)
    measured = single_label.measure(problem, candidate)
    rung = SimpleNamespace(method=name, options=options)
    return SimpleNamespace(rung=rung, candidate=candidate, measured=measured)


def test_fitted_again_on_all_rows_it_is_right_where_it_was(problem: Problem) -> None:
    for name in ("majority", "lda"):
        entry = _entry(problem, name)
        right = refit(problem, entry, np.arange(90))
        np.testing.assert_array_equal(right, entry.measured.probabilities.argmax(1) == entry.measured.y)


def test_fitted_again_on_few_rows_it_never_sees_the_held_out_ones(problem: Problem) -> None:
    one = lda.Options(source="array", shrinkages=())  # one setting: nothing is chosen on the held-out rows
    entry = _entry(problem, "lda", one)
    part = np.arange(30)
    right = refit(problem, entry, part)
    changed = problem.y.copy()
    changed[30:] = (changed[30:] + 1) % 3  # labels outside the part
    again = refit(Problem(blocks=problem.blocks, y=changed, classes=problem.classes, folds=problem.folds), entry, part)
    held_in = np.isin(problem.held_out, part)
    np.testing.assert_array_equal(right[held_in], again[held_in])


@pytest.mark.parametrize(("part", "expected"), [(np.array([0, 3, 6]), "class 0"), (np.array([], dtype=int), "nothing")])
def test_one_class_or_nothing_to_learn_from(problem: Problem, part: np.ndarray, expected: str) -> None:
    entry = _entry(problem, "lda")
    right = refit(problem, entry, part)
    assert len(right) == 90
    if expected == "nothing":
        assert not right.any()
    else:
        np.testing.assert_array_equal(right, problem.y[problem.held_out] == 0)
