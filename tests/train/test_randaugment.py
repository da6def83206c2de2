from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchgraft.train import _colour, _geometry
from torchgraft.train._geometry import STILL
from torchgraft.train._randaugment import OPS, randaugment


def one(name: str, magnitude: float, sign: float = 0.0, size: int = 100):
    return randaugment([(OPS.index(name) + 0.5) / len(OPS), sign], magnitude, size)


def test_the_papers_fourteen_changes() -> None:
    assert len(OPS) == 14 == len(set(OPS))


def test_strengths_at_full_magnitude() -> None:
    assert one("rotate", 10) == (_geometry.rotate(30), [])
    assert one("rotate", 10, sign=0.7) == (_geometry.rotate(-30), [])
    assert one("shear_x", 10)[0] == _geometry.shear_x(0.3)
    assert one("shear_y", 5)[0] == _geometry.shear_y(0.15)
    assert one("translate_x", 10)[0] == _geometry.translate(45, 0)
    assert one("translate_y", 10)[0] == _geometry.translate(0, 45)
    assert one("brightness", 10) == (STILL, [(_colour.brightness, 1.9)])
    assert one("contrast", 10, sign=0.5) == (STILL, [(_colour.contrast, 1 - 0.9)])
    assert one("posterize", 10, sign=0.9) == (STILL, [(_colour.posterize, 4)])
    assert one("solarize", 10) == (STILL, [(_colour.solarize, 0)])
    assert one("solarize", 5) == (STILL, [(_colour.solarize, 128)])
    assert one("identity", 10) == (STILL, [])


def test_changes_are_drawn_evenly() -> None:
    rng = np.random.default_rng(0)
    found = Counter(int(u * len(OPS)) for u in rng.random(14_000))
    assert set(found) == set(range(14)) and min(found.values()) > 850


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2), st.floats(0, 10))
def test_every_change_can_be_applied_at_every_magnitude(draws: list[float], magnitude: float) -> None:
    matrix, changes = randaugment(draws, magnitude, 16)
    assert np.isfinite(matrix).all()
    p = torch.rand(16, 16, 3) * 255
    for change, *strength in changes:
        change(p, *strength)
    assert p.isfinite().all() and p.min() >= 0 and p.max() <= 255


def test_weak_changes_change_little() -> None:
    p = torch.rand(16, 16, 3) * 254
    for name in ("brightness", "colour", "contrast", "posterize", "sharpness"):
        q = p.clone()
        for change, *strength in one(name, 0.01)[1]:
            change(q, *strength)
        assert (p - q).abs().max() < 1.01
    assert np.allclose(one("rotate", 0.01)[0], STILL, atol=1e-3)


def test_several_geometric_changes_become_one_matrix() -> None:
    which = (OPS.index("rotate") + 0.5) / len(OPS)
    matrix, changes = randaugment([which, 0.0, which, 0.0], 5, 32)
    assert np.allclose(matrix, _geometry.rotate(30)) and not changes
