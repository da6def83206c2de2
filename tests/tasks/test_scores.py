"""Labels of the data as the graft's classes, and scores on what both of two grafts can read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import DataError
from torchgraft.data import Samples
from torchgraft.evaluate import paired, score
from torchgraft.features.mapping import Identity
from torchgraft.model import Graft, LinearHead, Part
from torchgraft.tasks._scores import compare, evaluate, labels_of


@pytest.fixture
def graft() -> Graft:
    """The larger of two numbers wins."""
    return Graft(
        parts=(Part("array", Identity()),),
        head=LinearHead(np.eye(2), np.zeros(2)),
        classes=("cat", "dog"),
        modality="array",
        method="by hand",
    )


def _samples(x: np.ndarray, y: list[int], classes: tuple[str, ...]) -> Samples:
    return Samples(
        modality="array",
        ids=tuple(map(str, range(len(x)))),
        x=np.asarray(x, dtype=np.float32),
        y=np.array(y, dtype=np.int64),
        classes=classes,
        split=np.array([""] * len(x)),
        root=Path("made"),
    )


def test_labels_are_positions_in_the_classes_of_the_graft(graft: Graft) -> None:
    samples = _samples(np.zeros((3, 2)), [1, 2, 1], ("bird", "dog", "cat"))
    assert labels_of(graft, samples).tolist() == [1, 0, 1]


def test_a_class_that_no_sample_has_may_be_unknown(graft: Graft) -> None:
    samples = _samples(np.zeros((1, 2)), [0], ("bird", "dog", "cat"))
    with pytest.raises(DataError, match="labels that the graft does not know: 'bird'"):
        labels_of(graft, samples)


def test_scores_are_those_of_the_probabilities(graft: Graft) -> None:
    x = np.array([[2.0, 0], [0, 1], [1, 0]])
    samples = _samples(x, [1, 0, 0], ("dog", "cat"))
    scores, failed = evaluate(graft, samples)
    assert scores == score(np.array([0, 1, 1]), graft.predict(x).probabilities, graft.classes)
    assert scores["accuracy"]["value"] == pytest.approx(2 / 3)
    assert failed == ()


def test_two_are_compared_though_they_name_classes_in_another_order(graft: Graft) -> None:
    x = np.array([[2.0, 0], [0, 1], [1, 0], [0, 3]])
    samples = _samples(x, [0, 1, 1, 0], ("cat", "dog"))
    turned = replace(graft, classes=("dog", "cat"), head=LinearHead(2 * np.eye(2)[::-1], np.zeros(2)))
    report, _ = compare(graft, turned, samples)
    own, others = graft.predict(x).probabilities, turned.predict(x).probabilities[:, ::-1]
    assert report["paired"] == paired(samples.y, own, others, classes=graft.classes)
    assert report["a"]["accuracy"] == report["b"]["accuracy"]
    assert report["b"] == score(samples.y, others, graft.classes)


def test_scenes_have_no_label_that_it_knows(graft: Graft) -> None:
    with pytest.raises(DataError, match="fitted on array samples, got image"):
        evaluate(graft, replace(_samples(np.zeros((1, 2)), [0], ("sky",)), modality="image"))
