"""Evidence that can't be is told at once, all of it."""

from __future__ import annotations

import numpy as np
import pytest

from torchgraft.core import registry
from torchgraft.core.errors import DataError
from torchgraft.rank import Evidence

Z, Y = np.ones((3, 2), dtype=np.float32), np.array([0, 1, 0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"z": np.ones(3)}, "N x D"),
        ({"z": np.ones((3, 0))}, "N x D"),
        ({"z": np.full((3, 2), np.nan)}, "NaN"),
        ({"y": Y[:2]}, "3 rows of features need 3 labels"),
        ({"y": np.array([0, 1, 2])}, r"labels are 0..1, got 0..2"),
        ({"source": np.ones((2, 2)) / 2}, "source is 3 x S"),
        ({"source": np.ones((3, 2))}, "sum 1"),
        ({"source": np.full((3, 2), np.nan)}, "sum 1"),
    ],
)
def test_what_cannot_be(changed: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Evidence(**{"z": Z, "y": Y, "n_classes": 2, **changed})


@pytest.mark.parametrize("name", registry.names("rank"))
def test_every_score_is_a_number_and_the_same_twice(name: str, evidence) -> None:
    given = evidence(source=7)
    score = registry.get("rank", name).score
    assert np.isfinite(score(given))
    assert score(given) == score(given)


@pytest.mark.parametrize("name", sorted(set(registry.names("rank")) - {"confidence"}))  # which looks at no label
def test_every_score_prefers_classes_that_lie_apart(name: str, evidence) -> None:
    score, source = registry.get("rank", name).score, registry.constant("rank", name, "SOURCE", default=False)
    far, near = evidence(n=240, gap=4.0, source=8), evidence(n=240, gap=0.3, source=8)
    if source:  # it looks at what pretraining says, not at the features
        near = Evidence(z=near.z, y=np.random.default_rng(0).permutation(near.y), n_classes=4, source=far.source)
    assert score(far) > score(near)
