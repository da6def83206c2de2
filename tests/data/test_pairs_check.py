from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchgraft.core.errors import DataError
from torchgraft.data import Finding, Samples, check, read, scene_folds


def checked(root: Path) -> tuple[Samples, dict[str, Finding]]:
    samples, found = check(read(root))
    return samples, {finding.kind: finding for finding in found}


def test_nothing_odd_nothing_found(scenes) -> None:
    samples, found = checked(scenes("a_1", "b_1"))
    assert found == {}
    assert samples.masks.counts.dtype == np.int64
    assert samples.masks.counts.tolist() == [[36, 36, 36], [36, 36, 36]]


def test_what_cannot_be_read_is_left_out_and_named(scenes, write, bomb: bytes, jpeg: bytes) -> None:
    root = scenes("a_1", "a_2", "a_3", "a_4", "a_5", "a_6")
    write("d/images/a_1.png", b"")
    write("d/masks/a_2.png", b"hello")
    write("d/masks/a_3.png", bomb)
    write("d/masks/a_4.png", jpeg)
    half = (root / "masks" / "a_5.png").read_bytes()
    write("d/masks/a_5.png", half[: len(half) - 30])
    samples, found = checked(root)
    assert samples.ids == ("images/a_6.png",)
    assert found["unreadable"].examples == ("images/a_1.png: an empty file",)
    assert found["unreadable_mask"].count == 4
    reasons = found["unreadable_mask"].examples
    assert reasons[0] == "masks/a_2.png: not an image"
    assert "pixels" in reasons[1]
    assert "lossy" in reasons[2]
    assert "truncated" in reasons[3]


def test_masks_that_do_not_fit_their_image(scenes, mask) -> None:
    root = scenes("a_1", "a_2")
    mask("d/masks/a_2.png", np.zeros((12, 9)))
    samples, found = checked(root)
    assert samples.ids == ("images/a_1.png",)
    assert found["mask_size"].examples == ("images/a_2.png: mask 9 x 12, image 12 x 9",)
    assert found["mask_size"].action == "left out"


@pytest.mark.parametrize(("shape", "fits"), [((9, 12), False), ((12, 9), True)])
def test_a_mask_fits_its_image_turned_upright(scenes, mask, shape: tuple[int, int], fits: bool) -> None:
    root = scenes("a_1", "a_2")
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    path = root / "images" / "a_2.png"
    with Image.open(path) as picture:
        picture.save(path, exif=exif)
    mask("d/masks/a_2.png", np.ones(shape))
    samples, found = checked(root)
    assert (len(samples) == 2) is fits
    assert ("mask_size" in found) is not fits
    assert ("rotated" in found) is fits


def test_values_that_are_no_class_are_ignored_and_counted(scenes, mask) -> None:
    root = scenes("a_1", "a_2")
    values = np.zeros((9, 12))
    values[0], values[1, :5], values[2] = 3, 9, 255
    mask("d/masks/a_2.png", values)
    samples, found = checked(root)
    finding = found["unknown_value"]
    assert finding.count == 1
    assert finding.severity == "warning"
    assert "1 of 2 masks" in finding.message
    assert "3 (12 pixels), 9 (5 pixels), 7.9% of all pixels" in finding.message
    assert samples.masks.counts[1].tolist() == [108 - 12 - 5 - 12, 0, 0]


def test_one_value_beyond_the_list_is_a_note(scenes, mask) -> None:
    root = scenes("a_1", "a_2")
    values = np.zeros((9, 12))
    values[0] = 3
    mask("d/masks/a_2.png", values)
    assert checked(root)[1]["unknown_value"].severity == "note"


def test_void_masks_are_left_out(scenes, mask) -> None:
    root = scenes("a_1", "a_2", "a_3")
    mask("d/masks/a_2.png", np.full((9, 12), 255))
    mask("d/masks/a_3.png", np.full((9, 12), 8))
    samples, found = checked(root)
    assert len(samples) == 1
    assert found["all_void"].examples == ("images/a_2.png: all of it is void", "images/a_3.png: only 8")


def test_empty_classes_are_kept_and_said(scenes) -> None:
    samples, found = checked(scenes("a_1", classes="sky\nroad\ncar\nbus\n"))
    assert samples.classes == ("sky", "road", "car", "bus")
    assert found["empty_class"].examples == ("bus",)
    assert found["empty_class"].action.startswith("kept")
    assert samples.masks.counts[0].tolist() == [36, 36, 36, 0]


def test_a_class_that_only_val_has_is_empty(scenes, mask) -> None:
    scenes("a_1", split="val")
    root = scenes("b_1", split="train")
    mask("d/train/masks/b_1.png", np.repeat([0] * 8 + [1], 12).reshape(9, 12))
    found = checked(root)[1]
    assert found["empty_class"].examples == ("car",)
    assert "imbalance" not in found


def test_one_class_and_imbalance(scenes, mask) -> None:
    root = scenes("a_1", size=(30, 9))
    values = np.zeros((9, 30))
    values[0, :2], values[1] = 1, 2
    mask("d/masks/a_1.png", values)
    finding = checked(root)[1]["imbalance"]
    assert finding.examples == ("sky (88.15% of the pixels)", "road (0.74% of the pixels)")
    assert "119 times" in finding.message
    mask("d/masks/a_1.png", np.ones((9, 30)))
    finding = checked(root)[1]["one_class"]
    assert finding.severity == "error"
    assert finding.examples == ("road",)


def test_neighbours_in_train_and_val(scenes) -> None:
    scenes("a_10", "a_20", "b_1", split="train")
    scenes("a_12", "a_17", "c_5", split="val")
    samples, found = checked(scenes("b_4", split="test"))
    finding = found["leak_neighbours"]
    assert finding.count == 3
    assert "3 of 4 images of val and test" in finding.message
    assert "(a, b)" in finding.message
    assert "3 frame numbers away in the middle case (2 at least, 3 at most)" in finding.message
    assert finding.examples[0] == "val/images/a_12.png"
    assert len(samples) == 7


def test_no_neighbours_no_leak(scenes) -> None:
    scenes("a_1", "0001", split="train")
    assert checked(scenes("b_1", "0001", split="val"))[1] == {}


def test_copies_across_splits_are_removed_from_test(scenes) -> None:
    root = scenes("a_1", "a_2", split="train")
    scenes("b_1", "b_2", split="test")
    (root / "test" / "images" / "b_1.png").write_bytes((root / "train" / "images" / "a_1.png").read_bytes())
    samples, found = checked(root)
    assert found["leak"].count == 1
    assert samples.of("test").ids == ("test/images/b_2.png",)
    assert len(samples.masks) == len(samples.masks.counts) == 3


def test_copies_bind_their_sequences(scenes) -> None:
    root = scenes("a_1", "b_1", "c_1")
    (root / "images" / "b_1.png").write_bytes((root / "images" / "a_1.png").read_bytes())
    samples, found = checked(root)
    assert "duplicate" in found
    assert samples.group[0] == samples.group[1] != samples.group[2]
    assert all({0, 1} <= set(fit) or not {0, 1} & set(fit) for fit, _ in scene_folds(samples, 0)[0])


def test_images_without_a_mask_are_kept(scenes, image) -> None:
    root = scenes("a_1")
    image("d/images/a_2.png", 50, (12, 9))
    samples, _ = checked(root)
    assert samples.y.tolist() == [0, -1]
    assert samples.masks.counts.tolist() == [[36, 36, 36], [0, 0, 0]]


def test_nothing_usable(scenes, mask, write) -> None:
    root = scenes("a_1", "a_2")
    mask("d/masks/a_1.png", np.zeros((2, 2)))
    write("d/images/a_2.png", b"")
    with pytest.raises(
        DataError, match=r"no image with its mask can be used, of 2\. 1 of 2 images can't be read.*2 x 2"
    ):
        check(read(root))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(scenes) -> None:
    root = scenes("a_1", "a_2")
    (root / "masks" / "a_2.png").chmod(0)
    assert "Permission denied" in checked(root)[1]["unreadable_mask"].message


@pytest.mark.shared
def test_camvid(shared_data: Path) -> None:
    samples, found = checked(shared_data / "camvid")
    assert len(samples) == 468
    assert set(found) == {"leak_neighbours", "unknown_value", "imbalance"}
    assert found["unknown_value"].count == 468
    assert "11 (702,893 pixels), 3.5% of all pixels" in found["unknown_value"].message
    assert found["leak_neighbours"].count == 101
    assert samples.masks.counts.shape == (468, 11)
    assert samples.masks.counts.sum() == 468 * 240 * 180 - 702_893
    # rarest and most frequent class of the 367 training masks
    assert found["imbalance"].examples == ("road (33.10% of the pixels)", "bicyclist (0.30% of the pixels)")
    train = samples.of("train")
    assert [len(held) for _, held in scene_folds(train, 0)[0]] == [204, 101, 62]
