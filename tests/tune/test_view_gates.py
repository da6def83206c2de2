"""Gates between views: trust where the expert is right, whatever is missing; curves that bring looks together."""

from __future__ import annotations

import numpy as np

from torchgraft.tune._view_gates import fit_gates, looks


def _scores(z, weights, offsets) -> np.ndarray:
    return np.stack([one @ w + c for one, w, c in zip(z, weights, offsets, strict=True)], 1)


def test_the_view_that_is_right_is_trusted() -> None:
    rng = np.random.default_rng(0)
    good = rng.integers(0, 2, 400)  # which of two views shows something
    z = [np.where((good == v)[:, None], 1.0, 0.0) + 0.1 * rng.normal(size=(400, 3)) for v in range(2)]
    log_p = np.log(np.where(good[:, None] == np.arange(2), 0.9, 0.1))
    weights, offsets = fit_gates(z, log_p, np.ones((400, 2), dtype=bool))
    assert (_scores(z, weights, offsets).argmax(1) == good).mean() > 0.99


def test_columns_may_be_of_any_scale() -> None:
    rng = np.random.default_rng(1)
    z = [rng.normal(size=(300, 2)) for _ in range(2)]
    log_p = np.stack([np.minimum(z[0][:, 0], 0), np.minimum(z[1][:, 1], 0)], 1) - 1
    there = rng.random((300, 2)) < 0.8
    there[:, 0] = True
    one = _scores(z, *fit_gates(z, log_p, there))
    scaled = [100 * z[0] + 7, 0.01 * z[1]]
    other = _scores(scaled, *fit_gates(scaled, log_p, there))
    both = there.all(1)
    np.testing.assert_allclose((one[:, 0] - one[:, 1])[both], (other[:, 0] - other[:, 1])[both], atol=0.02)


def test_what_stands_where_a_view_is_missing_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    z = [rng.normal(size=(200, 2)).astype(np.float32) for _ in range(2)]
    log_p = -rng.random((200, 2))
    there = np.ones((200, 2), dtype=bool)
    there[:80, 1] = False
    weights, offsets = fit_gates(z, log_p, there)
    changed = [z[0], z[1].copy()]
    changed[1][:80] = 1e3
    strange = log_p.copy()
    strange[:80, 1] = -50
    again, after = fit_gates(changed, strange, there)
    np.testing.assert_allclose(weights[1], again[1], atol=1e-3)
    np.testing.assert_allclose(offsets, after, atol=1e-3)


def test_a_darker_view_is_brought_to_the_looks_of_the_first() -> None:
    levels = np.random.default_rng(0).integers(0, 256, 200_000)
    dark = np.rint(255 * (levels / 255) ** 2).astype(int)
    count = [np.stack([np.bincount(x, minlength=256)] * 3) for x in (levels, dark)]
    curves = looks(np.stack(count).astype(float))
    np.testing.assert_array_equal(curves[0], np.tile(np.arange(256.0), (3, 1)))
    bright = levels > 60  # darker ones share a level
    assert np.abs(curves[1, 0][dark] - levels)[bright].max() < 4


def test_a_view_that_was_never_open_stays_as_it_is() -> None:
    counts = np.ones((2, 3, 256))
    counts[1] = 0
    np.testing.assert_array_equal(looks(counts)[1], np.tile(np.arange(256.0), (3, 1)))


def test_views_may_have_columns_of_their_own() -> None:
    rng = np.random.default_rng(2)
    good = rng.integers(0, 2, 400)
    z = [
        np.where((good == v)[:, None], 1.0, 0.0) + 0.1 * rng.normal(size=(400, width)) for v, width in ((0, 2), (1, 5))
    ]
    log_p = np.log(np.where(good[:, None] == np.arange(2), 0.9, 0.1))
    weights, offsets = fit_gates(z, log_p, np.ones((400, 2), dtype=bool))
    assert [len(w) for w in weights] == [2, 5]
    assert (_scores(z, weights, offsets).argmax(1) == good).mean() > 0.99
