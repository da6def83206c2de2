from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import DataError
from torchgraft.data._assemble import assemble, sort_labels
from torchgraft.data.base import Samples


def made(labels: list[str | None], split: list[str] | None = None) -> Samples:
    names = [str(i) for i in range(len(labels))]
    return assemble(modality="text", ids=names, x=names, labels=labels, split=split or [""] * len(labels), root=Path())


def test_labels_become_indices_into_sorted_classes() -> None:
    samples = made(["b", "a", "b"])
    assert samples.classes == ("a", "b")
    assert samples.y.tolist() == [1, 0, 1]
    assert samples.y.dtype == np.int64
    assert samples.labelled
    assert samples.findings == ()


def test_numbers_are_sorted_by_value() -> None:
    assert sort_labels({"10", "9", "-1", "2.5"}) == ("-1", "2.5", "9", "10")
    assert sort_labels({"10", "9", "x"}) == ("10", "9", "x")
    assert sort_labels({"nan", "1"}) == ("1", "nan")


def test_whole_numbers_that_became_floats() -> None:
    samples = made(["1.0", "0.0", None, "1"], ["train", "train", "train", "test"])
    assert samples.classes == ("0", "1")
    assert samples.y.tolist() == [1, 0, -1, 1]
    assert made(["1.0", "2.5"]).classes == ("1.0", "2.5")


def test_nan_among_numbers_is_no_class() -> None:
    samples = made(["1.0", "NaN", "0.0"])
    assert samples.classes == ("0", "1")
    assert samples.y.tolist() == [1, -1, 0]
    assert made(["nan", "naan"]).classes == ("naan", "nan")  # a grandmother is a class
    assert made(["nan", "nan"]).classes == ("nan",)


def test_every_label_keeps_every_sample_and_makes_classes_of_all() -> None:
    """What a target of adaptation is read with: whatever the labels are, the same samples."""
    split = ["train", "train", "test", "test", "test"]
    rows = [
        assemble(modality="text", ids=list("abcde"), x=list("abcde"), labels=labels, split=split, root=Path(),
                 every_label=True)
        for labels in (["x", "y", "x", "z", None], ["x", "x", "x", "y", "y"], [None] * 5)
    ]  # fmt: skip
    assert [one.ids for one in rows] == [tuple("abcde")] * 3
    assert rows[0].classes == ("x", "y", "z") and rows[0].y.tolist() == [0, 1, 0, 2, -1]
    assert [one.kind for one in rows[0].findings] == ["unlabelled"]


def test_missing_labels_are_reported() -> None:
    samples = made(["a", None, "b"])
    assert samples.y.tolist() == [0, -1, 1]
    assert not samples.labelled
    (finding,) = samples.findings
    assert (finding.kind, finding.count, finding.examples) == ("unlabelled", 1, ("1",))


def test_no_label_at_all_is_not_worth_a_finding() -> None:
    samples = made([None, None])
    assert samples.classes == ()
    assert samples.findings == ()


def test_labels_that_only_test_has_are_left_out_of_it() -> None:
    samples = made(["a", "b", "c", "a", "c"], ["train", "val", "test", "test", "test"])
    assert samples.classes == ("a", "b")
    assert samples.ids == ("0", "1", "3")
    (finding,) = samples.findings
    assert (finding.kind, finding.count, finding.action) == ("unknown_label", 2, "left out of test")
    assert "(c)" in finding.message


def test_a_test_set_alone_keeps_its_labels() -> None:
    assert made(["a", "b"], ["test", "test"]).classes == ("a", "b")


def test_nothing() -> None:
    with pytest.raises(DataError, match="holds no samples"):
        made([])
