from __future__ import annotations

from pathlib import Path

import numpy as np

from torchgraft.data import Samples


def made() -> Samples:
    return Samples(
        modality="text",
        ids=("1", "2", "3"),
        x=["a", "b", "c"],
        y=np.array([0, 1, -1]),
        classes=("p", "q"),
        split=np.array(["train", "test", ""], dtype="<U5"),
        root=Path("t"),
        group=np.array(["u", "v", "u"]),
    )


def test_take_by_positions_and_by_mask() -> None:
    some = made().take([2, 0])
    assert (some.ids, some.x, some.y.tolist(), some.group.tolist()) == (("3", "1"), ["c", "a"], [-1, 0], ["u", "u"])
    assert made().take(np.array([True, False, True])).ids == ("1", "3")
    assert made().of("test").ids == ("2",)


def test_labelled() -> None:
    assert not made().labelled
    assert made().take([0, 1]).labelled
    assert not made().take([]).labelled


def test_spec_counts_and_tells_changes() -> None:
    spec = made().spec()
    assert dict(spec.counts) == {"train": 1, "test": 1, "unsplit": 1}
    assert made().spec() == spec
    assert made().take([1, 0, 2]).spec().content_hash != spec.content_hash
