"""Ways to the target on made levels, whose shift is known."""

from __future__ import annotations

import numpy as np
import pytest

from torchgraft.data import IGNORE
from torchgraft.model import LinearHead
from torchgraft.tasks._scene_rehearsal import (
    PLAIN,
    Levels,
    Rehearsal,
    Way,
    certain,
    fitted,
    standardised,
    taught,
    weights_of,
)

D, C = 6, 3


def _drawn(rng: np.random.Generator, n: int, p: int, shift: float = 0.0, scale: float = 1.0) -> tuple:
    y = rng.integers(0, C, (n, p))
    z = (rng.normal(size=(n, p, D)) + 3 * np.eye(D)[y]) * scale + shift
    return z.astype(np.float32), y.astype(np.uint8)


@pytest.fixture
def levels() -> Levels:
    """30 scenes, plain and under the looks `far` and `further`: one channel moves, that a class was known by."""
    rng = np.random.default_rng(0)
    z, y = _drawn(rng, 30, 12 + 8)
    light = 3 * np.eye(D, dtype=np.float32)[0]
    views = {PLAIN: z, "far": z + light, "further": z + 2 * light}
    return Levels(views, y[:, :12], y[:, 12:], C, np.ones((30, 12), dtype=np.int64))


@pytest.fixture
def rehearsal(levels: Levels) -> Rehearsal:
    """Twenty scenes to fit on, ten held out."""
    return Rehearsal(levels, np.arange(20), np.arange(20, 30), 1.0, 0.5)


def _right(counts: np.ndarray) -> float:
    return np.trace(counts.sum(0)) / counts.sum()


def test_what_is_drawn_and_what_is_anywhere(levels: Levels) -> None:
    assert levels.looks == ("far", "further")
    rows = np.array([3, 1])
    np.testing.assert_array_equal(levels.drawn("far", rows), levels.z["far"][[3, 1], :12])
    np.testing.assert_array_equal(levels.uniform(PLAIN, rows), levels.z[PLAIN][[3, 1], 12:])


def test_a_way_that_knows_a_like_look_does_better_under_another(rehearsal: Rehearsal) -> None:
    plain = _right(rehearsal.counts(Way(name="source_only"), "further"))
    taught_far = _right(rehearsal.counts(Way(name="far", looks=("far",)), "further"))
    assert taught_far > plain + 0.05


def test_no_way_is_told_its_own_look(rehearsal: Rehearsal) -> None:
    plain = rehearsal.counts(Way(name="source_only"), "far")
    np.testing.assert_array_equal(rehearsal.counts(Way(name="far", looks=("far",)), "far"), plain)
    both = rehearsal.counts(Way(name="both", looks=("far", "further")), "far")
    np.testing.assert_array_equal(both, rehearsal.counts(Way(name="further", looks=("further",)), "far"))


def test_labels_held_out_are_not_looked_at(levels: Levels, rehearsal: Rehearsal) -> None:
    way = Way(name="all", looks=("far",), standardised=True, taught=1)
    before = rehearsal.carried(way, "further")
    levels.y[20:] = (levels.y[20:] + 1) % C
    levels.anywhere[20:] = IGNORE
    after = Rehearsal(levels, rehearsal.fit, rehearsal.held, 1.0, 0.5).carried(way, "further")
    np.testing.assert_array_equal(after.weight, before.weight)


def test_standardising_undoes_a_stretch_of_each_channel() -> None:
    rng = np.random.default_rng(0)
    z, head = rng.normal(size=(500, D)), LinearHead(rng.normal(size=(C, D)), rng.normal(size=C))
    scale, shift = rng.uniform(0.5, 2, D), rng.normal(size=D)
    moved = z * scale + shift
    np.testing.assert_allclose(standardised(head, z, moved).logits(moved), head.logits(z), atol=1e-9)
    flat = np.zeros((5, D))
    assert np.isfinite(standardised(head, z, flat).logits(flat)).all()


def test_the_surest_share_of_every_class() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.7, 0.3], [0.45, 0.55]])
    at, called = certain(p, 0.5)
    np.testing.assert_array_equal(at, [0, 2, 4])
    np.testing.assert_array_equal(called, [0, 0, 1])


def test_self_training_follows_a_shift(levels: Levels) -> None:
    rng = np.random.default_rng(1)
    z, y = _drawn(rng, 40, 10, shift=0.8)
    everything = np.arange(30)
    head = fitted(levels, everything, (), 1.0)
    after = taught(levels, everything, (), 1.0, head, z, 2, 0.5)
    before, now = (float((one.logits(z.reshape(-1, D)).argmax(1) == y.ravel()).mean()) for one in (head, after))
    assert now >= before
    same = taught(levels, everything, (), 1.0, head, z, 0, 0.5)
    np.testing.assert_array_equal(same.weight, head.weight)


def test_as_many_rows_however_many_looks(levels: Levels) -> None:
    seen = {}
    for looks in ((), ("far",), ("far", "further")):
        head = fitted(levels, np.arange(30), looks, 1.0)
        seen[looks] = head.weight
    assert not np.allclose(seen[()], seen["far",])
    assert not np.allclose(seen["far",], seen["far", "further"])


def test_a_drawn_pixel_stands_for_its_share_of_the_scene() -> None:
    y = np.array([[0, 0, 1, IGNORE], [IGNORE] * 4], dtype=np.uint8)
    found = weights_of(y, np.array([1.0, 4.0]), np.array([900, 0]))
    np.testing.assert_array_equal(found, [[400, 400, 100, 0], [0, 0, 0, 0]])
