from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from torchgraft.backbones import Network
from torchgraft.core.errors import OptionError
from torchgraft.train.augment import AugmentOptions, suggest
from torchgraft.train.loader import ImageLoader
from torchgraft.tune._loaders import augmentation, loader_for
from torchgraft.tune._recipe import TrainOptions


def test_texts_as_their_tokens(hard_text):
    problem = hard_text()
    backbone = problem.resources.backbones["test/text"]
    batch = loader_for(problem, backbone, TrainOptions(), epochs=3)[0].load(np.array([3, 1]), None)
    assert batch.inputs[0].tolist() == backbone.tokenizer([problem.blocks["text"][i] for i in (3, 1)])
    assert batch.y.tolist() == problem.y[[3, 1]].tolist()


def test_tokens_are_hidden_where_asked(hard_text):
    problem = hard_text()
    problem = replace(problem, blocks={"text": [f"{text} {text}" for text in problem.blocks["text"]]})
    backbone = problem.resources.backbones["test/text"]
    loader, _, words = loader_for(problem, backbone, TrainOptions(token_dropout=0.5), epochs=3)
    rows = np.arange(8)
    plain, hidden = loader.load(rows, None), loader.load(rows, torch.Generator().manual_seed(0))
    assert not torch.equal(plain.inputs[0], hidden.inputs[0])
    assert words == "On: token_dropout 0.5 (as asked). Off: smoothing (60 texts, on from 20000)."
    words = loader_for(problem, backbone, TrainOptions(mixup=0.2, rotation=9), epochs=3)[2]
    assert words == (
        "texts stay as they are. Off: token_dropout, smoothing (60 texts, on from 20000); "
        "rotation, mixup (not made for texts)."
    )


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.4}, {"cutmix": 1.0}])
def test_photos_are_mixed_where_asked(trained_photos, mixing):
    problem = trained_photos()
    backbone = problem.resources.backbones["test/photo"]
    loader, settled, words = loader_for(problem, backbone, TrainOptions(augment="none", **mixing), epochs=3)
    assert words.startswith("pictures stay as they are, but for what is asked. ")
    assert all(f"{name} {value:g} (as asked)" in words for name, value in mixing.items())
    assert {name: value for name in ("mixup", "cutmix") if (value := getattr(settled, name))} == mixing
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
    assert (off, words) == (AugmentOptions(), "pictures stay as they are, but for what is asked.")
    found, words = augmentation(problem, backbone, loader, TrainOptions())
    assert (found, words) in [suggest(24, 2, (16, 16), asymmetric=way) for way in (False, True)]


def test_what_is_asked_for_takes_the_place_of_what_suits(trained_photos):
    problem = trained_photos()
    backbone = problem.resources.backbones["test/photo"]
    asked = TrainOptions(rotation=15, noise=4.0, flip=0.0)
    loader, _, words = loader_for(problem, backbone, asked, epochs=3)
    suited = suggest(24, 2, (16, 16))[0]
    assert loader.augment.options == replace(suited, rotation=15, noise=4.0, flip=0.0)
    assert "On: rotation 15 (as asked), noise 4 (as asked)." in words
    assert words.endswith(
        "Off: flip (as asked); vertical_flip (only when asked); colour (12 a class, on from 16); "
        "erasing, randaugment (12 a class, on from 256); mixup, cutmix, smoothing (24 pictures, on from 5000)."
    )
    with pytest.raises(OptionError, match="rotation expects a number from 0 to 180"):
        loader_for(problem, backbone, TrainOptions(rotation=200), epochs=3)


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
