"""Fine maps are made once, square by square, with as much around them as they depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft.backbones import Levels
from torchgraft.core.types import ImagePreprocessing
from torchgraft.model._stages import Staged, fields
from torchgraft.model.decoders import decoder
from torchgraft.model.scene_network import SceneNetwork

STEPS = ImagePreprocessing(size=64, resize=64, mean=(0.5,) * 3, std=(0.25,) * 3)


def _network() -> SceneNetwork:
    """Strides 2, 4 and 8; a pixel sees few others."""
    torch.manual_seed(0)
    levels = Levels(nn.Sequential(*(nn.Conv2d(a, b, 3, 2, 1) for a, b in ((3, 6), (6, 8), (8, 10)))), 64)
    head = decoder("linear", levels.channels, levels.strides, 4)
    return SceneNetwork(levels, head, STEPS).eval().requires_grad_(False)


def test_stages_see_what_their_parts_see() -> None:
    """Fine maps at strides 2 and 4 see 3 pixels on, the decoder 3 before and 10 on (half of 8 and of 4, 8 of a
    place): in multiples of 8.
    """
    found = fields(_network())
    assert (found.count, found.fine, found.decoder) == (2, 8, 8)


def test_windows_from_the_top_share_their_fine_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each square of the last fine level once, and its memory used again further down."""
    network, image = _network(), np.random.default_rng(0).integers(0, 256, (300, 100, 3), dtype=np.uint8)
    run, made = Staged(network, image, fields(network), 32), []
    kept = run._fine
    monkeypatch.setattr(run, "_fine", lambda part: made.append(part) or kept(part))
    for top in (0, 64, 128, 192):
        part = (slice(top, top + 96), slice(0, 100))
        whole = network.features(torch.from_numpy(image).permute(2, 0, 1)[None])[2]
        halo = 8 if top else 0
        found = run.coarse(part)[0][0, :, halo // 8 : -1]
        torch.testing.assert_close(found, whole[0, :, (top + halo) // 8 : (top + 96) // 8 - 1], atol=1e-5, rtol=0)
    assert len(made) == len({(rows.start, columns.start) for rows, columns in made})
    assert len(run.bands) + len(run.spare) == 3
