"""Scores of a graft on labelled samples, and of two on the same."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from torchgraft import backbones
from torchgraft.core.errors import DataError
from torchgraft.data import Samples
from torchgraft.evaluate import score
from torchgraft.features.mapping import Identity
from torchgraft.model import Graft, LinearHead, Part, Tuned, load
from torchgraft.serve import compare, evaluate, held_out


def _samples(x: np.ndarray, labels: list[str], classes: tuple[str, ...], split: str = "") -> Samples:
    return Samples(
        modality="array",
        ids=tuple(map(str, range(len(x)))),
        x=x.astype(np.float32),
        y=np.array([classes.index(label) if label else -1 for label in labels], dtype=np.int64),
        classes=classes,
        split=np.full(len(x), split, dtype="<U5"),
        root=Path("made"),
    )


@pytest.fixture
def pets() -> Samples:
    """Four samples of which the third is a dog that looks like a cat; the data lists its classes in another order."""
    x = np.array([[2.0, 0], [0, 2], [3, 0], [0, 1]])
    return _samples(x, ["cat", "dog", "dog", "dog"], ("bird", "dog", "cat"))


def test_scores_by_hand(numbers: Graft, pets: Samples) -> None:
    scores, failed = evaluate(numbers, pets)
    assert scores["accuracy"]["value"] == 0.75
    assert scores["confusion"] == [[1, 0], [1, 2]]
    assert failed == ()
    assert scores == score(np.array([0, 1, 1, 1]), numbers.predict(pets.x).probabilities, ("cat", "dog"))


def test_a_better_graft_is_compared_sample_by_sample(numbers: Graft, pets: Samples) -> None:
    head = LinearHead(np.array([[0.0, 0.0], [5.0, 0.0]]), np.array([0.0, -12.5]))  # a cat where x_0 > 2.5
    better = Graft(parts=(Part("array", Identity()),), head=head, classes=("dog", "cat"), modality="array", method="x")
    pets = replace(pets, x=np.array([[2.7, 0], [0, 2], [2.4, 0], [0, 1]], dtype=np.float32))
    report, _ = compare(numbers, better, pets)
    assert report["a"]["accuracy"]["value"] == 0.75
    assert report["b"]["accuracy"]["value"] == 1.0
    assert report["paired"]["accuracy"]["value"] == 0.25
    assert (report["paired"]["fixed"], report["paired"]["broken"]) == (1, 0)
    assert report["paired"]["gained"] == [{"class": "dog", "fixed": 1, "broken": 0}]


def test_a_tuned_graft_is_compared_with_the_one_it_came_from(
    photos: Graft, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tuned weights swap red and blue, so that what was right becomes wrong; saved and loaded first."""
    base = backbones.load("test/mean")
    fresh = replace(base, build=lambda: copy.deepcopy(base.build()))  # as real backbones do
    monkeypatch.setattr(backbones, "load", lambda name: fresh)
    weights = {"weight": np.eye(3, dtype=np.float32)[::-1].copy()[:, :, None, None]}
    own = Tuned(base="test/mean", revision="mean-1", arrays=weights)
    about = {**photos.backbones["test/mean"], "name": own.name, "base": own.base, "revision": own.digest}
    swapped = replace(photos, parts=(Part(own.name, Identity()),), tuned={own.name: own}, backbones={own.name: about})
    swapped.save(tmp_path / "swapped")
    paths = [album / "a.png", album / "deep/b.png", album / "deep/er/c.jpg"]
    samples = Samples(
        modality="image",
        ids=tuple(map(str, paths)),
        x=paths,
        y=np.array([0, 1, 0]),
        classes=("red", "blue"),
        split=np.array([""] * 3),
        root=album,
    )
    report, _ = compare(load(tmp_path / "swapped"), photos, samples)
    assert (report["a"]["accuracy"]["value"], report["b"]["accuracy"]["value"]) == (0.0, 1.0)
    assert (report["paired"]["fixed"], report["paired"]["broken"]) == (3, 0)
    assert [row["class"] for row in report["paired"]["gained"]] == ["red", "blue"]
    assert not report["paired"]["lost"]


def test_grafts_of_other_classes_are_not_compared(numbers: Graft, pets: Samples) -> None:
    with pytest.raises(DataError, match="Only the first knows: dog; only the second: wolf"):
        compare(numbers, replace(numbers, classes=("cat", "wolf")), pets)


def test_unknown_labels_all_named_with_near_misses(numbers: Graft) -> None:
    samples = _samples(np.zeros((3, 2)), ["cats", "dog", "eel"], ("cats", "dog", "eel"))
    with pytest.raises(DataError, match=r"'cats' Did you mean 'cat'\?; 'eel'\. It knows: cat, dog"):
        evaluate(numbers, samples)


def test_another_modality_is_said_before_its_labels(numbers: Graft, pets: Samples) -> None:
    with pytest.raises(DataError, match=r"fitted on array samples, got text from"):
        evaluate(numbers, replace(pets, modality="text", x=["a"] * len(pets)))


def test_unlabelled_samples_are_refused(numbers: Graft) -> None:
    with pytest.raises(DataError, match="1 of 2 samples have no label"):
        evaluate(numbers, _samples(np.zeros((2, 2)), ["cat", ""], ("cat",)))
    with pytest.raises(DataError, match="there is no sample"):
        evaluate(numbers, _samples(np.zeros((0, 2)), [], ("cat",)))


def test_not_one_readable_photo(photos: Graft, album: Path) -> None:
    samples = Samples(
        modality="image",
        ids=("broken.jpg",),
        x=[album / "broken.jpg"],
        y=np.zeros(1, dtype=np.int64),
        classes=("red",),
        split=np.array([""]),
        root=album,
    )
    with pytest.raises(DataError, match="not one of 1 samples could be read"):
        evaluate(photos, samples)


def test_which_part_is_evaluated() -> None:
    names = ("cat",)
    train, val, test = (
        _samples(np.zeros((n, 2)), ["cat"] * n, names, s) for n, s in ((3, "train"), (2, "val"), (1, "test"))
    )

    def joined(*parts: Samples) -> Samples:
        return replace(
            parts[0],
            ids=tuple(f"{i}{k}" for k, part in enumerate(parts) for i in part.ids),
            x=np.concatenate([part.x for part in parts]),
            y=np.concatenate([part.y for part in parts]),
            split=np.concatenate([part.split for part in parts]),
        )

    every = joined(train, val, test)
    assert [
        (len(part), name) for part, name in (held_out(every), held_out(every, "train"), held_out(every, "all"))
    ] == [
        (1, "test"),
        (3, "train"),
        (6, "all"),
    ]
    assert held_out(joined(train, val))[1] == "val"
    assert held_out(train)[1] == "all"
    with pytest.raises(DataError, match=r"no part called 'tset'\. Known: train, all"):
        held_out(train, "tset")
