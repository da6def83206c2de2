"""Motion between a frame and the one before it, as maps beside the levels of a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

from torchgraft.core.errors import MissingExtra
from torchgraft.model.decoders import Linear

AT, CHANNELS = 4, 4


class Flow(nn.Module):
    """W [z_1 .. z_L, m] + b: the linear classifier of a frame's levels and of its motion m (see `motion`) at stride 4.

    The first view is the frame, the second one the frame before; a frame without it has m = 0.
    """

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...], classes: int, views: int) -> None:
        super().__init__()
        self.head = Linear((*channels, CHANNELS), (*strides, AT), classes)

    def seen(self, x: Tensor, before: Tensor, present: Tensor) -> Tensor:
        """B x 4 x H x W from frames B x 3 x H x W uint8, those before them, and B x 2, which of both are there."""
        frames = zip(x, before, present[:, 1].tolist(), strict=True)
        made = [motion(_image(one), _image(last) if there else None) for one, last, there in frames]
        return torch.from_numpy(np.stack(made)).to(x.device)

    def forward(self, maps: Sequence[Tensor], moved: Tensor, size: tuple[int, int]) -> Tensor:
        """B x classes x H x W from the levels of a frame that is filled up to `size`, and its motion."""
        return self.head([*maps, at_four(moved, size)], size)


def motion(image: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """4 x H x W float32: where each pixel of `image` was before, in pixels to the right and down, less the median of
    all pixels; how far that is; and 1. All 0 where there is no frame `before`. Both are H x W x 3 uint8.

    DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016), OpenCV's. Raises `MissingExtra`.
    """
    if before is None:
        return np.zeros((CHANNELS, *image.shape[:2]), dtype=np.float32)
    moved = dense_flow(image, before)
    moved = (moved - np.median(moved.reshape(-1, 2), axis=0)).transpose(2, 0, 1)
    return np.concatenate([moved, np.hypot(*moved)[None], np.ones_like(moved[:1])]).astype(np.float32)


def dense_flow(image: np.ndarray, before: np.ndarray) -> np.ndarray:
    """H x W x 2: what has to be added to (x, y) of a pixel of `image` to find it in `before`. Raises `MissingExtra`."""
    try:
        import cv2
    except ImportError as error:
        raise MissingExtra("optical flow", "opencv-python-headless", "flow") from error
    grey = [cv2.cvtColor(np.ascontiguousarray(one), cv2.COLOR_RGB2GRAY) for one in (image, before)]
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)


def at_four(moved: Tensor, size: tuple[int, int]) -> Tensor:
    """Motion at stride 4, of pictures that are filled up to `size` with what does not move."""
    height, width = moved.shape[2:]
    return avg_pool2d(pad(moved, (0, size[1] - width, 0, size[0] - height)), AT)


def _image(x: Tensor) -> np.ndarray:
    return x.permute(1, 2, 0).cpu().numpy()
