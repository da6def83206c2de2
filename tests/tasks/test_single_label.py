"""The task of one label from samples to a graft: splits, folds, calibration, the threshold, what it assumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from torchgraft.core import registry
from torchgraft.core.errors import DataError
from torchgraft.data import Samples
from torchgraft.evaluate import abstain, fit_temperature
from torchgraft.model import Tuned
from torchgraft.tasks import single_label
from torchgraft.tune.base import Problem


@pytest.fixture
def samples() -> Samples:
    """90 rows of 6 features in three classes that overlap a little; the last 12 are test."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    return Samples(
        modality="array",
        ids=tuple(map(str, range(90))),
        x=(rng.normal(size=(90, 6)) + 1.5 * np.eye(6)[y]).astype(np.float32),
        y=y,
        classes=("a", "b", "c"),
        split=np.array([""] * 78 + ["test"] * 12),
        root=Path("made"),
    )


def _sources(samples: Samples, **about: Any) -> SimpleNamespace:
    return SimpleNamespace(samples=samples, blocks={"array": samples.x}, about=about)


def _entry(problem: Problem, name: str = "lda", **options: Any) -> SimpleNamespace:
    method = registry.get("tune", name)
    given = method.Options(**options)
    candidate = method.fit(problem, given)
    rung = SimpleNamespace(method=name, options=given)
    return SimpleNamespace(candidate=candidate, measured=single_label.measure(problem, candidate), rung=rung)


def test_the_problem_holds_all_but_the_test_part(samples: Samples) -> None:
    samples = single_label.prepare(samples, seed=0, test=True)
    problem, rows = single_label.make_problem(_sources(samples), 4)
    assert rows.tolist() == list(range(78))
    np.testing.assert_array_equal(problem.blocks["array"], samples.x[:78])
    assert sorted(problem.held_out.tolist()) == list(range(78))
    assert (problem.seed, problem.task, problem.masks) == (4, "single_label", None)


def test_samples_called_val_are_the_held_out_ones(samples: Samples) -> None:
    called = np.array(["train"] * 60 + ["val"] * 18 + ["test"] * 12)
    problem, _ = single_label.make_problem(_sources(replace(samples, split=called)), 0)
    assert len(problem.folds) == 1
    assert problem.held_out.tolist() == list(range(60, 78))


def test_one_class_is_too_few(samples: Samples) -> None:
    with pytest.raises(DataError, match="has one class only to learn from"):
        single_label.prepare(replace(samples, y=np.where(samples.split == "test", 1, 0)), seed=0, test=True)


def test_answers_are_calibrated_on_held_out_rows(samples: Samples) -> None:
    problem, _ = single_label.make_problem(_sources(samples), 0)
    entry = _entry(problem)
    candidate, measured = entry.candidate, entry.measured
    y = problem.y[candidate.rows]
    assert measured.temperature == fit_temperature(y, candidate.logits)
    np.testing.assert_allclose(measured.probabilities, softmax(candidate.logits / measured.temperature, axis=1))
    assert measured.metrics["accuracy"].value == (candidate.logits.argmax(1) == y).mean()
    assert measured.metrics[single_label.PRIMARY].value > 0.7


def test_a_graft_carries_what_was_measured(samples: Samples) -> None:
    problem, _ = single_label.make_problem(_sources(samples), 0)
    entry = _entry(problem)
    graft = single_label.make_graft(entry, problem, _sources(samples, other={"name": "other"}))
    assert (graft.classes, graft.modality, graft.method) == (("a", "b", "c"), "array", "lda")
    assert graft.temperature == entry.measured.temperature
    assert graft.threshold == abstain(entry.measured.y, entry.measured.probabilities)["threshold"]
    assert dict(graft.backbones) == {}, "what it does not use is not named"
    np.testing.assert_allclose(graft.prior, np.bincount(problem.y) / 78)
    z = entry.candidate.parts[0].mapping.transform(samples.x)
    found = entry.candidate.head.logits(z) / graft.temperature
    np.testing.assert_allclose(graft.predict(samples.x).probabilities, softmax(found, axis=1), rtol=1e-5)


def test_a_tuned_backbone_is_named_with_its_base(samples: Samples) -> None:
    problem, _ = single_label.make_problem(_sources(samples), 0)
    entry = _entry(problem)
    own = Tuned(base="some/net", revision="1", arrays={"w": np.ones(2, dtype=np.float32)})
    part = replace(entry.candidate.parts[0], source=own.name)
    entry.candidate = replace(entry.candidate, parts=(part,), tuned={own.name: own})
    about = {"name": "some/net", "revision": "1", "licence": "MIT"}
    graft = single_label.make_graft(entry, problem, _sources(samples, **{"some/net": about}))
    assert graft.backbones == {own.name: {**about, "name": own.name, "base": "some/net", "revision": own.digest}}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.75, 0.25, 0.0]),
        ({"class_weight": "balanced"}, [0.5, 0.5, 0.0]),
        ({"logit_adjustment": 1.0}, [0.5, 0.5, 0.0]),
        ({"logit_adjustment": 0.5}, [3**0.5 / (1 + 3**0.5), 1 / (1 + 3**0.5), 0.0]),
    ],
)
def test_the_frequencies_that_probabilities_assume_by_hand(samples: Samples, options: dict, expected: list) -> None:
    """Counts of 9, 3 and 0, and what training did to them."""
    problem, _ = single_label.make_problem(_sources(samples), 0)
    entry = _entry(problem)
    rare = replace(problem, y=np.array([0] * 9 + [1] * 3))
    entry.rung.options = SimpleNamespace(**options)
    graft = single_label.make_graft(entry, rare, _sources(samples))
    np.testing.assert_allclose(graft.prior, expected)
