"""A decoder on the frozen encoder: begins as the probe, and adds to it."""

from __future__ import annotations

import numpy as np

from torchgraft.tune import decoder, pixel_probe


def test_before_its_first_step_it_is_the_probe(scene_problem) -> None:
    problem = scene_problem()
    start = pixel_probe.fit(problem, pixel_probe.Options(per_scene=40))
    options = decoder.Options(per_scene=40, epochs=1, rate=1e-12, batch=4, decoder="linear+deeplabv3plus")
    found = decoder.fit(problem, options)
    np.testing.assert_allclose(found.logits, start.logits[: len(found.logits)], atol=1e-3)
    assert not found.tuned and found.sources == ("test/scene",)
