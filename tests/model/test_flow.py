"""Motion from the frame before: known shifts, the median taken off, and frames that have none before."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy import ndimage

from torchgraft.core.errors import MissingExtra
from torchgraft.model import flow
from torchgraft.model.flow import Flow, at_four, dense_flow, motion


def _picture(seed: int = 0) -> np.ndarray:
    """96 x 128 of soft blobs."""
    noise = np.random.default_rng(seed).random((96, 128, 3))
    soft = ndimage.gaussian_filter(noise, (3, 3, 0))
    return ((soft - soft.min()) / np.ptp(soft) * 255).astype(np.uint8)


def test_a_known_shift_is_found() -> None:
    pytest.importorskip("cv2")
    before = _picture()
    found = dense_flow(np.roll(before, (2, 3), (0, 1)), before)[16:-16, 16:-16]
    assert np.abs(found - [-3, -2]).max(-1).mean() < 0.2


def test_motion_is_relative_to_the_median(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the picture moves by (5, 1), one corner by (8, 5) besides: that is what is left."""
    moved = np.tile(np.array([5.0, 1.0], np.float32), (32, 32, 1))
    moved[:8, :8] += [3, 4]
    monkeypatch.setattr(flow, "dense_flow", lambda image, before: moved)
    image = np.zeros((32, 32, 3), np.uint8)
    found = motion(image, image)
    assert found.shape == (4, 32, 32) and found.dtype == np.float32
    assert (found[:, 0, 0] == [3, 4, 5, 1]).all() and (found[:, 20, 20] == [0, 0, 0, 1]).all()
    assert not motion(image, None).any()


def test_the_head_reads_levels_and_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    made = Flow((3, 5), (2, 4), 2, 2).requires_grad_(False)
    weight, bias = np.zeros((2, 12)), np.array([0.0, 1.0])
    weight[0, 8 + 2], weight[0, 11] = 0.5, 2.0  # the magnitude, and whether there is a frame before
    made.head.from_head(weight, bias)
    monkeypatch.setattr(flow, "dense_flow", lambda image, before: before[..., :2].astype(np.float32))
    before = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    before[:, 0, :8, :8], before[:, 1, :8, :8] = 6, 8  # 10 pixels
    moved = made.seen(before, before, torch.tensor([[True, True], [True, False]]))
    assert moved.shape == (2, 4, 32, 32) and not moved[1].any()
    maps = [torch.randn(2, 3, 16, 16), torch.randn(2, 5, 8, 8)]
    logits = made(maps, moved, (32, 32))
    assert logits.shape == (2, 2, 32, 32) and (logits[:, 1] == 1).all()
    assert logits[0, 0, 1, 1] == 7 and logits[0, 0, 20, 20] == 2 and not logits[1, 0].any()


def test_what_is_filled_up_does_not_move() -> None:
    found = at_four(torch.ones(1, 4, 30, 28), (32, 32))
    assert found.shape == (1, 4, 8, 8)
    assert (found[..., :7, :7] == 1).all() and (found[..., 7, 0] == 0.5).all() and not found[..., 7].any()


def test_without_opencv_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtra, match=r"torchgraft\[flow\]"):
        motion(_picture(), _picture())
