"""Tiles are the whole: probabilities, classes, and the memory-mapped files that they are written to."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft import backbones
from torchgraft.backbones import Levels
from torchgraft.core.errors import DataError, OptionError, UserError
from torchgraft.core.types import ImagePreprocessing
from torchgraft.model.decoders import decoder
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.model.tiles import needed_halo, predict_map, tiled

_SMP = pytest.mark.skipif(find_spec("segmentation_models_pytorch") is None, reason="segmentation is not installed")
STEPS = ImagePreprocessing(size=64, resize=64, mean=(0.5,) * 3, std=(0.25,) * 3)


class _Squeeze(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x.mean((2, 3), keepdim=True).sigmoid()


def _network(name: str = "linear", *, squeeze: bool = False, **options) -> SceneNetwork:
    """Strides 2, 4 and 8; a pixel sees few others."""
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU6(), _Squeeze() if squeeze else nn.Identity())
        for a, b in ((3, 6), (6, 8), (8, 10))
    ]
    levels = Levels(nn.Sequential(*blocks), 64)
    head = decoder(name, levels.channels, levels.strides, 4, **options)
    return SceneNetwork(levels, head, STEPS).eval().requires_grad_(False)


def _image(height: int = 150, width: int = 215) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _whole(network: SceneNetwork, image: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        return network(torch.from_numpy(image).permute(2, 0, 1)[None])[0]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("linear", {}),
        pytest.param("unet", {"widths": (16, 8, 8)}, marks=_SMP),
        pytest.param("deeplabv3plus", {"width": 16, "rates": (1, 2, 3)}, marks=_SMP),
    ],
)
@pytest.mark.parametrize("size", [(150, 215), (160, 30), (256, 256)])
def test_tiles_are_the_whole(name: str, options: dict, size: tuple[int, int]) -> None:
    network, image = _network(name, **options), _image(*size)
    whole = _whole(network, image)
    covered, found = np.zeros(size, int), torch.zeros_like(whole)
    for rows, columns, logits in tiled(network, image, tile=32):
        assert max(logits.shape[1:]) <= 32 + 2 * needed_halo(network)
        covered[rows, columns] += 1
        found[:, rows, columns] = logits
    assert (covered == 1).all()
    torch.testing.assert_close(found.softmax(0), whole.softmax(0), atol=1e-5, rtol=0)


def test_less_than_the_halo_is_not_the_whole() -> None:
    network, image = _network(), _image()
    needed = needed_halo(network)
    assert needed > 8

    def gap(halo: int) -> float:
        pieces = tiled(network, image, tile=32, halo=halo)
        whole = _whole(network, image)
        return max(float((logits - whole[:, rows, columns]).abs().max()) for rows, columns, logits in pieces)

    assert gap(needed) < 1e-5 < gap(needed - 8)


def test_the_halo_by_hand() -> None:
    """Columns 0 to 7 are seen by places 0 and 1 of stride 8 (which see 7 pixels on). Place 1 is blended as far as the
    centre of place 2, pixel 20, and half a place of stride 4 further, pixel 22: 15 from column 7, rounded up to 16.
    """
    assert needed_halo(_network()) == 16
    blind = _network(squeeze=True)
    assert needed_halo(blind) is None
    assert len(list(tiled(blind, _image(64, 64), tile=32))) == 1, "of 512 pixels around, all are there"


def test_lite0_needs_what_its_convolutions_add_up_to() -> None:
    network = SceneNetwork.of(backbones.load("packaged/efficientnet_lite0"), "linear", 3)
    sides = [(k // 2) * jump for k, jump in _lite0_convolutions()]
    assert sum(sides) <= needed_halo(network) <= sum(sides) + 2 * 32


def _lite0_convolutions() -> list[tuple[int, int]]:
    """(kernel, stride of the input) of each convolution that looks around itself."""
    stages = [(1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1)]
    found, jump = [(3, 1)], 2
    for repeats, kernel, stride in stages:
        for i in range(repeats):
            found.append((kernel, jump))
            jump *= stride if i == 0 else 1
    return found


@pytest.mark.parametrize("kind", [np.uint8, np.float16])
def test_maps_go_into_files(tmp_path: Path, kind: type) -> None:
    network, image = _network(), _image()
    source = np.memmap(tmp_path / "image", np.uint8, "w+", shape=image.shape)
    source[:] = image
    source.flush()
    given = np.memmap(tmp_path / "image", np.uint8, "r", shape=image.shape)
    shape = image.shape[:2]
    classes = np.memmap(tmp_path / "classes", np.uint8, "w+", shape=shape)
    confidence = np.memmap(tmp_path / "confidence", kind, "w+", shape=shape)
    a, b = predict_map(network, given, tile=32, classes=classes, confidence=confidence)
    assert a is classes and b is confidence
    p, k = _whole(network, image).softmax(0).max(0)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "classes", np.uint8).reshape(shape), k.numpy())
    scale, near = (255, 0.51) if kind is np.uint8 else (1, 1e-3)
    stored = np.fromfile(tmp_path / "confidence", kind).reshape(shape).astype(float)
    np.testing.assert_allclose(stored, p.numpy() * scale, atol=near)
    np.testing.assert_array_equal(given, image)


def test_what_was_written_to_a_copy_stays(tmp_path: Path) -> None:
    network, image = _network(), _image(64, 64)
    np.zeros(image.shape[:2], np.uint8).tofile(tmp_path / "classes")
    classes = np.memmap(tmp_path / "classes", np.uint8, "c", shape=image.shape[:2])
    predict_map(network, image, classes=classes)
    np.testing.assert_array_equal(classes, _whole(network, image).argmax(0).numpy())


def test_arrays_are_made_where_none_are_given() -> None:
    image = _image(64, 72)
    classes, confidence = predict_map(_network(), image)
    assert classes.shape == confidence.shape == (64, 72)
    assert classes.dtype == confidence.dtype == np.uint8


def test_bad_input_is_refused() -> None:
    network, image = _network(), _image(64, 64)
    with pytest.raises(DataError, match="64x64 uint8"):
        next(tiled(network, image[:, :, 0]))
    with pytest.raises(DataError, match="64x64x3 float64"):
        predict_map(network, image / 255)
    with pytest.raises(DataError, match="got list"):
        predict_map(network, [1, 2])
    with pytest.raises(OptionError, match="multiples of 8.*tile 0, halo 4"):
        predict_map(network, image, tile=0, halo=4)
    with pytest.raises(DataError, match=r"64x64, uint8.*classes is 64x63 uint8; confidence is 64x64 int64"):
        predict_map(network, image, classes=np.empty((64, 63), np.uint8), confidence=np.empty((64, 64), np.int64))
    with pytest.raises(UserError, match="eval mode"):
        predict_map(_network().train(), image)
