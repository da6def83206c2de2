"""Photos of any size in, logits of that size out; the same as the pieces by hand."""

from __future__ import annotations

import copy
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft import backbones
from torchgraft.backbones import Backbone, Levels
from torchgraft.core.types import ImagePreprocessing
from torchgraft.model.decoders import decoder
from torchgraft.model.scene_network import SceneNetwork

_SMP = pytest.mark.skipif(find_spec("segmentation_models_pytorch") is None, reason="segmentation is not installed")
STEPS = ImagePreprocessing(size=64, resize=64, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return backbones.load("packaged/efficientnet_lite0")


def _photos(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def test_it_is_normalisation_levels_and_decoder(lite0: Backbone) -> None:
    net = SceneNetwork.of(lite0, "linear", 4)
    x = _photos(2, 3, 64, 96)
    how = lite0.preprocessing
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (how.mean, how.std))
    with torch.inference_mode():
        maps = Levels.of(lite0)((x / 255 - mean) / std)
        torch.testing.assert_close(net.logits(x), net.decoder(maps, (64, 96)), atol=1e-4, rtol=1e-4)
        for z, wanted in zip(net.features(x), maps, strict=True):
            torch.testing.assert_close(z, wanted, atol=1e-4, rtol=1e-4)


@_SMP
@pytest.mark.parametrize("name", ["linear", "deeplabv3plus", "unet"])
@pytest.mark.parametrize("size", [(96, 96), (45, 70)])
def test_logits_have_the_size_of_the_photo(lite0: Backbone, name: str, size: tuple[int, int]) -> None:
    net = SceneNetwork.of(lite0, name, 5)
    with torch.inference_mode():
        assert net(_photos(2, 3, *size)).shape == (2, 5, *size)
    assert net.levels.strides[-1] == (16 if name == "deeplabv3plus" else 32)
    assert net.multiple == 32
    assert net.full_size(45, 70) == (64, 96)


def test_zeros_fill_up_what_is_normalised() -> None:
    net = _tiny()
    seen = []
    net.levels.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = _photos(1, 3, 30, 33)
    net(x)
    assert seen[0].shape == (1, 3, 32, 36)
    assert not seen[0][:, :, 30:].any()
    assert not seen[0][:, :, :, 33:].any()
    expected = (x / 255 - torch.tensor(STEPS.mean).view(1, 3, 1, 1)) / torch.tensor(STEPS.std).view(1, 3, 1, 1)
    torch.testing.assert_close(seen[0][:, :, :30, :33], expected)


def _tiny() -> SceneNetwork:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU()),
    )
    levels = Levels(module, 64)
    return SceneNetwork(levels, decoder("linear", levels.channels, levels.strides, 3), STEPS).eval()


def test_the_photos_given_are_not_changed() -> None:
    x = _photos(1, 3, 32, 32).float()
    before = x.clone()
    _tiny()(x)
    assert torch.equal(x, before)


def test_it_copies_saves_and_trains() -> None:
    net = _tiny()
    twin = copy.deepcopy(net).train()
    x = _photos(2, 3, 32, 36)
    twin(x).mean().backward()
    assert all(p.grad is not None for p in twin.parameters())
    assert all(p.grad is None for p in net.parameters())
    twin.eval().load_state_dict(net.state_dict())
    assert torch.equal(twin(x), net(x))
