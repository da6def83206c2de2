from __future__ import annotations

from pathlib import Path

import pytest

from torchgraft.data._pairs import pair_up, parts
from torchgraft.data._walk import walk


@pytest.fixture
def files(write, tmp_path: Path):
    """Make empty files; names alone are looked at."""

    def make(*names: str) -> Path:
        for name in names:
            write(f"d/{name}", b"-")
        return tmp_path / "d"

    return make


def paired(root: Path) -> list[tuple[str, str | None, str]]:
    pairs, _ = pair_up(walk(root), parts(root))
    return [(str(pair.image), pair.mask and str(pair.mask), pair.split) for pair in pairs]


@pytest.mark.parametrize(
    ("images", "masks", "split"),
    [
        ("images/1.jpg", "masks/1.png", ""),
        ("Images/1.jpg", "Labels/1.png", ""),
        ("train/images/1.jpg", "train/masks/1.png", "train"),
        ("images/validation/1.jpg", "annotations/validation/1.png", "val"),
        ("wrapped/once/test/images/1.jpg", "wrapped/once/test/masks/1.png", "test"),
        ("images/cityA/1.jpg", "masks/cityA/1.png", ""),
    ],
)
def test_layouts(files, images: str, masks: str, split: str) -> None:
    assert paired(files(images, masks)) == [(images, masks, split)]


@pytest.mark.parametrize("ending", ["", "_mask", "_L", "_labelIds", "_label", "_MASK"])
def test_endings_of_masks(files, ending: str) -> None:
    assert paired(files("images/a_1.jpg", f"masks/a_1{ending}.png"))[0][1] == f"masks/a_1{ending}.png"


def test_the_plain_name_wins_and_the_other_is_spare(files) -> None:
    root = files("images/a.jpg", "masks/a.png", "masks/a_mask.png", "masks/z.png")
    pairs, spare = pair_up(walk(root), parts(root))
    assert str(pairs[0].mask) == "masks/a.png"
    assert list(map(str, spare)) == ["masks/a_mask.png", "masks/z.png"]


def test_an_image_without_mask(files) -> None:
    assert paired(files("images/a.jpg", "images/b.jpg", "masks/b.png"))[0] == ("images/a.jpg", None, "")


def test_the_name_below_split_and_folder(files) -> None:
    root = files("images/train/cityA/1.jpg", "masks/train/cityA/1.png")
    assert str(pair_up(walk(root), parts(root))[0][0].name) == "cityA/1.jpg"


@pytest.mark.parametrize(
    "names",
    [
        ("ants/1.jpg", "bees/1.jpg"),
        ("images/1.jpg", "labels/1.txt"),
        ("images/1.jpg",),
        ("train/ants/1.jpg", "val/ants/1.jpg"),
        ("day/images/1.jpg", "day/masks/1.png", "night/images/1.jpg", "night/masks/1.png"),
    ],
)
def test_what_is_no_set_of_pairs(files, names: tuple[str, ...]) -> None:
    assert parts(files(*names)) == ()


def test_a_link_to_itself_is_passed_over(files) -> None:
    root = files("images/1.jpg", "masks/1.png")
    (root / "loop").symlink_to(root / "loop")
    assert len(parts(root)) == 1


def test_nothing_there(tmp_path: Path) -> None:
    assert parts(tmp_path) == ()
    assert parts(tmp_path / "gone") == ()
