from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from torchgraft.core.errors import DataError, OptionError
from torchgraft.data import ReadOptions, image_folder, read
from torchgraft.data.base import Samples


def kinds(samples: Samples) -> list[str]:
    return [finding.kind for finding in samples.findings]


@pytest.fixture
def files(write, tmp_path: Path):
    """Make empty files; reading looks at names alone."""

    def make(*names: str) -> Path:
        for name in names:
            write(f"d/{name}", b"-")
        return tmp_path / "d"

    return make


def test_class_folders(files) -> None:
    root = files("bees/2.jpg", "ants/1.PNG", "ants/deep/3.jpeg")
    samples = read(root)
    assert samples.modality == "image"
    assert samples.classes == ("ants", "bees")
    assert samples.ids == ("ants/1.PNG", "ants/deep/3.jpeg", "bees/2.jpg")
    assert samples.x == [root / name for name in samples.ids]
    assert samples.y.tolist() == [0, 0, 1]
    assert samples.split.tolist() == ["", "", ""]
    assert samples.findings == ()


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "dev", "testing"), ("train", "validation", "TEST")]
)
def test_split_folders(files, names: tuple[str, ...]) -> None:
    samples = read(files(*(f"{name}/{label}/1.jpg" for name in names for label in ("a", "b"))))
    assert Counter(samples.split.tolist()) == {"train": 2, "val": 2, "test": 2}
    assert samples.classes == ("a", "b")


def test_images_beside_split_folders_are_left_out(files) -> None:
    samples = read(files("train/a/1.jpg", "val/a/1.jpg", "preview.jpg", "extra/a/1.jpg"))
    assert len(samples) == 2
    assert kinds(samples) == ["other_files"]
    assert samples.findings[0].count == 2


def test_a_train_is_also_a_vehicle(files) -> None:
    samples = read(files("train/1.jpg", "bus/1.jpg", "car/1.jpg"))
    assert samples.classes == ("bus", "car", "train")


def test_one_folder_around_everything(files) -> None:
    samples = read(files("flowers/train/rose/1.jpg", "flowers/test/rose/2.jpg", "__MACOSX/flowers/._1.jpg"))
    assert samples.classes == ("rose",)
    assert samples.split.tolist() == ["test", "train"]
    assert read(files("flowers/train/rose/1.jpg")).ids[0] == "flowers/test/rose/2.jpg"


def test_flat_images_are_unlabelled(files) -> None:
    samples = read(files("1.jpg", "2.png"))
    assert samples.y.tolist() == [-1, -1]
    assert samples.classes == ()
    assert samples.findings == ()


def test_split_folders_without_classes(files) -> None:
    samples = read(files("train/1.jpg", "test/2.jpg"))
    assert samples.classes == ()
    assert samples.split.tolist() == ["test", "train"]


def test_images_beside_class_folders_have_no_label(files) -> None:
    samples = read(files("a/1.jpg", "b/1.jpg", "stray.jpg"))
    assert samples.y.tolist() == [0, 1, -1]
    assert kinds(samples) == ["unlabelled"]


def test_one_image(image) -> None:
    path = image("x.png")
    samples = read(path)
    assert samples.x == [path]
    assert samples.ids == ("x.png",)
    assert samples.y.tolist() == [-1]


def test_numbers_as_class_names_are_sorted_by_value(files) -> None:
    assert read(files("10/1.jpg", "9/1.jpg")).classes == ("9", "10")


def test_other_files_empty_folders_and_broken_links(files, tmp_path: Path) -> None:
    root = files("a/1.jpg", "b/1.jpg", "readme.txt", "b/.DS_Store", "c/notes.md")
    (root / "a" / "2.jpg").symlink_to(root / "gone")
    samples = read(root)
    assert len(samples) == 2
    assert kinds(samples) == ["unreadable", "other_files", "empty_class"]
    assert samples.findings[0].examples == ("a/2.jpg",)
    assert samples.findings[1].examples == ("c/notes.md", "readme.txt")
    assert samples.findings[2].examples == ("c",)
    assert samples.findings[0].message.startswith("1 folder or link can't be opened")
    assert samples.findings[1].message.startswith("2 files are no images: ")
    assert samples.findings[2].message.startswith("1 folder holds no images: ")


def test_a_folder_called_x_jpg(files) -> None:
    root = files("x.jpg/1.jpg", "y/1.jpg")
    assert read(root).classes == ("x.jpg", "y")
    assert read(root / "x.jpg").ids == ("1.jpg",)


def test_strange_names(files) -> None:
    labels = ["it's", 'a "b"', "<b>&amp;", "naïve 猫", "new\nline", "100%"]
    samples = read(files(*(f"{label}/{label}.jpg" for label in labels)))
    assert set(samples.classes) == set(labels)
    assert all(path.is_file() for path in samples.x)
    assert samples.spec().content_hash


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_a_name_that_is_not_utf8(files) -> None:
    root = files("a/1.jpg")
    raw = os.fsencode(root) + b"/b\xe9"
    try:
        Path(os.fsdecode(raw)).mkdir()
    except OSError:
        pytest.skip("this file system refuses such names")
    Path(os.fsdecode(raw) + "/1.jpg").touch()
    samples = read(root)
    assert samples.classes == ("a", "b\\xe9")
    assert samples.spec().content_hash
    assert samples.x[1].is_file()


def test_images_beside_masks_are_left_to_their_own_reader(files) -> None:
    root = files("train/images/1.jpg", "train/masks/1.png")
    assert not image_folder.accepts(root)
    assert image_folder.accepts(root / "train" / "images")
    with pytest.raises(DataError, match=r"folders images, masks: images with masks or boxes, not classes"):
        image_folder.read(root, ReadOptions())


def test_folders_that_may_be_data_sets_are_pointed_out(files) -> None:
    samples = read(files(*(f"{domain}/{label}/1.jpg" for domain in ("amazon", "dslr") for label in ("bike", "mug"))))
    assert samples.classes == ("amazon", "dslr")
    assert kinds(samples) == ["nested"]


def test_groups_by_a_pattern(files) -> None:
    root = files("a/p1_1.jpg", "a/p1_2.jpg", "b/p2_1.jpg", "b/other.jpg")
    samples = read(root, ReadOptions(group=r"(p\d+)_"))
    assert samples.group.tolist() == ["p1", "p1", "b/other.jpg", "p2"]
    assert kinds(samples) == ["ungrouped"]
    assert read(root, ReadOptions(group=r"p\d")).group.tolist() == ["p1", "p1", "b/other.jpg", "p2"]


def test_groups_by_a_bad_pattern(files) -> None:
    root = files("a/1.jpg", "b/1.jpg")
    with pytest.raises(OptionError, match=r"--group '\(p' is no regular expression: .*paths like a/1\.jpg"):
        read(root, ReadOptions(group="(p"))
    with pytest.raises(OptionError, match="matches none of the 2 paths"):
        read(root, ReadOptions(group="patient"))


def test_options_for_columns_are_said_to_be_unused(files) -> None:
    samples = read(files("a/1.jpg", "b/1.jpg"), ReadOptions(text="t", label="l"))
    assert kinds(samples) == ["unused_option"]
    assert "--text and --label" in samples.findings[0].message


@pytest.mark.shared
def test_hymenoptera(shared_data: Path) -> None:
    samples = read(shared_data / "hymenoptera")
    assert Counter(samples.split.tolist()) == {"train": 243, "val": 153}
    assert samples.classes == ("ants", "bees")
    assert samples.labelled
    assert samples.findings == ()


@pytest.mark.shared
def test_cifar10_subset(shared_data: Path) -> None:
    samples = read(shared_data / "cifar10_subset")
    assert Counter(samples.split.tolist()) == {"train": 2000, "test": 1000}
    assert len(samples.classes) == 10


@pytest.mark.shared
def test_other_shapes_of_folders(shared_data: Path) -> None:
    assert read(shared_data / "imagenet_200").classes == ()
    assert kinds(read(shared_data / "office10")) == ["nested"]
    assert read(shared_data / "camvid").task == "segmentation"
    with pytest.raises(DataError, match="Found 10 folders"):
        read(shared_data / "fsdd")
