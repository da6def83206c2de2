"""The network of a dense task: photos of any size -> the logits of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from torchgraft.backbones import Backbone, Levels
from torchgraft.core.types import ImagePreprocessing
from torchgraft.model.decoders import decoder as build_decoder

_OUTPUT_STRIDES = {"deeplabv3plus": 16}


class SceneNetwork(nn.Module):
    """B x 3 x H x W uint8, photos at their own size -> B x classes x H x W logits: decoder(levels((x / 255 - m) / s)).

    At the right and the bottom the normalised photo is filled up with zeros, which is what convolutions see beyond its
    ends, to a multiple of the coarsest stride; the logits are cut to the photo. So every map has a whole number of
    places, strided convolutions that pad by the parity of a size (EfficientNet) always sample the same pixels, and a
    part that begins at a multiple (see `tiles`) is computed as in the whole.
    """

    def __init__(self, levels: Levels, decoder: nn.Module, preprocessing: ImagePreprocessing) -> None:
        super().__init__()
        self.levels = levels
        self.decoder = decoder
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", mean / std)

    @classmethod
    def of(
        cls, backbone: Backbone, name: str, classes: int, *, output_stride: int | None = None, **options: Any
    ) -> SceneNetwork:
        """A copy of the backbone, and the decoder `name` with random weights; `options` are the decoder's.

        `output_stride` is that of `Levels`, by default 16 for deeplabv3plus and 32 else. In the memory layout that
        convolutions like best.
        """
        levels = Levels.of(backbone, output_stride=output_stride or _OUTPUT_STRIDES.get(name, 32))
        head = build_decoder(name, levels.channels, levels.strides, classes, **options)
        return cls(levels, head, backbone.preprocessing).to(memory_format=torch.channels_last).eval()

    @property
    def multiple(self) -> int:
        """Pixels that a part of an image may begin at: multiples of this."""
        return self.levels.multiple

    @property
    def sees_all(self) -> bool:
        """Whether the decoder reads a mean over the whole image."""
        return self.decoder.sees_all

    def forward(self, x: Tensor, mean: Tensor | None = None) -> Tensor:
        """B x classes x H x W logits. `mean` B x C: of the whole image, where x is a part (see `whole_mean`)."""
        height, width = x.shape[2:]
        z = self._prepared(x)
        return self.decoded(self.levels(z), tuple(z.shape[2:]), mean)[:, :, :height, :width]

    def decoded(self, maps: Sequence[Tensor], size: tuple[int, int], mean: Tensor | None = None) -> Tensor:
        """B x classes x H x W logits of all levels of photos that are filled up to `size`; `mean` as in `forward`."""
        more = {} if mean is None else {"mean": mean}
        return self.decoder(maps, size, **more)

    def logits(self, x: Tensor) -> Tensor:
        """B x classes x H x W logits."""
        return self(x)

    def features(self, x: Tensor, count: int | None = None) -> list[Tensor]:
        """The levels of the photos, filled up to a multiple: maps from the finest on, all or the first `count`."""
        return self.levels(self._prepared(x), count)

    def full_size(self, height: int, width: int) -> tuple[int, int]:
        """H and W of a photo filled up to a multiple: the size that its maps stand for."""
        return tuple(-(-side // self.multiple) * self.multiple for side in (height, width))

    def _prepared(self, x: Tensor) -> Tensor:
        """Normalised, filled up, channels last: one new block of memory and what filling needs."""
        z = x.to(self.scale.dtype, memory_format=torch.channels_last)
        z = (z if z is not x else z.clone()).mul_(self.scale).sub_(self.shift)
        height, width = x.shape[2:]
        full = self.full_size(height, width)
        return z if full == (height, width) else pad(z, (0, full[1] - width, 0, full[0] - height))
