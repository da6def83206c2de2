from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from torchgraft.core import registry
from torchgraft.core.errors import DataError, OptionError
from torchgraft.data import IGNORE, ReadOptions, Samples, read


def kinds(samples: Samples) -> list[str]:
    return [finding.kind for finding in samples.findings]


def test_images_and_masks(scenes) -> None:
    root = scenes("a_1", "a_2", "b_1")
    samples = read(root)
    assert samples.task == "segmentation"
    assert samples.modality == "image"
    assert samples.classes == ("sky", "road", "car")
    assert samples.ids == ("images/a_1.png", "images/a_2.png", "images/b_1.png")
    assert samples.x == [root / name for name in samples.ids]
    assert samples.masks.paths[2] == root / "masks" / "b_1.png"
    assert samples.y.tolist() == [0, 0, 0]
    assert samples.split.tolist() == ["", "", ""]
    assert samples.group.tolist() == ["a", "a", "b"]
    assert samples.masks.counts is None
    assert samples.findings == ()
    assert np.unique(samples.masks.read(0)).tolist() == [0, 1, 2]


def test_split_folders_share_classes_and_sequences(scenes) -> None:
    scenes("a_1", "b_1", split="train")
    samples = read(scenes("a_2", split="val"))
    assert samples.split.tolist() == ["train", "train", "val"]
    assert samples.group.tolist() == ["a", "b", "a"]


def test_only_its_own_reader_accepts(scenes) -> None:
    root = scenes("a_1")
    assert [name for name in registry.names("data") if registry.get("data", name).accepts(root)] == [
        "segmentation_pairs"
    ]
    assert not registry.get("data", "segmentation_pairs").accepts(root / "images" / "a_1.png")


def test_images_without_a_mask_and_masks_without_an_image(scenes, image, mask) -> None:
    root = scenes("a_1")
    image("d/images/a_2.png", 77)
    mask("d/masks/z.png", np.zeros((9, 12)))
    samples = read(root)
    assert samples.y.tolist() == [0, -1]
    assert samples.masks.paths[1] is None
    assert not samples.labelled
    assert kinds(samples) == ["unlabelled", "spare_mask"]
    assert samples.findings[0].examples == ("images/a_2.png",)
    assert samples.findings[1].examples == ("masks/z.png",)


def test_take_and_spec_cover_the_masks(scenes, mask) -> None:
    samples = read(scenes("a_1", "a_2"))
    taken = samples.take([1])
    assert taken.masks.paths == (samples.masks.paths[1],)
    spec = samples.spec()
    assert spec.task == "segmentation"
    assert spec.content_hash == read(samples.root).spec().content_hash
    (samples.root / "masks" / "a_2.png").rename(samples.root / "masks" / "a_2_mask.png")
    assert read(samples.root).spec().content_hash != spec.content_hash


def test_values_are_classes_where_nothing_lists_them(scenes) -> None:
    samples = read(scenes("a_1", classes=""))
    assert samples.classes == ("0", "1", "2")
    assert samples.masks.void == (IGNORE,)


def test_the_list_in_a_wrapping_folder_is_found(scenes, tmp_path: Path) -> None:
    scenes("a_1", split="train")
    (tmp_path / "top").mkdir()
    (tmp_path / "d").rename(tmp_path / "top" / "d")
    assert read(tmp_path / "top").classes == ("sky", "road", "car")
    (tmp_path / "top" / "d" / "classes.txt").rename(tmp_path / "top" / "classes.txt")
    assert read(tmp_path / "top").classes == ("sky", "road", "car")


def test_group_overrides_the_sequence(scenes) -> None:
    root = scenes("a_1", "a_2", "b_1")
    assert read(root, ReadOptions(group=r"_(\d)")).group.tolist() == ["1", "2", "1"]
    assert read(root, ReadOptions(group=r".*")).group.tolist() == ["images/a_1.png", "images/a_2.png", "images/b_1.png"]
    with pytest.raises(OptionError, match="no regular expression"):
        read(root, ReadOptions(group="("))
    with pytest.raises(OptionError, match="matches none of the 3 paths"):
        read(root, ReadOptions(group="x"))


def test_columns_make_no_sense_here(scenes) -> None:
    samples = read(scenes("a_1"), ReadOptions(text="t", label="l"))
    assert kinds(samples) == ["unused_option"]
    assert "--text and --label name columns; the labels here are masks" in samples.findings[0].message


def test_predictions_read_no_labels(scenes, write) -> None:
    root = scenes("a_1")
    write("d/masks/a_1.png", b"broken")
    samples = read(root, ReadOptions(every_row=True))
    assert samples.masks is None
    assert samples.y.tolist() == [-1]
    assert samples.task == "segmentation"


def test_what_lies_beside(scenes, image) -> None:
    root = scenes("a_1", split="train")
    image("d/preview/1.png")
    (root / "train" / "images" / "b.png").symlink_to(root / "gone")
    samples = read(root)
    assert len(samples) == 1
    assert kinds(samples) == ["unreadable", "other_files"]


def test_names_that_do_not_meet(files_of) -> None:
    with pytest.raises(DataError, match=r"no mask belongs to one of 1 images.*images/a\.jpg and masks/b\.png"):
        read(files_of("images/a.jpg", "masks/b.png"))


def test_jpeg_masks_are_refused(files_of) -> None:
    with pytest.raises(DataError, match=r"1 of 2 masks are JPEG files, such as masks/a\.jpg.*lossy.*Expected PNG"):
        read(files_of("images/a.jpg", "images/b.jpg", "masks/a.jpg", "masks/b.png"))


def test_masks_of_which_none_can_be_read(scenes, write, jpeg: bytes) -> None:
    root = scenes("a_1")
    for content, reason in ((b"", "an empty file"), (b"hello", "not an image"), (jpeg, "a JPEG: it is lossy")):
        write("d/masks/a_1.png", content)
        with pytest.raises(DataError, match=rf"none of 1 masks can be read. First: masks/a_1\.png: {reason}"):
            read(root)


def test_colours_without_a_palette_file(scenes, mask) -> None:
    root = scenes("a_1")
    mask("d/masks/a_1.png", [[(128, 0, 0), (0, 128, 0)]])
    with pytest.raises(DataError, match=r"Found 2 colours in 1 masks: \(0, 128, 0\), \(128, 0, 0\).*`r g b name`"):
        read(root)


def test_colours_with_a_palette_file(scenes, mask) -> None:
    root = scenes("a_1", classes="128 0 0 road\n0 128 0 tree\n")
    mask("d/masks/a_1.png", [[(128, 0, 0), (0, 128, 0), (1, 1, 1)]])
    samples = read(root)
    assert samples.masks.read(0).tolist() == [[0, 1, IGNORE]]
    assert samples.masks.colours == ((128, 0, 0), (0, 128, 0))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(scenes) -> None:
    root = scenes("a_1")
    (root / "classes.txt").chmod(0)
    with pytest.raises(DataError, match=r"classes\.txt can't be read: permission denied"):
        read(root)
    (root / "classes.txt").chmod(0o600)
    (root / "masks" / "a_1.png").chmod(0)
    with pytest.raises(DataError, match=r"a_1\.png: can't be opened: Permission denied"):
        read(root)


@pytest.fixture
def files_of(write, tmp_path: Path):
    """Make files that are no images; names alone matter."""

    def make(*names: str) -> Path:
        for name in names:
            write(f"e/{name}", b"-")
        return tmp_path / "e"

    return make


@pytest.mark.shared
def test_camvid(shared_data: Path) -> None:
    samples = read(shared_data / "camvid")
    assert len(samples.of("train")) == 367
    assert len(samples.of("val")) == 101
    assert len(samples.classes) == 11
    assert samples.labelled
    assert set(samples.group) == {"0001TP", "0006R0", "0016E5"}
    assert set(samples.of("val").group) == {"0016E5"}
    assert samples.masks.size(0) == (180, 240)
    assert samples.masks.colours[3] == (128, 64, 128)
    assert samples.findings == ()
