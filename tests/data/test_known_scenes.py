"""Cityscapes and Pascal VOC, laid out as their archives are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import DataError
from torchgraft.data import IGNORE, ReadOptions, check, read


@pytest.fixture
def cityscapes(image, mask, tmp_path: Path):
    """Two cities to train on, one to validate, one to test; masks of labelIds and what lies beside them."""

    def make(kind: str = "labelIds", values=((7, 23), (26, 0))) -> Path:
        for seed, (split, city) in enumerate(
            (("train", "aachen"), ("train", "bochum"), ("val", "lindau"), ("test", "b"))
        ):
            for frame in range(2):
                stem = f"{city}_000000_{frame:06}"
                image(f"d/leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png", 10 * seed + frame, (12, 10))
                given = np.repeat(np.repeat(np.array(values), 5, 0), 6, 1)
                for own, pixels in ((kind, given), ("instanceIds", given), ("color", np.stack([given] * 3, 2))):
                    mask(f"d/gtFine/{split}/{city}/{stem}_gtFine_{own}.png", 0 * pixels if split == "test" else pixels)
                (tmp_path / f"d/gtFine/{split}/{city}/{stem}_gtFine_polygons.json").write_text("{}")
        return tmp_path / "d"

    return make


def test_cityscapes(cityscapes) -> None:
    found, findings = check(read(cityscapes(), ReadOptions()))
    assert found.task == "segmentation" and len(found.classes) == 19
    assert found.classes[:3] == ("road", "sidewalk", "building") and found.classes[-1] == "bicycle"
    assert found.split.tolist() == ["test"] * 2 + ["train"] * 4 + ["val"] * 2
    assert found.y.tolist() == [-1, -1, 0, 0, 0, 0, 0, 0], "the test part's masks are empty files"
    assert sorted(set(found.group)) == [
        "aachen/aachen_000000",
        "b/b_000000",
        "bochum/bochum_000000",
        "lindau/lindau_000000",
    ]
    read_as = found.masks.read(2)
    names = [[found.classes[c] if c != IGNORE else "" for c in row] for row in read_as[::5, ::6]]
    assert names == [["road", "sky"], ["car", ""]]
    assert found.masks.colours[0] == (128, 64, 128)
    assert not {one.kind for one in findings} & {"unknown_value", "spare_mask", "other_files"}
    assert "spare_mask" not in {one.kind for one in found.findings}


def test_cityscapes_with_indices_of_training(cityscapes) -> None:
    """They are taken where both are there."""
    cityscapes()
    found = read(cityscapes("labelTrainIds", ((0, 10), (13, 255))), ReadOptions())
    assert all("labelTrainIds" in str(path) for path in found.masks.paths if path)
    assert found.masks.read(2)[::5, ::6].tolist() == [[0, 10], [13, IGNORE]]


def test_cityscapes_where_a_list_of_classes_says_otherwise(cityscapes) -> None:
    root = cityscapes()
    (root / "classes.txt").write_text("7: street\n26: vehicle\n")
    assert read(root, ReadOptions()).classes == ("street", "vehicle")


def test_a_folder_that_is_only_called_so(image, mask, tmp_path: Path) -> None:
    for stem in ("a", "b"):
        image(f"d/images/{stem}.png", ord(stem), (12, 10))
        mask(f"d/gtFine/{stem}_mask.png", np.arange(2).repeat(60).reshape(10, 12))
    assert read(tmp_path / "d", ReadOptions()).classes == ("0", "1")


@pytest.fixture
def voc(image, mask, write, tmp_path: Path) -> Path:
    for seed, stem in enumerate(("2007_000032", "2007_000033", "2007_000039", "2008_000001")):
        image(f"d/VOC2012/JPEGImages/{stem}.jpg", seed, (12, 10))
        if stem != "2008_000001":
            values = np.repeat([[0], [15], [255]], [4, 5, 1], 0).repeat(12, 1)
            palette = [(0, 0, 0)] * 15 + [(192, 128, 128)] + [(0, 0, 0)] * 239 + [(224, 224, 192)]
            mask(f"d/VOC2012/SegmentationClass/{stem}.png", values, palette)
            mask(f"d/VOC2012/SegmentationObject/{stem}.png", values, palette)
        write(f"d/VOC2012/Annotations/{stem}.xml", "<annotation/>")
    write("d/VOC2012/ImageSets/Segmentation/train.txt", "2007_000032\n2007_000039\n")
    write("d/VOC2012/ImageSets/Segmentation/val.txt", "2007_000033\n")
    write("d/VOC2012/ImageSets/Segmentation/trainval.txt", "2007_000032\n2007_000033\n2007_000039\n")
    return tmp_path / "d"


@pytest.mark.parametrize("below", ["", "VOC2012"])
def test_pascal_voc(voc: Path, below: str) -> None:
    found = read(voc / below, ReadOptions())
    assert [Path(one).stem for one in found.ids] == ["2007_000032", "2007_000033", "2007_000039"], "others have no mask"
    assert found.split.tolist() == ["train", "val", "train"]
    assert len(found.classes) == 21 and found.classes[15] == "person"
    assert found.masks.read(0)[:, 0].tolist() == [0] * 4 + [15] * 5 + [IGNORE]
    assert found.masks.colours[15] == (192, 128, 128)


def test_without_its_lists_all_images_of_voc_count(voc: Path) -> None:
    for path in (voc / "VOC2012/ImageSets/Segmentation").iterdir():
        path.unlink()
    found = read(voc, ReadOptions())
    assert len(found) == 4 and found.y.tolist() == [0, 0, 0, -1]
    assert set(found.split) == {""}


def test_masks_that_are_lists_of_nothing(voc: Path) -> None:
    for name in ("train", "val"):
        (voc / f"VOC2012/ImageSets/Segmentation/{name}.txt").write_text("2009_1\n")
    with pytest.raises(DataError, match="no mask belongs to one of 0 images"):
        read(voc, ReadOptions())


def test_a_list_that_can_not_be_read(voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path, **_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", closed)
    with pytest.raises(DataError, match=r"train\.txt can't be read: Permission denied"):
        read(voc, ReadOptions())
