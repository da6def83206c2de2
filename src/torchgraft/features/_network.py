"""The network that every engine runs: samples as they are batched -> pooled features, in one graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchgraft.backbones import Backbone
from torchgraft.core.types import ImagePreprocessing
from torchgraft.features.pooling import LEVELS, pool


class ImageNetwork(nn.Module):
    """B x H x W x 3 uint8 -> B x D float32: (x / 255 - mean) / std, the backbone (or its levels), the pooling.

    Channels come last because decoders write them so; permuted, this is the layout that convolutions like best.
    """

    def __init__(self, module: nn.Module, pooling: nn.Module, preprocessing: ImagePreprocessing) -> None:
        super().__init__()
        self.module = module
        self.pooling = pooling
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", mean / std)

    def forward(self, x: Tensor) -> Tensor:
        """Pooled features."""
        x = x.permute(0, 3, 1, 2).float() * self.scale - self.shift
        return self.pooling(self.module(x)).float()


class TextNetwork(nn.Module):
    """Ids B x T int64, mask B x T int64 -> B x D float32."""

    def __init__(self, module: nn.Module, pooling: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.pooling = pooling

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Pooled features."""
        return self.pooling(self.module(ids, mask), mask).float()


def compose(backbone: Backbone, pooling: str) -> nn.Module:
    """Preprocessing, backbone and pooling as one module in eval mode; it shares weights with `backbone.module`, or with
    `backbone.levels` where these are pooled.
    """
    pooled = pool(backbone, pooling)
    if backbone.modality == "text":
        return TextNetwork(backbone.module, pooled).eval()
    module = backbone.levels if pooling == LEVELS else backbone.module
    return ImageNetwork(module, pooled, backbone.preprocessing).eval()
