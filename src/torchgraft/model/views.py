"""Networks of several aligned views of one scene: one encoder for all of them, and three ways to join what they show.

A view that a scene lacks is said to be absent; its pixels are never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchgraft.backbones import Backbone, Levels
from torchgraft.core.errors import DataError, UnknownName
from torchgraft.core.types import ImagePreprocessing
from torchgraft.model.decoders import Linear, bring
from torchgraft.model.flow import Flow
from torchgraft.model.scene_network import SceneNetwork

AT = 4
"""The stride at which levels are joined, as in the linear decoder."""

LARGEST = 4096
"""Pixels of the longer side that are joined after the encoder, which sees the views as wholes."""

_TILE, _HALO = 1024, 64  # the first levels see a few dozen pixels around each of theirs


class Concat(nn.Module):
    """sum over views of W_v z_v + b: the linear classifier of all views' levels side by side.

    `absent` (V x classes) is what a missing view adds: its mean answer, so that it speaks for no place.
    """

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...], classes: int, views: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Linear(channels, strides, classes) for _ in range(views))
        self.register_buffer("absent", torch.zeros(views, classes))

    def from_head(self, weight: np.ndarray, bias: np.ndarray, mean: np.ndarray) -> Concat:
        """Take over weight C x V D, bias C, and the mean (V D) of the rows that they were fitted to. Returns itself."""
        for i, (part, level) in enumerate(_split(weight, mean, len(self.heads))):
            self.heads[i].from_head(part, bias if i == 0 else np.zeros_like(bias))
            own = part @ level + (bias if i == 0 else 0)
            self.absent[i] = torch.from_numpy(np.asarray(own, dtype=np.float32))
        return self

    def forward(self, maps: Sequence[Sequence[Tensor]], present: Tensor, size: tuple[int, int]) -> Tensor:
        """B x classes x H x W from the levels of V views and B x V, which of them are there."""
        total = 0
        for i, (head, levels) in enumerate(zip(self.heads, maps, strict=True)):
            there = present[:, i, None, None, None]
            total = total + torch.where(there, head(levels, size), self.absent[i][:, None, None])
        return total


class Attention(nn.Module):
    """W [sum_v g_1v n_v(z_1v), ..., sum_v g_Lv n_v(z_Lv)] + b: at each place and level the views have weights g.

    g_lv = softmax over v of (u_lv . z_lv + c_lv); n_v makes the channels of a view comparable (mean 0, variance 1).
    """

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...], classes: int, views: int) -> None:
        super().__init__()
        self.strides, self.channels = strides, channels
        width = sum(channels)
        self.score = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in range(views))
        self.offset = nn.Parameter(torch.zeros(views, len(channels)))
        self.register_buffer("mean", torch.zeros(views, width))
        self.register_buffer("spread", torch.ones(views, width))
        self.head = nn.Conv2d(width, classes, 1)

    def joined(self, z: Sequence[Tensor], present: Tensor) -> Tensor:
        """N x D from the rows N x D of V views (as they come) and N x V."""
        z = [(one - self.mean[i]) / self.spread[i] for i, one in enumerate(z)]
        scores = torch.stack(
            [
                (
                    torch.stack([part.sum(-1) for part in (one * self.score[i]).split(self.channels, -1)], -1)
                    + self.offset[i]
                ).masked_fill(~present[..., i, None], -torch.inf)
                for i, one in enumerate(z)
            ]
        )
        widths = torch.tensor(self.channels, device=scores.device)
        weights = scores.softmax(0).repeat_interleave(widths, -1)
        return (weights * torch.where(present.movedim(-1, 0)[..., None], torch.stack(z), 0.0)).sum(0)

    def forward(self, maps: Sequence[Sequence[Tensor]], present: Tensor, size: tuple[int, int]) -> Tensor:
        """See `Concat.forward`."""
        inside = (-(-size[0] // AT), -(-size[1] // AT))
        z = [
            torch.cat([bring(level, s, AT, inside) for level, s in zip(levels, self.strides, strict=True)], 1)
            for levels in maps
        ]
        places = present[:, None, None].expand(-1, *inside, -1)
        joined = self.joined([one.permute(0, 2, 3, 1) for one in z], places).permute(0, 3, 1, 2)
        return bring(self.head(joined), AT, 1, size)


class Gated(nn.Module):
    """One picture made of all views, then the linear decoder: x = sum_v g_v t_v(x_v), at each pixel.

    g = softmax over v of a linear score of the first levels (strides 2 and 4) of each view; t_v a curve for each
    colour that brings a view to the looks of the first one. As the encoder sees one whole picture, no level is spoiled
    by what a view lacks, and it runs once. Where one view alone is there it is seen as it is, by a head of its own.
    """

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...], classes: int, views: int) -> None:
        super().__init__()
        self.count = max(sum(stride <= AT for stride in strides), 1)
        first = channels[: self.count], strides[: self.count]
        self.gates = nn.ModuleList(Linear(*first, 1, at=strides[0]) for _ in range(views))
        self.register_buffer("curves", torch.arange(256.0).expand(views, 3, 256).clone())
        self.head = Linear(channels, strides, classes)
        self.alone = nn.ModuleList(Linear(channels, strides, classes) for _ in range(views))

    def weights(self, maps: Sequence[Sequence[Tensor]], present: Tensor, size: tuple[int, int]) -> Tensor:
        """V x B x H x W, the sum over views 1, from the first levels of V views."""
        scores = [gate(levels, size)[:, 0] for gate, levels in zip(self.gates, maps, strict=True)]
        absent = ~present.T[:, :, None, None]
        return torch.stack(scores).masked_fill(absent, -torch.inf).softmax(0)

    def mixed(self, x: Sequence[Tensor], weights: Tensor) -> Tensor:
        """B x 3 x H x W uint8 from V pictures uint8 and their weights."""
        total = 0
        for one, curves, weight in zip(x, self.curves, weights, strict=True):
            looks = torch.stack([curve[one[:, c].long()] for c, curve in enumerate(curves)], 1)
            total = total + weight[:, None] * looks
        return total.round().clamp(0, 255).to(torch.uint8)


FUSIONS = {"concat": Concat, "gated": Gated, "attention": Attention, "flow": Flow}


class ViewNetwork(nn.Module):
    """V views B x 3 x H x W uint8 and which are there (B x V bool) -> B x classes x H x W logits.

    `decoder` is one of `FUSIONS`; the encoder is shared. `scene` is the network of a single picture. The first view is
    the image itself. Raises `UnknownName`.
    """

    def __init__(self, levels: Levels, decoder: nn.Module, preprocessing: ImagePreprocessing) -> None:
        super().__init__()
        head = decoder.head if isinstance(decoder, Gated) else nn.Identity()
        self.scene = SceneNetwork(levels, head, preprocessing)
        self.decoder = decoder

    @classmethod
    def of(cls, backbone: Backbone, fusion: str, classes: int, *, views: int) -> ViewNetwork:
        """A copy of the backbone, with a fusion of so many views that has weights of nothing yet."""
        if fusion not in FUSIONS:
            raise UnknownName("fusions of views", fusion, FUSIONS)
        levels = Levels.of(backbone)
        decoder = FUSIONS[fusion](levels.channels, levels.strides, classes, views)
        return cls(levels, decoder, backbone.preprocessing).to(memory_format=torch.channels_last).eval()

    def forward(self, *inputs: Tensor) -> Tensor:
        """`inputs` are the views, then B x V."""
        *x, present = inputs
        height, width = x[0].shape[2:]
        if isinstance(self.decoder, Gated):
            return self._of_blend(self.blend(*inputs), present)
        if isinstance(self.decoder, Flow):
            size = self.scene.full_size(height, width)
            return self.decoder(self.scene.features(x[0]), self.decoder.seen(*inputs), size)[:, :, :height, :width]
        maps = [self.scene.features(one) for one in x]
        return self.decoder(maps, present, self.scene.full_size(height, width))[:, :, :height, :width]

    def blend(self, *inputs: Tensor) -> Tensor:
        """The picture that `Gated` makes of the views: B x 3 x H x W uint8; a view that is alone, as it is."""
        *x, present = inputs
        height, width = x[0].shape[2:]
        maps = [self.scene.features(one, self.decoder.count) for one in x]
        weights = self.decoder.weights(maps, present, self.scene.full_size(height, width))
        mixed = self.decoder.mixed(x, weights[:, :, :height, :width])
        for one, only in zip(x, _only(present).T, strict=True):
            mixed = torch.where(only[:, None, None, None], one, mixed)
        return mixed

    def of_one(self, view: int) -> SceneNetwork:
        """The network that answers for a scene of which `view` alone is there (of `Gated`)."""
        made = copy(self.scene)
        made._modules = {**self.scene._modules, "decoder": self.decoder.alone[view]}
        return made

    def _of_blend(self, picture: Tensor, present: Tensor) -> Tensor:
        height, width = picture.shape[2:]
        maps, size = self.scene.features(picture), self.scene.full_size(height, width)
        logits = self.decoder.head(maps, size)
        for head, only in zip(self.decoder.alone, _only(present).T, strict=True):
            if bool(only.any()):
                logits = torch.where(only[:, None, None, None], head(maps, size), logits)
        return logits[:, :, :height, :width]


def answer(network: ViewNetwork, images: Sequence[np.ndarray | None], **more: Any) -> tuple[np.ndarray, np.ndarray]:
    """(classes, confidence times 255) of the views of one scene, H x W x 3 uint8 of one size; None: absent.

    The first one, the image, is there. `more` is for `tiles.predict_map`. Views that are joined after the encoder are
    seen as wholes: raises `DataError` where they are longer than `LARGEST` pixels.
    """
    from torchgraft.model.tiles import predict_map  # here: it is of use to prediction alone

    height, width = images[0].shape[:2]
    with torch.inference_mode():
        if isinstance(network.decoder, Gated):
            there = [v for v, one in enumerate(images) if one is not None]
            seen = network.of_one(there[0]) if len(there) == 1 else network.scene
            return predict_map(seen, _blended(network, images), **more)
        if max(height, width) > LARGEST:
            raise DataError(f"{width} x {height} pixels; views joined by their levels can have {LARGEST} at most.")
        p = (network(*_inputs(images))[0] / more.get("temperature", 1.0)).softmax(0)
    confidence, classes = p.max(0)
    return classes.to(torch.uint8).numpy(), confidence.mul(255).round().to(torch.uint8).numpy()


def _blended(network: ViewNetwork, images: Sequence[np.ndarray | None]) -> np.ndarray:
    """The picture of all views, made piece by piece."""
    height, width = images[0].shape[:2]
    whole = np.empty((height, width, 3), dtype=np.uint8)
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            above, before = max(top - _HALO, 0), max(left - _HALO, 0)
            box = np.s_[above : top + _TILE + _HALO, before : left + _TILE + _HALO]
            seen = network.blend(*_inputs([None if one is None else one[box] for one in images]))
            made = seen[0].permute(1, 2, 0).numpy()[top - above :, left - before :][:_TILE, :_TILE]
            whole[top : top + _TILE, left : left + _TILE] = made
    return whole


def _inputs(images: Sequence[np.ndarray | None]) -> list[Tensor]:
    blank = np.full_like(images[0], 128)
    x = [torch.from_numpy(np.array(blank if one is None else one)).permute(2, 0, 1)[None] for one in images]
    return [*x, torch.tensor([[one is not None for one in images]])]


def _only(present: Tensor) -> Tensor:
    """B x V: whether a view is there, and no other."""
    return present & (present.sum(1, keepdim=True) == 1)


def _split(weight: np.ndarray, mean: np.ndarray, views: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(np.split(weight, views, axis=1), np.split(mean, views), strict=True))
