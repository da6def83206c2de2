"""Scenes with further pictures: aligned, of the image's size, flagged where they are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from torchgraft.core.errors import DataError
from torchgraft.data import Masks
from torchgraft.train.dense_loader import DenseLoader
from torchgraft.train.view_loader import BLANK, Redrawn, ViewLoader, read_view


def _scene(path: Path, level: int, size: tuple[int, int] = (48, 40)) -> Path:
    Image.new("RGB", size, (level,) * 3).save(path)
    return path


@pytest.fixture
def scenes(tmp_path: Path) -> DenseLoader:
    masks = []
    for i in range(2):
        masks.append(tmp_path / f"{i}m.png")
        Image.fromarray(np.full((40, 48), i, np.uint8)).save(masks[-1])
    images = [_scene(tmp_path / f"{i}.png", 10 + i) for i in range(2)]
    return DenseLoader(images, Masks(paths=tuple(masks), values=(0, 1), colours=((0, 0, 0),) * 2))


def test_views_follow_their_image(scenes: DenseLoader, tmp_path: Path) -> None:
    small = _scene(tmp_path / "small.png", 99, (24, 20))
    loader = ViewLoader(scenes, {"a": (None, small), "b": (_scene(tmp_path / "b.png", 77), None)})
    assert loader.there.tolist() == [[True, False, True], [True, True, False]]
    x, a, b, there = loader.load(np.array([1, 0]), None).inputs
    assert x.shape == a.shape == b.shape == (2, 3, 40, 48) and a.dtype == torch.uint8
    assert torch.equal(there, torch.from_numpy(loader.there[[1, 0]]))
    assert [int(one.float().mean()) for one in (*x, *a, *b)] == [11, 10, 99, BLANK, BLANK, 77]
    assert loader.picture(1)[0].mean() == 11 and len(loader) == 2


def test_redrawn_pictures_keep_their_labels(scenes: DenseLoader) -> None:
    drawn = []

    def draw(row: int) -> np.ndarray:
        drawn.append(row)
        return np.full((40, 48, 3), 200 + row, np.uint8)

    loader = Redrawn(scenes, draw)
    for _ in range(2):
        batch = loader.load(np.array([0, 1]), None)
    assert batch.inputs[0][1].unique().tolist() == [201] and batch.y[1].unique().tolist() == [1]
    assert drawn == [0, 1]
    forgetful = Redrawn(scenes, draw, keep=0)
    forgetful.picture(0), forgetful.picture(0)
    assert drawn == [0, 1, 0, 0]


def test_drawing_may_load_other_scenes(scenes: DenseLoader) -> None:
    once = Redrawn(scenes, lambda row: scenes.load(np.array([row]), None).inputs[0][0].permute(1, 2, 0).numpy(), keep=0)
    twice = Redrawn(once, lambda row: once.load(np.array([row]), None).inputs[0][0].permute(1, 2, 0).numpy(), keep=0)
    rows = np.arange(40) % 2
    assert twice.load(rows, None).inputs[0].float().mean((1, 2, 3)).tolist() == (10 + rows).tolist()


def test_a_damaged_view_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no")
    with pytest.raises(DataError, match="broken.png, a view, can't be read"):
        read_view(broken, (4, 4))
