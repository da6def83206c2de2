from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from torchgraft.backbones import Network
from torchgraft.train.augment import AugmentOptions, suggest
from torchgraft.train.loader import ImageLoader
from torchgraft.tune._loaders import augmentation, loader_for
from torchgraft.tune._recipe import TrainOptions


def test_texts_as_their_tokens(hard_text):
    problem = hard_text()
    backbone = problem.resources.backbones["test/text"]
    batch = loader_for(problem, backbone, TrainOptions())[0].load(np.array([3, 1]), None)
    assert batch.inputs[0].tolist() == backbone.tokenizer([problem.blocks["text"][i] for i in (3, 1)])
    assert batch.y.tolist() == problem.y[[3, 1]].tolist()


def test_tokens_are_hidden_where_asked(hard_text):
    problem = hard_text()
    problem = replace(problem, blocks={"text": [f"{text} {text}" for text in problem.blocks["text"]]})
    backbone = problem.resources.backbones["test/text"]
    loader, words = loader_for(problem, backbone, TrainOptions(token_dropout=0.5))
    rows = np.arange(8)
    plain, hidden = loader.load(rows, None), loader.load(rows, torch.Generator().manual_seed(0))
    assert not torch.equal(plain.inputs[0], hidden.inputs[0])
    assert words == "50% of each text's tokens are hidden"
    words = loader_for(problem, backbone, TrainOptions(mixup=0.2))[1]
    assert words == "texts stay as they are; mixup and cutmix are for pictures, not used"


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.4}, {"cutmix": 1.0}])
def test_photos_are_mixed_where_asked(trained_photos, mixing):
    problem = trained_photos()
    backbone = problem.resources.backbones["test/photo"]
    loader, words = loader_for(problem, backbone, TrainOptions(augment="none", **mixing))
    assert words == "pictures stay as they are" + "".join(f" With {name} {value:g}." for name, value in mixing.items())
    plain = loader.load(np.arange(8), None)
    assert plain.inputs[0].shape == (8, 16, 16, 3)
    assert plain.y.tolist() == problem.y[:8].tolist()
    batch = loader.load(np.arange(8), torch.Generator().manual_seed(0))
    assert torch.equal(batch.inputs[0], plain.inputs[0]) is not bool(mixing)
    assert batch.y.shape == ((8, 2) if mixing else (8,))


def test_augmentation_by_number_and_size(trained_photos):
    problem = trained_photos()
    backbone = problem.resources.backbones["test/photo"]
    loader = _plain(problem, backbone)
    off, words = augmentation(problem, backbone, loader, TrainOptions(augment="none"))
    assert (off, words) == (AugmentOptions(), "pictures stay as they are")
    found, words = augmentation(problem, backbone, loader, TrainOptions())
    assert (found, words) in [suggest(24, 2, (16, 16), asymmetric=way) for way in (False, True)]


def test_pictures_whose_mirror_images_are_of_another_class_are_not_mirrored(trained_photos, tmp_path):
    """Dark on the left is one class, dark on the right the other; the features are the picture itself."""
    rng = np.random.default_rng(0)
    paths, y = [], np.arange(60) % 2
    for i, side in enumerate(y):
        picture = np.full((16, 16, 3), 200, np.uint8)
        picture[:, 8 * side : 8 * side + 8] = 20 + rng.integers(0, 20)
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(picture).save(paths[-1])
    problem = trained_photos()
    backbone = replace(
        problem.resources.backbones["test/photo"], build=lambda: Network(module=nn.AdaptiveAvgPool2d(2)), width=3
    )
    halves = replace(backbone, build=lambda: Network(module=_Halves()), width=6)
    problem = replace(problem, blocks={"image": paths}, y=y)
    loader = _plain(problem, backbone)
    assert augmentation(problem, halves, loader, TrainOptions())[0].flip == 0.0
    assert augmentation(problem, backbone, loader, TrainOptions())[0].flip == 0.5, "an average knows no side"


def _plain(problem, backbone) -> ImageLoader:
    return ImageLoader(problem.blocks["image"], problem.y, backbone.preprocessing, classes=2)


class _Halves(nn.Module):
    """B x 3 x H x W -> B x 6 x 1 x 1: the mean colours of the left and of the right half."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, dim=3)
        return torch.cat([left.mean((2, 3)), right.mean((2, 3))], dim=1)[:, :, None, None]
