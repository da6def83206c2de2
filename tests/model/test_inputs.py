"""Plain values as samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import DataError
from torchgraft.model import as_samples


@pytest.mark.parametrize("items", [["a.jpg", Path("b.jpg")], (Path("a.jpg"), "b.jpg"), np.array(["a.jpg", "b.jpg"])])
def test_paths(items) -> None:
    samples = as_samples(items, "image")
    assert samples.x == [Path("a.jpg"), Path("b.jpg")]
    assert samples.ids == ("a.jpg", "b.jpg")
    assert not samples.labelled
    assert (samples.y == -1).all()


def test_texts_are_numbered() -> None:
    samples = as_samples(["", "good film"], "text")
    assert samples.x == ["", "good film"]
    assert samples.ids == ("0", "1")


@pytest.mark.parametrize("items", [[[1, 2], [3, 4]], np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1, 2], [3, 4]])])
def test_numbers_become_float32(items) -> None:
    samples = as_samples(items, "array")
    assert samples.x.dtype == np.float32
    np.testing.assert_array_equal(samples.x, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("items", "modality", "message"),
    [
        ("one.jpg", "image", "a list of paths, got str"),
        (Path("one.jpg"), "image", "a list of paths, got PosixPath"),
        (None, "text", "a list of texts, got NoneType"),
        (5, "text", "a list of texts, got int"),
        (["a", 5], "text", "a list of texts, got list"),
        ([b"a"], "text", "a list of texts, got list"),
        (np.zeros((2, 3)), "text", "a list of texts, got ndarray"),
        (["a", "b"], "array", "N x D numbers, got list"),
        ([[1, 2], [3]], "array", "N x D numbers, got list"),
        (None, "array", "N x D"),
        (np.zeros(3), "array", r"got shape \(3,\), 0 not finite"),
        (np.full((1, 2), 1e300), "array", r"got shape \(1, 2\), 2 not finite"),
    ],
)
def test_what_does_not_fit_is_refused(items, modality: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_samples(items, modality)


@pytest.mark.parametrize(("items", "modality"), [([], "image"), ([], "text"), (np.zeros((0, 3)), "array")])
def test_nothing_is_no_error(items, modality: str) -> None:
    assert len(as_samples(items, modality)) == 0
