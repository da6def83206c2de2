from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from torchgraft.data._sequences import frame_of, in_order, sequence_of


@pytest.mark.parametrize(
    ("name", "sequence", "frame"),
    [
        ("0001TP_006690.jpg", "0001TP", 6690),
        ("0006R0_f00930.jpg", "0006R0", 930),
        ("0016E5_00390.png", "0016E5", 390),
        ("aachen_000000_000019_leftImg8bit.png", "aachen_000000", 19),
        ("cityA/000017.png", "cityA", 17),
        ("north/drive-2_12.png", "north/drive-2", 12),
        ("000007.png", "all", 7),
        ("img_0007.png", "all", 7),
        ("frame12.png", "all", 12),
        ("kerb.png", "kerb", None),
        ("a/kerb.png", "a/kerb", None),
    ],
)
def test_names(name: str, sequence: str, frame: int | None) -> None:
    assert sequence_of(PurePosixPath(name)) == sequence
    assert frame_of(PurePosixPath(name).stem) == frame


def test_bare_numbers_of_two_splits_are_two_sequences() -> None:
    assert {sequence_of(PurePosixPath("0001.png"), split) for split in ("train", "val")} == {"train", "val"}


def test_order_is_by_number_not_by_text() -> None:
    assert in_order(["a_10.png", "a_9.png", "b.png", "a_1000.png"]).tolist() == [2, 1, 0, 3]
    assert in_order([]).tolist() == []


def test_a_very_long_number_is_still_a_number() -> None:
    assert frame_of("a_" + "9" * 5000) == 10**18 - 1
