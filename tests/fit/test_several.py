"""Several sources: gaps to the target, weights by hand, and what is told of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from torchgraft.features import gap
from torchgraft.fit._several import Source, each_row, gaps_to_target, one_mean, told, weighed


def three(n: int = 60, far: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a source like the target, of one that is `far`, and of the target."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3 * n, 4))
    x[n : 2 * n] += far
    return x, np.repeat([0, 1, -1], n)


def source(name: str, weight: float) -> Source:
    return Source(name=name, samples=1, gap=1 / weight, weight=weight)


def test_a_gap_is_the_mmd_with_the_targets_own_bandwidth() -> None:
    x, origin = three()
    xt = x[origin < 0]
    sigma = gap.median_bandwidth(xt[::2], xt[1::2])
    found = gaps_to_target(x, origin)
    assert found[1] == pytest.approx(gap.mmd2(x[origin == 1], xt, bandwidth=sigma))
    assert found[0] < 0.1 * found[1]


def test_no_gap_is_under_what_chance_makes_of_none() -> None:
    """Two sources of the target's distribution, one of them small: neither is nearer, both count alike."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(420, 4))
    origin = np.repeat([0, 1, -1], [200, 20, 200])
    found = gaps_to_target(x, origin)
    assert found[0] > 0
    assert 1 <= found.max() / found.min() < 1.5


def test_weights_go_with_one_over_the_gap() -> None:
    x, origin = three()
    near, far = weighed(x, origin, ["data/near.npz", "data/far.npz"])
    assert (near.name, near.samples, far.name, far.weight) == ("near", 60, "far", 1.0)
    assert near.weight == pytest.approx(far.gap / near.gap)


def test_farther_away_is_less() -> None:
    weights = [weighed(*three(far=far), ["a", "b"])[0].weight for far in (0.5, 1.0, 2.0, 8.0)]
    assert weights == sorted(weights) and weights[-1] > 10


def test_identical_sources_count_alike() -> None:
    x, origin = three()
    x[60:120] = x[:60]
    assert [one.weight for one in weighed(x, origin, ["a", "b"])] == [1.0, 1.0]


def test_a_single_source_is_not_weighed() -> None:
    x, origin = three()
    origin[origin > 0] = 0
    assert weighed(x, origin, ["a"]) == ()
    assert each_row((), origin) is None
    assert one_mean(x, origin, ()) is x


def test_rows_hand_worked() -> None:
    """Weights 3 and 1 for two rows each: mean 2, so 1.5 and 0.5."""
    found = each_row([source("a", 3.0), source("b", 1.0)], np.array([0, 1, 1, 0]))
    assert found.tolist() == [1.5, 0.5, 0.5, 1.5]


def test_one_mean_hand_worked() -> None:
    """Means 1 and 12; alike their mean is 6.5, with weights 3 to 1 it is (3 + 12) / 4 = 3.75."""
    x = np.array([[0.0], [2], [10], [14], [100]])
    origin = np.array([0, 0, 1, 1, -1])
    alike = [source("a", 1.0), source("b", 1.0)]
    assert one_mean(x, origin, alike).ravel().tolist() == [5.5, 7.5, 4.5, 8.5, 100]
    apart = [source("a", 3.0), source("b", 1.0)]
    assert one_mean(x, origin, apart).ravel().tolist() == [2.75, 4.75, 1.75, 5.75, 100]


def test_in_plain_words() -> None:
    assert told(()) == ""
    assert told([source("a", 1.0), source("b", 3.14)]) == (
        "By the gap to the target, a sample of b counts 3.1 times as much as one of a."
    )
    assert told([source("a", 2.0), source("b", 3.0), source("c", 1.0)]) == (
        "By the gap to the target, a sample of b counts 3.0 times as much as one of c, one of a 2.0 times."
    )
    assert told([source("a", 1.0), source("b", 1.01)]).startswith("A sample of each source counts the same")


def test_sources_of_one_name_go_by_their_paths(tmp_path: Path) -> None:
    x, origin = three()
    found = weighed(x, origin, ["a/photos", "b/photos"])
    assert [one.name for one in found] == ["a/photos", "b/photos"]
