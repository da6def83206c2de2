from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from torchgraft.core.errors import DataError
from torchgraft.data import folds, split
from torchgraft.data._split import _assign
from torchgraft.data.base import Samples


def made(y: np.ndarray, parts: list[str] | None = None, group: np.ndarray | None = None) -> Samples:
    names = tuple(map(str, range(len(y))))
    given = np.array(parts or [""] * len(y), dtype="<U5")
    classes = tuple(map(str, range(int(y.max()) + 1)))
    return Samples(
        modality="text", ids=names, x=list(names), y=y, classes=classes, split=given, root=Path(), group=group
    )


def test_one_in_five_of_each_class_is_set_aside() -> None:
    y = np.repeat([0, 1, 2], [100, 50, 10])
    done = split(made(y), seed=0)
    test = done.split == "test"
    assert np.bincount(y[test]).tolist() == [20, 10, 2]
    assert set(done.split.tolist()) == {"train", "test"}


def test_the_same_for_the_same_seed_and_else_not() -> None:
    samples = made(np.arange(200) % 2)
    assert (split(samples, seed=3).split == split(samples, seed=3).split).all()
    assert (split(samples, seed=3).split != split(samples, seed=4).split).any()


def test_what_is_said_stays() -> None:
    y = np.arange(90) % 2
    parts = ["test"] * 10 + ["val"] * 10 + ["train"] * 10 + [""] * 60
    assert split(made(y, parts), seed=0).split.tolist() == ["test"] * 10 + ["val"] * 10 + ["train"] * 70
    val_only = split(made(y, ["val"] * 10 + ["train"] * 80), seed=0).split
    assert (val_only[:10] == "val").all()
    assert (val_only == "test").sum() == 16


def test_no_test_part_where_it_would_tell_nothing() -> None:
    assert (split(made(np.arange(49) % 2), seed=0).split == "train").all()
    assert (split(made(np.arange(500) % 2), seed=0, test=False).split == "train").all()
    rare = np.concatenate([np.zeros(60, dtype=int), np.ones(60, dtype=int), np.full(4, 2)])
    assert (split(made(rare), seed=0).split[-4:] == "train").all()
    unlabelled = np.concatenate([np.arange(60) % 2, np.full(60, -1)])
    assert (split(made(unlabelled), seed=0).split[60:] == "train").all()


def test_groups_stay_whole_in_the_test_part() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 60, 600).astype(str)
    y = rng.integers(0, 3, 600)
    test = split(made(y, group=group), seed=1).split == "test"
    assert not set(group[test]) & set(group[~test])
    assert 0.15 < test.mean() < 0.25


@pytest.mark.parametrize("seed", range(5))
def test_no_class_goes_to_the_test_part_as_a_whole(seed: int) -> None:
    group = np.arange(100) % 10
    y = np.where(group == 9, 2, group % 2)  # class 2 is one group
    done = split(made(y, group=group.astype(str)), seed=seed).split
    assert set(y[done == "train"].tolist()) == {0, 1, 2}
    assert (done == "test").any()
    alone = split(made(np.repeat([0, 1], 50), group=np.repeat(["a", "b"], 50)), seed=seed).split
    assert (alone == "train").all()


def test_all_test_leaves_nothing_to_learn_from() -> None:
    with pytest.raises(DataError, match="no train part, only test, val"):
        split(made(np.arange(4) % 2, ["test", "test", "val", "test"]), seed=0)


def test_five_stratified_folds() -> None:
    y = np.repeat([0, 1], [60, 40])
    pairs = folds(y, seed=0)
    assert len(pairs) == 5
    assert sorted(np.concatenate([held for _, held in pairs]).tolist()) == list(range(100))
    assert [np.bincount(y[held]).tolist() for _, held in pairs] == [[12, 8]] * 5
    for fit, held in pairs:
        assert sorted([*fit, *held]) == list(range(100))


def test_a_given_val_part_is_the_only_fold() -> None:
    val = np.arange(10) >= 7
    ((fit, held),) = folds(np.arange(10) % 2, seed=0, val=val)
    assert fit.tolist() == list(range(7))
    assert held.tolist() == [7, 8, 9]
    assert len(folds(np.arange(10) % 2, seed=0, val=np.zeros(10, dtype=bool))) == 5


def test_a_class_that_only_val_has_is_fitted() -> None:
    y = np.array([0, 1, 0, 1, 2, 0])
    ((fit, held),) = folds(y, seed=0, val=np.array([0, 0, 0, 0, 1, 1], dtype=bool))
    assert held.tolist() == [5]
    assert 4 in fit


def test_folds_are_as_many_as_the_smallest_class() -> None:
    y = np.repeat([0, 1, 2], [20, 3, 1])
    pairs = folds(y, seed=0)
    assert len(pairs) == 3
    assert all(23 in fit for fit, _ in pairs)
    assert [int((y[held] == 1).sum()) for _, held in pairs] == [1, 1, 1]
    assert len(folds(np.array([0, 1, 0, 1]), seed=0)) == 2


def test_many_rows_make_one_held_out_part() -> None:
    y = np.arange(2500) % 4
    ((fit, held),) = folds(y, seed=0)
    assert np.bincount(y[held]).tolist() == [125] * 4
    assert len(fit) == 2000
    ((_, held),) = folds(np.arange(60_000) % 4, seed=0)
    assert len(held) == 5000
    ((_, held),) = folds(np.arange(3000) % 1000, seed=0)  # three of each class: fewer than parts
    assert len(held) == 600


def test_the_same_folds_for_the_same_seed() -> None:
    y = np.arange(50) % 3
    for a, b in zip(folds(y, seed=5), folds(y, seed=5), strict=True):
        np.testing.assert_array_equal(a[1], b[1])
    assert any((a[1] != b[1]).any() for a, b in zip(folds(y, seed=5)[:3], folds(y, seed=6)[:3], strict=True))


@pytest.mark.parametrize(
    ("y", "group", "message"),
    [
        (np.zeros(9, dtype=int), None, "one class only. Expected at least two"),
        (np.array([0, 1]), None, "no class has a second sample"),
        (np.array([0, 0, 1, 1]), np.array(list("aabb")), "no class has a second group"),
        (np.array([0, -1, 1, 1]), None, "1 of 4 samples have no label"),
    ],
)
def test_what_can_not_be_split(y: np.ndarray, group: np.ndarray | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        folds(y, group=group, seed=0)


def test_val_that_is_everything() -> None:
    with pytest.raises(DataError, match="not all of them in val"):
        folds(np.arange(6) % 2, seed=0, val=np.ones(6, dtype=bool))


@settings(max_examples=150)
@given(
    y=st.lists(st.integers(0, 4), min_size=2, max_size=60),
    units=st.lists(st.integers(0, 12), min_size=60, max_size=60),
    grouped=st.booleans(),
    max_rows=st.sampled_from([10, 2000]),
    seed=st.integers(0, 5),
)
def test_what_holds_for_all_folds(y: list[int], units: list[int], grouped: bool, max_rows: int, seed: int) -> None:
    labels = np.array(y)
    group = np.array(units[: len(y)]).astype(str) if grouped else None
    try:
        pairs = folds(labels, group=group, seed=seed, max_rows=max_rows)
    except DataError:
        return
    seen: set[int] = set()
    for fit, held in pairs:
        assert sorted([*fit.tolist(), *held.tolist()]) == list(range(len(y)))
        assert len(held)
        assert set(labels[fit]) == set(labels)  # every class is fitted on
        assert not seen & set(held.tolist())
        seen |= set(held.tolist())
        if group is not None:
            assert not set(group[fit]) & set(group[held])


def unevenness(y: np.ndarray, parts: np.ndarray, k: int) -> float:
    """Mean deviation of a class's share in a part from 1 / k."""
    counts = np.array([np.bincount(y[parts == part], minlength=y.max() + 1) for part in range(k)])
    return float(np.abs(counts / counts.sum(axis=0) - 1 / k).mean())


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_dealt_as_evenly_as_scikit_learn_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = rng.geometric(0.02, 800)
    y = np.minimum(rng.poisson(1.2, 800), 3)
    theirs = np.empty(800, dtype=int)
    for part, (_, held) in enumerate(StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(y, y, group)):
        theirs[held] = part
    ours = _assign(y, group, 5, seed)
    assert unevenness(y, ours, 5) <= 1.1 * unevenness(y, theirs, 5) + 0.005
