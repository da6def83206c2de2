"""Several networks that look at one picture, and maps of saliency: side by side they are the levels of one network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torchgraft.backbones import Backbone, Levels
from torchgraft.core.errors import UnknownName
from torchgraft.core.types import ImagePreprocessing
from torchgraft.model.decoders import Linear, bring
from torchgraft.model.saliency import saliency as maps_of
from torchgraft.model.scene_network import SceneNetwork

AT = 4
"""The stride at which levels are joined, as in the linear decoder."""


class JoinedLevels(nn.Module):
    """B x 3 x H x W, normalised as the first part wants it -> the maps of every part, one part after the other.

    `parts` are `Levels` or maps of saliency, `looks` how each wants a picture to be normalised. What a picture is
    filled up with is 0 for the first part, and for the others the colour that this stands for.
    """

    def __init__(self, parts: Sequence[nn.Module], looks: Sequence[ImagePreprocessing]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.channels: tuple[int, ...] = sum((part.channels for part in parts), ())
        self.strides: tuple[int, ...] = sum((part.strides for part in parts), ())
        self.multiple: int = math.lcm(*(part.multiple for part in parts))
        means, stds = (torch.tensor([getattr(one, name) for one in looks]) for name in ("mean", "std"))
        self.register_buffer("scale", (stds[:1] / stds)[..., None, None])
        self.register_buffer("shift", ((means[:1] - means) / stds)[..., None, None])
        self.same = [one.mean == looks[0].mean and one.std == looks[0].std for one in looks]

    def forward(self, z: Tensor, count: int | None = None) -> list[Tensor]:
        """All maps, or the first `count`."""
        maps: list[Tensor] = []
        for i, part in enumerate(self.parts):
            maps += part(z if self.same[i] else z * self.scale[i] + self.shift[i])
        return maps[:count]

    def splits(self, count: int) -> bool:
        """Whether later maps can be made of earlier ones, as `Levels.splits`: they can't."""
        return False


class Weighed(nn.Module):
    """sum over strides and networks of g_sv (W_sv z_sv) + b: at each place and stride the networks have weights g.

    g_sv = softmax over v of (u_sv . z_sv + c_sv), over the networks v that have a level of stride s. All is computed at
    stride `AT`. `channels` and `strides` are those of the networks' levels, one network after the other.
    """

    sees_all = False

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.channels, self.strides = channels, strides
        self.levels = nn.ModuleList(nn.Conv2d(c, classes, 1, bias=False) for c in channels)
        self.scores = nn.ModuleList(nn.Conv2d(c, 1, 1) for c in channels)
        self.bias = nn.Parameter(torch.zeros(classes))
        self.groups = [[i for i, own in enumerate(strides) if own == stride] for stride in dict.fromkeys(strides)]

    def weights(self, maps: Sequence[Tensor], inside: tuple[int, int]) -> list[Tensor]:
        """B x 1 x h x w for each level: they sum to 1 over the levels of one stride."""
        scores = [
            bring(score(z), stride, AT, inside)
            for score, z, stride in zip(self.scores, maps, self.strides, strict=True)
        ]
        found: dict[int, Tensor] = {}
        for group in self.groups:
            found |= dict(zip(group, torch.stack([scores[i] for i in group]).softmax(0), strict=True))
        return [found[i] for i in range(len(maps))]

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """B x classes x H x W."""
        inside = (-(-size[0] // AT), -(-size[1] // AT))
        total = self.bias[:, None, None]
        for level, z, stride, weight in zip(self.levels, maps, self.strides, self.weights(maps, inside), strict=True):
            total = total + weight * bring(level(z), stride, AT, inside)
        return bring(total, AT, 1, size)


FUSIONS = {"linear": Linear, "concat": Linear, "attention": Weighed}


def joined_network(
    backbones: Sequence[Backbone], decoder: str, classes: int, *, saliency: Sequence[str] = ()
) -> SceneNetwork:
    """Copies of the backbones, maps of saliency, and a decoder of `FUSIONS` that reads all of them.

    Raises `UnknownName`, and `UserError` for a backbone without levels.
    """
    if decoder not in FUSIONS:
        raise UnknownName("fusions of backbones", decoder, FUSIONS)
    looks = [backbone.preprocessing for backbone in backbones]
    parts = [*(Levels.of(one) for one in backbones), *(maps_of(name, looks[0]) for name in saliency)]
    levels = JoinedLevels(parts, [*looks, *(looks[0] for _ in saliency)])
    head = FUSIONS[decoder](levels.channels, levels.strides, classes)
    return SceneNetwork(levels, head, looks[0]).to(memory_format=torch.channels_last).eval()
