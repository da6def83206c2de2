"""Maps of what strikes the eye in a scene, made of its pixels alone: they stand beside the levels of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, pad

from torchgraft.core.errors import UnknownName
from torchgraft.core.types import ImagePreprocessing

SCALES = (1, 2, 4)
"""Pixels that are averaged before edges are looked for."""

WINDOWS = (1, 3, 5, 9, 17)
"""Places of stride 4 over which a response is averaged: 4 to 68 pixels."""

AT = 4

_FAINT = 0.01
"""Two or three grey levels from one pixel to the next: what noise does."""


class Edges(nn.Module):
    """B x 3 x H x W (normalised) -> one map B x 45 x H / 4 x W / 4: how strong the edges are around each place.

    The grey picture, averaged over s x s pixels (s of `SCALES`), is differentiated along rows and columns by Scharr's
    3 x 3 filters, which see all directions alike (Jähne, Scharr and Körkel, "Principles of filter design", 1999).
    |dx|, |dy| and (dx^2 + dy^2)^1/2, in levels of 0..1 per pixel of the scale, are averaged over `WINDOWS`; kept are
    log(0.01 + mean), since a faint edge against none says more than a strong one against a stronger.

    Like `Levels` it has `channels`, `strides` and `multiple`. It has nothing to learn.
    """

    def __init__(self, preprocessing: ImagePreprocessing) -> None:
        super().__init__()
        self.channels, self.strides, self.multiple = (3 * len(SCALES) * len(WINDOWS),), (AT,), AT
        along = torch.tensor([[-3.0, 0.0, 3.0], [-10.0, 0.0, 10.0], [-3.0, 0.0, 3.0]]) / 32
        self.register_buffer("filters", torch.stack([along, along.T])[:, None])
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
        self.register_buffer("mean", mean.mean())
        self.register_buffer("spread", std / 3)

    def forward(self, z: Tensor, count: int | None = None) -> list[Tensor]:
        """See `Levels.forward`."""
        grey = (z * self.spread).sum(1, keepdim=True) + self.mean
        found = torch.cat([avg_pool2d(self._responses(grey, scale), AT // scale) for scale in SCALES], 1)
        means = torch.cat([_around(found, k) for k in WINDOWS], 1)
        return [torch.log(means + _FAINT)][:count]

    def _responses(self, grey: Tensor, scale: int) -> Tensor:
        slopes = conv2d(pad(avg_pool2d(grey, scale), (1, 1, 1, 1), mode="replicate"), self.filters)
        # the root has no slope at 0
        return torch.cat([slopes.abs(), slopes.square().sum(1, keepdim=True).add(1e-8).sqrt()], 1)


def _around(z: Tensor, k: int) -> Tensor:
    """The mean over k x k places around each; what lies beyond an end is left out of it."""
    z = avg_pool2d(z, (1, k), 1, (0, k // 2), count_include_pad=False)
    return avg_pool2d(z, (k, 1), 1, (k // 2, 0), count_include_pad=False)


MAPS = {"edges": Edges}


def saliency(name: str, preprocessing: ImagePreprocessing) -> nn.Module:
    """The maps called `name`, for pictures normalised in this way. Raises `UnknownName`."""
    if name not in MAPS:
        raise UnknownName("maps of saliency", name, MAPS)
    return MAPS[name](preprocessing)
