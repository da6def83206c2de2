from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from torchgraft.data import _duplicates
from torchgraft.data._duplicates import _ones, alike, bound, conflicts, findings, leaks, near
from torchgraft.data.base import Samples


def made(keys: str, y: list[int] | None = None, parts: str | None = None, group: list[str] | None = None) -> Samples:
    split = [{"r": "train", "v": "val", "t": "test", "-": ""}[part] for part in parts or "-" * len(keys)]
    return Samples(
        modality="text",
        ids=tuple(f"{key}{i}" for i, key in enumerate(keys)),
        x=list(keys),
        y=np.array(y or [0] * len(keys)),
        classes=("p", "q"),
        split=np.array(split, dtype="<U5"),
        root=Path(),
        group=None if group is None else np.array(group),
    )


def test_alike() -> None:
    assert [rows.tolist() for rows in alike(list("abcaba"))] == [[0, 3, 5], [1, 4]]
    assert alike(list("abc")) == []


def test_number_of_set_bits() -> None:
    values = np.random.default_rng(0).integers(0, 1 << 63, 200, dtype=np.uint64) * np.uint64(2)
    assert _ones(values).tolist() == [int(value).bit_count() for value in values]
    assert _ones(np.array([0, 2**64 - 1], dtype=np.uint64)).tolist() == [0, 64]


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_near_equals_comparing_all_with_all(limit: int) -> None:
    rng = np.random.default_rng(limit)
    base = rng.integers(0, 1 << 63, 150, dtype=np.uint64)
    flips = np.array(
        [sum(1 << int(b) for b in rng.choice(64, rng.integers(1, 6), replace=False)) for _ in base], np.uint64
    )
    hashes = np.concatenate([base, base ^ flips])
    expected = [
        (i, j) for i in range(300) for j in range(i + 1, 300) if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= limit
    ]
    assert sorted(map(tuple, near(hashes, limit).tolist())) == expected
    assert limit == 0 or expected


def test_equal_hashes_are_paired_with_the_first_alone() -> None:
    pairs = near(np.full(50_000, 7, dtype=np.uint64))
    assert len(pairs) == 49_999
    assert (pairs[:, 0] == 0).all()


def test_the_search_for_pairs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_duplicates, "_ENOUGH", 10)
    hashes = np.array([1 << i for i in range(40)], dtype=np.uint64)  # all 780 pairs differ in two bits
    assert 10 < len(near(hashes)) < 780


def test_near_of_nothing() -> None:
    assert near(np.array([], dtype=np.uint64)).shape == (0, 2)
    assert near(np.array([3], dtype=np.uint64)).shape == (0, 2)


def test_leaks_are_the_test_side_only() -> None:
    samples = made("abcab", parts="rrttv")
    assert leaks(samples, alike(samples.x)).tolist() == [False, False, False, True, False]
    inside = made("aa", parts="tt")
    assert not leaks(inside, alike(inside.x)).any()


def test_conflicts_need_two_labels() -> None:
    samples = made("aabbcc", [0, 1, 1, 1, 0, -1])
    assert [rows.tolist() for rows in conflicts(samples, alike(samples.x))] == [[0, 1]]


def test_copies_share_a_group() -> None:
    samples = made("abab")
    assert bound(samples, []) is None
    names = bound(samples, alike(samples.x))
    assert names is not None
    assert names[0] == names[2] != names[1]
    assert names[1] == names[3]


def test_groups_that_share_a_copy_become_one() -> None:
    samples = made("abcad", group=["u", "u", "v", "w", "x"])
    names = bound(samples, alike(samples.x))
    assert names is not None
    assert names[0] == names[1] == names[3]
    assert len(set(names.tolist())) == 3


def test_findings_count_and_name() -> None:
    samples = made("abcabaB", [0, 0, 1, 1, 0, 0, 0], parts="rrrtvrr")
    exact, same = alike(samples.x), alike([x.lower() for x in samples.x])
    found = {finding.kind: finding for finding in findings(samples, exact, same, np.empty((0, 2), dtype=int))}
    assert set(found) == {"leak", "val_duplicate", "conflict", "duplicate", "near_duplicate"}
    assert found["leak"].count == 1
    assert found["leak"].action == "removed from test"
    assert found["leak"].examples == ("a0 = a3 = a5",)
    assert found["val_duplicate"].count == 1
    assert found["conflict"].count == 3
    assert found["duplicate"].count == 3
    assert found["near_duplicate"].count == 1


def test_pictures_that_look_alike_across_splits() -> None:
    samples = made("abcd", parts="rttt")
    found = findings(samples, [], [], np.array([[0, 1], [0, 2], [1, 2]]))
    assert [(finding.kind, finding.count) for finding in found] == [("near_leak", 2), ("near_duplicate", 3)]
