from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from torchgraft.core.errors import DataError, OptionError
from torchgraft.evaluate.boundary import boundary_counts, boundary_f1, boundary_score

IGNORE = 255


def split_at(column: int, width: int = 12, height: int = 5) -> np.ndarray:
    """Class 0 left of the column, class 1 from there."""
    return np.tile((np.arange(width) >= column).astype(np.int64), (height, 1))


def pixels(n: float, shape: tuple[int, int] = (5, 12)) -> float:
    """`n` pixels as a share of the diagonal."""
    return n / math.hypot(*shape)


def test_the_truth_meets_itself() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (20, 30))
    np.testing.assert_array_equal(boundary_f1(labels, labels, 4, tolerance=0.0), np.ones((4, 3)))


@pytest.mark.parametrize(("moved", "tolerance", "met"), [(1, 0, False), (1, 1, True), (2, 1, False), (2, 2, True)])
def test_a_moved_edge_is_met_within_the_tolerance(moved: int, tolerance: int, met: bool) -> None:
    found = boundary_counts(split_at(6), split_at(6 + moved), 2, tolerance=pixels(tolerance))
    np.testing.assert_array_equal(found, [[5 * met, 5, 5 * met, 5]] * 2)


def test_half_an_edge_by_hand() -> None:
    """Truth: one edge of five rows; the answer has it and another one of five rows, far from it."""
    predicted = split_at(2)
    predicted[:, 9:] = 0
    found = boundary_f1(split_at(2), predicted, 2, tolerance=0.0)
    np.testing.assert_allclose(found, [[0.5, 1, 2 / 3]] * 2)


def test_the_rim_of_the_image_is_no_boundary_and_diagonals_are_no_neighbours() -> None:
    same = np.zeros((4, 4), int)
    assert np.isnan(boundary_f1(same, same, 2)).all()
    assert not boundary_f1(split_at(6), np.zeros((5, 12), int), 2).any()
    dot = same.copy()
    dot[1, 1] = 1
    np.testing.assert_array_equal(boundary_counts(dot, dot, 2)[:, 1], [4, 1])


def test_unlabelled_pixels_have_no_outline_and_what_is_said_there_does_not_count() -> None:
    labels, rng = split_at(6), np.random.default_rng(1)
    labels[:2] = IGNORE
    predicted = split_at(6)
    predicted[:2] = rng.integers(0, 2, (2, 12))
    np.testing.assert_array_equal(boundary_counts(labels, predicted, 2, tolerance=0.0), [[3, 3, 3, 3]] * 2)
    apart = split_at(6)
    apart[:, 6] = IGNORE
    assert not boundary_counts(apart, apart, 2).any()


def test_counts_are_those_of_dilated_outlines() -> None:
    """Another way: outlines by comparing with a class's eroded mask, met by a distance transform."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, (6, 8)).repeat(6, 0).repeat(6, 1)
    predicted = np.roll(labels, (2, -1), (0, 1))
    reach = 2.25
    ours = boundary_counts(labels, predicted, 3, tolerance=reach / math.hypot(*labels.shape))
    for c in range(3):
        outlines = []
        for one in (labels, predicted):
            inner = ndimage.binary_erosion(one == c, border_value=1)
            outlines.append((one == c) & ~inner)
        true, called = outlines
        met = (true & (ndimage.distance_transform_edt(~called) <= reach)).sum()
        right = (called & (ndimage.distance_transform_edt(~true) <= reach)).sum()
        np.testing.assert_array_equal(ours[c], [met, true.sum(), right, called.sum()])


def test_the_score_is_the_mean_over_images_then_classes() -> None:
    counts = np.array([[[5, 5, 5, 5], [0, 0, 0, 0]], [[5, 10, 5, 5], [0, 4, 0, 0]], [[5, 5, 5, 10], [4, 4, 4, 4]]])
    found = boundary_score(counts, ["a", "b"], draws=300)
    first, second = (1 + 2 / 3 + 2 / 3) / 3, 1 / 2
    values = [row["f1"]["value"] for row in found["per_class"]]
    assert values == pytest.approx([first, second])
    assert found["boundary_f1"]["value"] == pytest.approx((first + second) / 2)
    assert [row["images"] for row in found["per_class"]] == [3, 2]
    for row in [found["boundary_f1"], *(row[rate] for row in found["per_class"] for rate in ("precision", "recall"))]:
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert found == boundary_score(counts, ["a", "b"], draws=300)


def test_nothing_known_is_zero_to_one() -> None:
    found = boundary_score(np.zeros((3, 2, 4), int), ["a", "b"])
    assert found["boundary_f1"] == {"value": 0.0, "low": 0.0, "high": 1.0}
    assert found["per_class"][1]["f1"] == {"value": 0.0, "low": 0.0, "high": 1.0}


def test_wrong_input_is_refused() -> None:
    with pytest.raises(DataError, match="H x W"):
        boundary_f1(np.zeros((2, 2), int), np.zeros((2, 3), int), 2)
    with pytest.raises(OptionError, match="tolerance"):
        boundary_f1(np.zeros((2, 2), int), np.zeros((2, 2), int), 2, tolerance=3)
    with pytest.raises(DataError, match="M x 2 x 4"):
        boundary_score(np.zeros((3, 1, 4), int), ["a", "b"])
