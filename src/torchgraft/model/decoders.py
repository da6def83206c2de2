"""Decoders: maps at several strides -> the logits of every pixel.

All take the maps from the finest to the coarsest and the size of the image, which the coarsest stride divides, and
enlarge by whole factors: what a place becomes does not depend on where the image ends, so tiles fit together.

A decoder's BatchNorm (DeepLabV3+, U-Net) is trained from nothing, over all places of a batch. With photos of a few
hundred pixels four to eight of them are enough; with fewer, set the policy `frozen` only after it was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad

from torchgraft.backbones import timm
from torchgraft.core.errors import MissingExtra, OptionError, UnknownName, UserError

_RATES = {32: (3, 6, 9), 16: (6, 12, 18), 8: (12, 24, 36)}
"""Chen et al. 2017 for 16 and 8: the same width of view in pixels."""


def decoder(name: str, channels: Sequence[int], strides: Sequence[int], classes: int, **options: Any) -> nn.Module:
    """The decoder `linear`, `deeplabv3plus` or `unet` for maps of these channels and strides; random weights.

    `decoder(...)(maps, (H, W))` gives B x classes x H x W. `options` are those of `Linear`, `DeepLabV3Plus` and `UNet`.
    Raises `UnknownName`, `OptionError` for options that it has not, `MissingExtra` where
    segmentation_models_pytorch is not installed, `UserError` where the maps don't serve.
    """
    if name not in DECODERS:
        raise UnknownName("decoders", name, DECODERS)
    try:
        return DECODERS[name](tuple(channels), tuple(strides), classes, **options)
    except TypeError as error:
        raise OptionError(f"decoder '{name}': {error}.") from error


class Linear(nn.Module):
    """sum over levels of W_l z_l + b, where z_l is level l brought to the stride `at` (2, 4 or 8).

    Coarser levels are enlarged bilinearly, finer ones averaged, and the sum is enlarged once to the image. All this is
    linear, so it is the linear classifier W [z_1 .. z_L] + b of `pixel_features`, computed where it is cheap: to the
    classes first, enlarged then. A logistic regression on sampled pixels is therefore its best start: `from_head`.
    """

    sees_all = False

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...], classes: int, *, at: int = 4) -> None:
        super().__init__()
        self.strides, self.at = strides, at
        self.levels = nn.ModuleList(nn.Conv2d(c, classes, 1, bias=False) for c in channels)
        self.bias = nn.Parameter(torch.zeros(classes))
        for level in self.levels:  # one linear layer over all channels together
            nn.init.normal_(level.weight, std=0.01)

    def from_head(self, weight: np.ndarray, bias: np.ndarray) -> Linear:
        """Take over a classifier of `pixel_features`: weight C x sum(channels), bias C. Returns itself.

        Raises `UserError` where the shapes are others.
        """
        widths = [level.in_channels for level in self.levels]
        wanted = (len(self.bias), sum(widths))
        if tuple(weight.shape) != wanted or tuple(bias.shape) != wanted[:1]:
            raise UserError(f"a head of {wanted} and {wanted[:1]} was expected, got {weight.shape} and {bias.shape}.")
        parts = np.split(np.asarray(weight, dtype=np.float32), np.cumsum(widths)[:-1], axis=1)
        with torch.no_grad():
            self.bias.copy_(torch.from_numpy(np.array(bias, dtype=np.float32)))
            for level, part in zip(self.levels, parts, strict=True):
                level.weight.copy_(torch.from_numpy(np.ascontiguousarray(part))[:, :, None, None])
        return self

    def head(self) -> tuple[np.ndarray, np.ndarray]:
        """What `from_head` takes: weight C x sum(channels), bias C."""
        weights = [level.weight.detach().cpu().numpy()[:, :, 0, 0] for level in self.levels]
        return np.concatenate(weights, axis=1), self.bias.detach().cpu().numpy().copy()

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """B x classes x H x W."""
        inside = _rounded_up(size, self.at)
        parts = [
            bring(level(z), stride, self.at, inside)
            for level, z, stride in zip(self.levels, maps, self.strides, strict=True)
        ]
        total = torch.stack(parts).sum(0) + self.bias[:, None, None]
        return bring(total, self.at, 1, size)


class DeepLabV3Plus(nn.Module):
    """The coarsest level through five views (1 x 1, three dilations, the mean of all places), joined to stride 4.

    Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", ECCV 2018; the
    parts are segmentation_models_pytorch's. `width` channels; `rates` the dilations, by default the paper's for the
    coarsest stride; `dropout` in the joined views. For the branch of the mean there is no BatchNorm but a bias: a batch
    has one value for each photo there (as in detectron2), and one photo has none.

    `sees_all`: the mean is over the whole image. For a tile give it as `mean`: B x C of the coarsest level, by
    `whole_mean` of the image.
    """

    sees_all = True

    def __init__(
        self,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
        *,
        width: int = 256,
        rates: tuple[int, int, int] | None = None,
        dropout: float = 0.5,
        separable: bool = True,
    ) -> None:
        super().__init__()
        self.strides = strides
        self.fine = _at(strides, 4)
        parts = _smp("decoders.deeplabv3.decoder").DeepLabV3PlusDecoder(
            encoder_channels=(3, 0, channels[self.fine], channels[-1]),
            encoder_depth=3,
            out_channels=width,
            atrous_rates=rates or _RATES[strides[-1]],
            output_stride=16,
            aspp_separable=separable,
            aspp_dropout=dropout,
        )
        views = parts.aspp[0]
        self.views, self.join, self.after = views.convs[:-1], views.project, parts.aspp[1:]
        self.mean = nn.Conv2d(channels[-1], width, 1)
        self.skip, self.refine = parts.block1, parts.block2
        self.classify = nn.Conv2d(width, classes, 1)
        _smp("base.initialization").initialize_decoder(self)

    def whole_mean(self, maps: Sequence[Tensor]) -> Tensor:
        """B x C: the mean over all places of the coarsest level."""
        return maps[-1].mean((2, 3))

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int], mean: Tensor | None = None) -> Tensor:
        """B x classes x H x W."""
        coarse, fine = maps[-1], maps[self.fine]
        mean = self.whole_mean(maps) if mean is None else mean
        pooled = torch.relu(self.mean(mean[:, :, None, None])).expand(-1, -1, *coarse.shape[2:])
        z = self.after(self.join(torch.cat([*(view(coarse) for view in self.views), pooled], 1)))
        z = bring(z, self.strides[-1], 4, tuple(fine.shape[2:]))
        z = self.refine(torch.cat([z, self.skip(fine)], 1))
        return bring(self.classify(z), 4, 1, size)


class UNet(nn.Module):
    """From the coarsest level to the image in five steps, each joined with the level of its size.

    Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015; the decoder is
    segmentation_models_pytorch's. `widths` are the channels of each step, the coarsest first. A stride that the network
    lacks (2, in networks that begin with patches of 4) is a step without a join.
    """

    sees_all = False

    def __init__(
        self,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
        *,
        widths: tuple[int, ...] = (256, 128, 64, 32, 16),
    ) -> None:
        super().__init__()
        if strides[0] not in (2, 4):
            raise UserError(f"unet expects maps from stride 2 or 4 on, got {strides}. Use the decoder 'linear'.")
        self.begins_at_4 = strides[0] == 4
        given = ((0,) if self.begins_at_4 else ()) + channels
        if len(widths) < len(given):
            raise OptionError(f"widths expects a number for each of {len(given)} steps, got {widths}.")
        steps = widths[len(widths) - len(given) :]
        self.decoder = _smp("decoders.unet.decoder").UnetDecoder(
            encoder_channels=(3, *given), decoder_channels=steps, n_blocks=len(given)
        )
        self.classify = nn.Conv2d(steps[-1], classes, 3, padding=1)
        _smp("base.initialization").initialize_decoder(self)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """B x classes x H x W."""
        first = maps[0]
        image = first.new_empty(1).expand(len(first), 3, *size)  # only its size is read
        missing = [first.new_empty(len(first), 0, *_rounded_up(size, 2))] if self.begins_at_4 else []
        return self.classify(self.decoder([image, *missing, *maps]))


class Corrected(nn.Module):
    """The linear decoder, and what another one adds to its logits; that begins at 0, so the start is the linear one's.

    `linear+unet`, `linear+deeplabv3plus`: a fitted classifier (`from_head`) is no worse for the decoder beside it,
    whose last layer's weights are 0 before training. `options` are the other decoder's.
    """

    def __init__(
        self, other: type[nn.Module], channels: tuple[int, ...], strides: tuple[int, ...], classes: int, **options: Any
    ) -> None:
        super().__init__()
        self.linear = Linear(channels, strides, classes)
        self.other = other(channels, strides, classes, **options)
        self.sees_all = self.other.sees_all
        for p in self.other.classify.parameters():
            nn.init.zeros_(p)

    def from_head(self, weight: np.ndarray, bias: np.ndarray) -> Corrected:
        """See `Linear.from_head`. Returns itself."""
        self.linear.from_head(weight, bias)
        return self

    def whole_mean(self, maps: Sequence[Tensor]) -> Tensor:
        """See `DeepLabV3Plus.whole_mean`."""
        return self.other.whole_mean(maps)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int], mean: Tensor | None = None) -> Tensor:
        """B x classes x H x W."""
        more = {} if mean is None else {"mean": mean}
        return self.linear(maps, size) + self.other(maps, size, **more)


DECODERS = {
    "linear": Linear,
    "deeplabv3plus": DeepLabV3Plus,
    "unet": UNet,
    "linear+deeplabv3plus": partial(Corrected, DeepLabV3Plus),
    "linear+unet": partial(Corrected, UNet),
}


def pixel_features(
    maps: Sequence[Tensor], strides: Sequence[int], size: tuple[int, int], places: Tensor, *, at: int = 4
) -> Tensor:
    """What the linear decoder's classifier sees at some pixels: B x P x sum(channels).

    `places` are B x P numbers y * W + x of pixels of images of `size` (H, W), which the coarsest stride divides.
    """
    inside = _rounded_up(size, at)
    z = torch.cat([bring(level, stride, at, inside) for level, stride in zip(maps, strides, strict=True)], 1)
    y, x = (places // size[1]).to(z.dtype), (places % size[1]).to(z.dtype)
    grid = torch.stack([(x + 0.5) / (at * inside[1]), (y + 0.5) / (at * inside[0])], -1) * 2 - 1
    found = nn.functional.grid_sample(z, grid[:, None], padding_mode="border", align_corners=False)
    return found[:, :, 0].permute(0, 2, 1)


def bring(z: Tensor, stride: int, to: int, size: tuple[int, int]) -> Tensor:
    """A map of one stride at another, cut or continued to h x w: enlarged bilinearly or averaged, by a whole factor.

    The place (i, j) of stride s stands for the pixels from s i, s j on, wherever the map ends.
    """
    if stride > to:
        z = interpolate(z, scale_factor=float(stride // to), mode="bilinear", align_corners=False)
    elif stride < to:
        z = avg_pool2d(z, to // stride, ceil_mode=True)
    h, w = size
    z = z[:, :, :h, :w]
    missing = (h - z.shape[2], w - z.shape[3])
    return pad(z, (0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else z


def _at(strides: tuple[int, ...], stride: int) -> int:
    if stride not in strides:
        raise UserError(f"deeplabv3plus expects a map at stride {stride}, got {strides}. Use the decoder 'linear'.")
    return strides.index(stride)


def _rounded_up(size: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-size[0] // stride), -(-size[1] // stride)


def _smp(module: str) -> ModuleType:
    """A part of segmentation_models_pytorch. Raises `MissingExtra`."""
    timm.library()  # it imports torchvision, which may need help
    try:
        return import_module(f"segmentation_models_pytorch.{module}")
    except ImportError as error:
        raise MissingExtra("this decoder", "segmentation-models-pytorch", "segmentation") from error
