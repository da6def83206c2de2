"""Scenes as batches: sizes, filling, labels beside pixels, and files that changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from torchgraft.core.errors import DataError
from torchgraft.data import IGNORE, Masks
from torchgraft.train.dense_augment import DenseAugment, DenseAugmentOptions
from torchgraft.train.dense_loader import DenseLoader


@pytest.fixture
def loader(tmp_path: Path) -> DenseLoader:
    """Three scenes of two sizes; the image shows 80 times the class."""
    images, files = [], []
    for i, (height, width) in enumerate([(40, 48), (36, 64), (40, 48)]):
        labels = np.random.default_rng(i).integers(0, 3, (height, width)).astype(np.uint8)
        images.append(tmp_path / f"{i}.png")
        files.append(tmp_path / f"{i}m.png")
        Image.fromarray(np.repeat(80 * labels[..., None], 3, axis=2)).save(images[-1])
        Image.fromarray(labels).save(files[-1])
    masks = Masks(paths=tuple(files), values=(0, 1, 2), colours=((0, 0, 0),) * 3)
    return DenseLoader(images, masks)


def test_pixels_and_labels_go_together(loader: DenseLoader) -> None:
    batch = loader.load(np.array([2, 0]), None)
    (x,), y = batch.inputs, batch.y
    assert x.shape == (2, 3, 40, 48) and x.dtype == torch.uint8 and y.dtype == torch.int64
    assert torch.equal(x[:, 0].long(), 80 * y)
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_measuring_puts_one_size_together_and_training_fills(loader: DenseLoader) -> None:
    assert [rows.tolist() for rows in loader.plan(8, None)] == [[1], [0, 2]]
    assert sorted(np.concatenate(loader.plan(2, 3)).tolist()) == [0, 1, 2]
    assert loader.largest == (40, 64)
    batch = loader.load(np.array([0, 1]), None)
    assert batch.y.shape == (2, 40, 64)
    assert (batch.y[0, :, 48:] == IGNORE).all() and (batch.y[1, 36:] == IGNORE).all()
    assert (batch.y[0, :, :48] < 3).all()


def test_augmented_batches_have_one_size_and_follow_the_generator(loader: DenseLoader) -> None:
    augment = DenseAugment(DenseAugmentOptions(colour=0.0, scale=(1.0, 1.0), flip=0.5), (32, 32))
    other = loader.augmented(augment)
    one, two = (other.load(np.arange(3), torch.Generator().manual_seed(4)) for _ in range(2))
    assert one.inputs[0].shape == (3, 3, 32, 32) and torch.equal(one.inputs[0], two.inputs[0])
    known = one.y != IGNORE
    assert torch.equal(one.inputs[0][:, 0].long()[known], 80 * one.y[known])
    assert loader.augment is None, "the plain loader stays plain"


def test_what_is_not_kept_is_decoded_anew(loader: DenseLoader) -> None:
    again = DenseLoader(loader.paths, loader.masks, keep=0)
    assert not again.kept
    assert torch.equal(again.load(np.array([0]), None).inputs[0], loader.load(np.array([0]), None).inputs[0])


def test_a_file_that_vanished_is_named(loader: DenseLoader) -> None:
    again = DenseLoader(loader.paths, loader.masks, keep=0)
    loader.paths[0].unlink()
    with pytest.raises(DataError, match=r"0\.png can't be read any more"):
        again.load(np.array([0]), None)
