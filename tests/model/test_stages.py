"""Maps are made once, square by square, with as much around them as they depend on; few rows of them are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft.backbones import Levels
from torchgraft.core.types import ImagePreprocessing
from torchgraft.model._stages import Stage, Staged, cuts, fields
from torchgraft.model.decoders import decoder
from torchgraft.model.scene_network import SceneNetwork

STEPS = ImagePreprocessing(size=64, resize=64, mean=(0.5,) * 3, std=(0.25,) * 3)


def _network(module: nn.Module | None = None, name: str = "linear", **options) -> SceneNetwork:
    """Strides 2, 4 and 8 where none is given; a pixel sees few others."""
    torch.manual_seed(0)
    halved = nn.Sequential(*(nn.Conv2d(a, b, 3, 2, 1) for a, b in ((3, 6), (6, 8), (8, 10))))
    levels = Levels(module or halved, 64)
    head = decoder(name, levels.channels, levels.strides, 4, **options)
    return SceneNetwork(levels, head, STEPS).eval().requires_grad_(False)


def _image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def _joined(run: Staged) -> torch.Tensor:
    found = torch.full((4, *run.image.shape[:2]), torch.nan)
    for rows, columns, logits in run.logits(run.mean() if run.network.sees_all else None):
        assert found[:, rows, columns].isnan().all(), "each pixel once"
        found[:, rows, columns] = logits
    return found


def _whole(network: SceneNetwork, image: np.ndarray) -> torch.Tensor:
    return network(torch.from_numpy(image).permute(2, 0, 1)[None])[0]


def test_stages_see_what_their_parts_see() -> None:
    """Maps at strides 2 and 4 see 3 pixels on, that at 8 a place of 4 before, the decoder 3 before and 10 on (half of 8
    and of 4, 8 of a place): in multiples of 8.
    """
    found = fields(_network())
    assert found.stages == (Stage(2, 8), Stage(3, 8))
    assert (found.whole, found.decoder, found.fine) == (16, 8, 8)


def test_each_square_once_from_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the memory of rows further up is used again."""
    network, image = _network(), _image(600, 100)
    run, made, rows = Staged(network, image, fields(network), 32), [], []
    kept = run._maps

    def watched(strip: slice) -> list:
        stages = kept(strip)
        rows.extend(stages)
        for stage in stages:
            monkeypatch.setattr(
                stage, "make", lambda part, make=stage.make, s=stage: made.append((id(s), str(part))) or make(part)
            )
        return stages

    monkeypatch.setattr(run, "_maps", watched)
    torch.testing.assert_close(_joined(run), _whole(network, image), atol=1e-5, rtol=0)
    assert len(made) == len(set(made)) == 19 * 4 + 10 * 2, "squares of 32, then of 64"
    assert [len(stage.kept) + len(stage.spare) for stage in rows] == [4, 2]


@pytest.mark.parametrize(
    ("name", "options"), [("linear", {}), ("deeplabv3plus", {"width": 16, "rates": (1, 2, 3)}), ("unet", {})]
)
def test_strips_of_a_wide_image_are_the_whole(name: str, options: dict) -> None:
    if name != "linear":
        pytest.importorskip("segmentation_models_pytorch")
    network, image = _network(name=name, **options), _image(50, 333)
    run = Staged(network, image, fields(network), 32, strip=64)
    assert len(run.strips) == 6
    torch.testing.assert_close(_joined(run), _whole(network, image), atol=1e-4, rtol=0)


class _PastOne(nn.Module):
    """Strides 8, 16 and 32; the last one is made from both before."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 9, 8, 4), nn.Conv2d(6, 8, 3, 2, 1)
        self.third, self.past = nn.Conv2d(8, 10, 3, 2, 1), nn.Conv2d(6, 10, 5, 4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.first(x)
        return self.third(self.second(z)) + self.past(z)


def test_where_a_level_can_not_be_cut_off_a_stage_makes_two() -> None:
    network, image = _network(_PastOne()), _image(300, 420)
    found = fields(network)
    assert [stage.count for stage in found.stages] == [1, 3]
    run = Staged(network, image, found, 64, strip=160)
    assert len(run.strips) > 1
    torch.testing.assert_close(_joined(run), _whole(network, image), atol=1e-5, rtol=0)


class _Holes(nn.Module):
    """A map at stride 8, and one at 16 that looks 60 places of it to each side, over all that lies between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 9, 8, 4), nn.Conv2d(6, 8, 3, 2, 60, dilation=60)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


def test_what_looks_over_holes_is_seen_to_look_far() -> None:
    network, image = _network(_Holes()), _image(40, 1300)
    found = fields(network)
    assert found.stages[1].around == 60 * 8 and found.whole >= 480
    torch.testing.assert_close(
        _joined(Staged(network, image, found, 64, strip=128)), _whole(network, image), atol=1e-5, rtol=0
    )


def test_cuts_are_alike_and_a_little_more_stays_in_one_piece() -> None:
    assert cuts(slice(0, 96), 64, 32, 8) == [slice(0, 96)]
    assert cuts(slice(0, 104), 64, 32, 8) == [slice(0, 56), slice(56, 104)]
