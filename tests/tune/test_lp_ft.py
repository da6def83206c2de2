from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from torchgraft.tune import linear_probe, lp_ft
from torchgraft.tune.base import Skip


def test_starts_at_the_exact_probe_and_is_better_in_the_end(hard_text):
    problem = hard_text(k=3)
    probe = linear_probe.fit(problem, linear_probe.Options(source="test/text"))
    candidate = lp_ft.fit(problem, lp_ft.Options(rate=1e-2, epochs=6, batch=10))
    starts = [history["legs"][0]["accuracy"] for history in candidate.history[:-1]]
    right = probe.logits.argmax(1) == problem.y[probe.rows]
    place = np.cumsum([0] + [len(held) for _, held in problem.folds])
    expected = [right[a:b].mean() for a, b in pairwise(place)]
    np.testing.assert_allclose(starts, expected)
    assert (candidate.logits.argmax(1) == problem.y[candidate.rows]).mean() > right.mean()
    assert candidate.parts[0].mapping.kind == "l2"


def test_without_a_rate_to_speak_of_it_stays_at_the_probe(hard_text):
    heard = []
    problem = hard_text()
    problem = replace(problem, resources=replace(problem.resources, on_leg=heard.append))
    with pytest.raises(Skip, match="beats the linear probe it starts from"):
        lp_ft.fit(problem, lp_ft.Options(rate=1e-30, epochs=2))
    losses = [leg["loss"] for leg in heard[-1]["legs"]]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)
