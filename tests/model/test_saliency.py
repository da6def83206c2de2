"""Maps of edges: by hand, and against SciPy's filters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from torchgraft.core.errors import UnknownName
from torchgraft.core.types import ImagePreprocessing
from torchgraft.model.saliency import Edges, saliency

LOOK = ImagePreprocessing(size=64, resize=64, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.5))


def _normalised(x: np.ndarray) -> torch.Tensor:
    """H x W x 3 in 0..1 as a network would see it."""
    return torch.from_numpy((x - LOOK.mean) / LOOK.std).float().permute(2, 0, 1)[None]


def test_a_picture_without_edges_has_none() -> None:
    (found,) = Edges(LOOK)(_normalised(np.full((32, 48, 3), 0.7)))
    assert found.shape == (1, 45, 8, 12)
    slopes = found.exp() - 0.01
    assert slopes.abs().max() < 2e-4


def test_a_step_is_seen_where_it_is() -> None:
    """A step of 0.8 between columns 15 and 16: two columns have a slope of half of it, an eighth of an 8-pixel pair."""
    x = np.zeros((32, 32, 3))
    x[:, 16:] = 0.8
    maps = Edges(LOOK)(_normalised(x))[0][0].exp() - 0.01
    along, down, both = maps[0], maps[1], maps[2]
    torch.testing.assert_close(along[:, 3:5], torch.full((8, 2), 0.1), atol=1e-5, rtol=0)
    assert along[:, [0, 1, 2, 5, 6, 7]].abs().max() < 1e-5 and down.abs().max() < 1e-5
    torch.testing.assert_close(both[:, 3:5], along[:, 3:5], atol=2e-4, rtol=0)


def test_responses_are_scharrs() -> None:
    x = np.random.default_rng(0).random((24, 40, 3))
    grey, kernel = x.mean(-1), np.array([[-3.0, 0, 3], [-10, 0, 10], [-3, 0, 3]]) / 32
    dx, dy = (ndimage.correlate(grey, k, mode="nearest") for k in (kernel, kernel.T))
    expected = [one.reshape(6, 4, 10, 4).mean((1, 3)) for one in (abs(dx), abs(dy), np.hypot(dx, dy))]
    found = Edges(LOOK)(_normalised(x))[0][0].exp().numpy() - 0.01
    np.testing.assert_allclose(found[:3], expected, atol=1e-4)
    around = found[18:][0]  # the mean over 5 x 5 places of the first response
    assert around[2, 5] == pytest.approx(found[0][0:5, 3:8].mean(), abs=1e-5)
    assert around[0, 0] == pytest.approx(found[0][:3, :3].mean(), abs=1e-5)


def test_maps_go_by_name() -> None:
    made = saliency("edges", LOOK)
    assert (made.channels, made.strides, made.multiple) == ((45,), (4,), 4)
    assert made(torch.zeros(2, 3, 32, 32), 0) == []
    with pytest.raises(UnknownName, match="edges"):
        saliency("edge", LOOK)
