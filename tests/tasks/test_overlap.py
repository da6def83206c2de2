"""What is said of held-out scenes: by hand, and on the scenes that two candidates share."""

from __future__ import annotations

import numpy as np
import pytest

from torchgraft.evaluate import overlap_summary, paired_overlap
from torchgraft.tasks._overlap import Overlap

CLASSES = ("sky", "road")


def _overlap(counts: np.ndarray, rows: np.ndarray | None = None) -> Overlap:
    rows = np.arange(len(counts)) if rows is None else rows
    return Overlap(rows=rows, counts=counts, classes=CLASSES, temperature=1.0, metrics=overlap_summary(counts))


def _right(share: float, n: int = 12) -> np.ndarray:
    """n scenes of 100 pixels of each class, of which a share is right."""
    hits = np.round(100 * share + np.arange(n) % 3 - 1).astype(int)
    return np.stack([np.array([[h, 100 - h], [100 - h, h]]) for h in hits])


def test_mistakes_are_wrong_pixels() -> None:
    counts = np.array([[[5, 1], [2, 2]], [[0, 4], [0, 6]]])
    assert _overlap(counts).mistakes == 1 + 2 + 4
    assert _overlap(_right(1.0, 1) * 0 + np.eye(2, dtype=int) * 7).mistakes == 0


def test_what_is_saved_by_hand() -> None:
    """IoU of 3 right of 4 in each of two classes: 3 / 5; of all right: 1."""
    one, other = _overlap(np.array([[[4, 0], [0, 4]]])), _overlap(np.array([[[3, 1], [1, 3]]]))
    assert one.saves(other) == pytest.approx(0.4)
    assert other.saves(one) == pytest.approx(-0.4)
    assert one.saves(one) == 0


def test_the_better_one_beats_and_equals_do_not() -> None:
    good, poor = _overlap(_right(0.9)), _overlap(_right(0.7))
    assert good.beats(poor)
    assert not poor.beats(good)
    assert not good.beats(good)
    assert good.against(poor, seed=3) == paired_overlap(poor.counts, good.counts, CLASSES, seed=3)
    assert good.against(poor)["miou"]["value"] == pytest.approx(good.saves(poor))


def test_only_shared_scenes_count() -> None:
    """The second knows scenes 2 to 7, in another order; what the first says of the others is left out."""
    counts = _right(0.8, 8)
    order = np.array([7, 5, 6, 2, 3, 4])
    better = _right(0.95, 8)
    part = _overlap(better[order], rows=order)
    whole = _overlap(np.concatenate([counts[:2] * 0 + [[0, 100], [100, 0]], counts[2:]]))
    expected = paired_overlap(counts[2:], better[2:], CLASSES)
    assert part.against(whole) == expected
    assert part.saves(whole) == pytest.approx(expected["miou"]["value"])
