from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import DataError
from torchgraft.data import Masks, Samples, scene_folds, split


def made(group: list[str] | None, parts: list[str] | None = None, y: list[int] | None = None, n: int = 0) -> Samples:
    n = len(group) if group is not None else n
    ids = tuple(f"{group[i] if group else 'a'}_{i:04d}.png" for i in range(n))
    return Samples(
        modality="image",
        task="segmentation",
        ids=ids,
        x=[Path(i) for i in ids],
        y=np.array([0] * n if y is None else y, dtype=np.int64),
        classes=("sky", "road"),
        split=np.array(parts or [""] * n, dtype="<U5"),
        root=Path("scenes"),
        group=None if group is None else np.array(group),
        masks=Masks(paths=tuple(map(Path, ids)), values=(0, 1), colours=((0, 0, 0), (9, 9, 9))),
    )


def covers_once(pairs: tuple, n: int) -> None:
    assert sorted(np.concatenate([held for _, held in pairs]).tolist()) == list(range(n))
    assert all(sorted([*fit, *held]) == list(range(n)) for fit, held in pairs)


def test_val_is_the_one_fold() -> None:
    pairs, found = scene_folds(made(list("aabb"), ["train", "", "val", "test"]), 0)
    assert [(fit.tolist(), held.tolist()) for fit, held in pairs] == [([0, 1], [2])]
    assert found == ()


@pytest.mark.parametrize("sizes", [(5, 5, 5), (60, 100, 200), (9, 8, 7, 6, 5, 4, 3)])
def test_sequences_are_never_torn(sizes: tuple[int, ...]) -> None:
    samples = made([str(i) for i, size in enumerate(sizes) for _ in range(size)])
    pairs, found = scene_folds(samples, 0)
    assert len(pairs) == min(5, len(sizes))
    covers_once(pairs, len(samples))
    assert not any(set(samples.group[fit]) & set(samples.group[held]) for fit, held in pairs)
    assert found == ()


@pytest.mark.parametrize("group", [["one"] * 23, ["one"] * 40 + ["two"] * 3])
def test_one_sequence_is_held_out_in_blocks(group: list[str]) -> None:
    samples = made(group)
    pairs, found = scene_folds(samples, 0)
    assert len(pairs) == 5
    covers_once(pairs, len(samples))
    runs = sum(int((np.diff(held[samples.group[held] == "one"]) > 1).sum()) for _, held in pairs)
    assert runs == 0
    assert found[0].kind == "one_sequence"
    assert found[0].count == group.count("one")
    assert "(one)" in found[0].message


def test_images_that_are_alone_are_dealt_at_random() -> None:
    samples = made([f"s{i}" for i in range(52)])
    pairs, found = scene_folds(samples, 3)
    covers_once(pairs, 52)
    assert sorted(len(held) for _, held in pairs) == [10, 10, 10, 11, 11]
    assert any(np.diff(pairs[0][1]) > 1)
    assert found == ()
    again, other = scene_folds(samples, 3)[0], scene_folds(samples, 4)[0]
    assert all((a[1] == b[1]).all() for a, b in zip(pairs, again, strict=True))
    assert any(a[1].tolist() != b[1].tolist() for a, b in zip(pairs, other, strict=True))
    assert len(scene_folds(made(None, n=3), 0)[0]) == 3


def test_rows_without_a_mask_are_in_no_fold() -> None:
    pairs, _ = scene_folds(made(list("abcd"), y=[0, -1, 0, 0]), 0)
    assert sorted(np.concatenate([held for _, held in pairs]).tolist()) == [0, 2, 3]


def test_too_few() -> None:
    with pytest.raises(DataError, match="1 with a mask. Expected at least one to fit on and one to measure on"):
        scene_folds(made(list("ab"), y=[0, -1]), 0)
    with pytest.raises(DataError, match="all of them val"):
        scene_folds(made(list("ab"), ["val", "val"]), 0)


def test_the_test_part_holds_whole_sequences() -> None:
    samples = split(made([str(i) for i, size in enumerate((40, 20, 20, 12, 10, 8)) for _ in range(size)]), seed=0)
    test = samples.split == "test"
    assert 0.1 <= test.mean() <= 0.3
    assert not set(samples.group[test]) & set(samples.group[~test])
    assert (split(samples, seed=0).split == samples.split).all()


@pytest.mark.parametrize(
    "samples",
    [
        made([str(i % 4) for i in range(80)]),
        made([str(i) for i in range(49)]),
        made([str(i) for i in range(80)], ["val"] * 10 + [""] * 70),
        made([str(i) for i in range(80)], y=[0] * 40 + [-1] * 40),
    ],
    ids=["four sequences", "49 images", "val given", "40 masks"],
)
def test_no_test_part_where_it_would_tell_nothing(samples: Samples) -> None:
    assert "test" not in split(samples, seed=0).split


def test_a_test_part_of_single_images() -> None:
    samples = split(made([str(i) for i in range(100)]), seed=0)
    assert (samples.split == "test").sum() == 20
    assert (split(made([str(i) for i in range(100)]), seed=0, test=False).split == "train").all()
