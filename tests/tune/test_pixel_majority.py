"""The floor of scenes: the most frequent class of the fit rows, at every pixel."""

from __future__ import annotations

import numpy as np

from torchgraft.tune import pixel_majority


def test_by_hand(scene_problem) -> None:
    problem = scene_problem()
    found = pixel_majority.fit(problem, pixel_majority.Options())
    counts = problem.masks.counts
    assert found.source is None and found.note == "always ground"
    np.testing.assert_array_equal(found.counts[:, :, 0], counts[found.rows])
    assert not found.counts[:, :, 1:].any()
    shares = np.exp(found.decoder.arrays["bias"])
    np.testing.assert_allclose(shares, (counts.sum(0) + 1) / (counts.sum() + 3), rtol=1e-5)
    assert pixel_majority.applies(problem) == ""
