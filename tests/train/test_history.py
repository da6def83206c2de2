from __future__ import annotations

import itertools
import json

import pytest

from torchgraft.train.history import History


def test_the_smoothed_loss_by_hand() -> None:
    history = History()
    for loss in (1.0, 2.0, 0.0):
        history.add_point(loss, 0.1)
    assert [point[0] for point in history.curve] == [1, 2, 3]
    assert [point[1] for point in history.curve] == pytest.approx([1.0, 1.1, 0.99])
    assert history.curve[0][2] == 0.1


@pytest.mark.parametrize("steps", [400, 401, 3000, 10_000])
def test_a_long_curve_is_thinned_evenly_and_reaches_the_end(steps: int) -> None:
    history = History()
    for t in range(steps):
        history.add_point(float(t), 0.1)
    places = [point[0] for point in history.curve]
    assert 200 <= len(places) <= 400
    assert {b - a for a, b in itertools.pairwise(places)} == {history.every}
    assert steps - places[-1] < history.every
    assert history.steps == steps


def test_it_survives_json() -> None:
    history = History(phases=[{"name": "a"}], legs=[{"loss": 0.1}], stopped="done", best=3)
    history.add_point(1 / 3, 1e-3)
    assert History.from_dict(json.loads(json.dumps(history.to_dict()))) == history
