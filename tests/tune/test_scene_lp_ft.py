"""LP-FT on scenes: begins as the probe, trains everything, ships weights of its own."""

from __future__ import annotations

import numpy as np

from torchgraft.tune import pixel_probe, scene_lp_ft


def test_training_beats_a_poor_probe_and_brings_its_weights(scene_problem) -> None:
    problem = scene_problem()
    start = pixel_probe.fit(problem, pixel_probe.Options(per_scene=4, longest=64))
    options = scene_lp_ft.Options(per_scene=4, longest=64, epochs=6, rate=3e-3, batch=2, zoom=1.0, colour=0.0)
    found = scene_lp_ft.fit(problem, options)
    assert _right(found) > _right(start)
    (name,) = found.sources
    assert name == "tuned/test/scene" and found.tuned[name].arrays
    assert found.history[0]["legs"][0]["phase"] == "before"
    assert found.chosen["of"] == 6 and 1 <= found.chosen["epochs"] <= 6


def test_before_its_first_step_it_is_the_probe(scene_problem) -> None:
    problem = scene_problem()
    start = pixel_probe.fit(problem, pixel_probe.Options(per_scene=40))
    options = scene_lp_ft.Options(per_scene=40, epochs=1, rate=1e-12, batch=4, zoom=1.0, colour=0.0)
    found = scene_lp_ft.fit(problem, options)
    np.testing.assert_allclose(found.logits, start.logits[: len(found.logits)], atol=1e-4)


def _right(candidate) -> float:
    return float(np.trace(candidate.counts.sum(0)) / candidate.counts.sum())
