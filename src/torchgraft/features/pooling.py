"""Pooling: unpooled features of a backbone (a map, or tokens) to one vector per sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchgraft.backbones import Backbone
from torchgraft.core.errors import OptionError, did_you_mean

_MAP = ("avg", "max", "avgmax", "gem")
_TOKENS = ("mean", "cls", "clsmean", "last")
_TWICE = ("avgmax", "clsmean")


class MapPool(nn.Module):
    """B x C x h x w -> B x C (avgmax: B x 2C), over the h w places of each channel.

    - `avg`: mean; `max`: largest value; `avgmax`: both, concatenated;
    - `gem`: (mean of x^p)^(1/p) with x clamped to at least 1e-6. p = 1 is the mean of the positive part, p to infinity
      the maximum. Radenovic et al., "Fine-tuning CNN image retrieval with no human annotation", TPAMI 2019 (p = 3).
    """

    def __init__(self, name: str, p: float = 3.0) -> None:
        super().__init__()
        self.name = name
        self.p = p

    def forward(self, z: Tensor) -> Tensor:
        """Pooled features."""
        if self.name == "avg":
            return z.mean((2, 3))
        if self.name == "max":
            return z.amax((2, 3))
        if self.name == "avgmax":
            return torch.cat([z.mean((2, 3)), z.amax((2, 3))], dim=1)
        return z.clamp(min=1e-6).pow(self.p).mean((2, 3)).pow(1 / self.p)


class TokenPool(nn.Module):
    """B x T x C, mask B x T (1 where there is a token; None: everywhere) -> B x C (clsmean: B x 2C).

    - `cls`: the first token; `mean`: mean of the tokens under the mask, the first `prefix` left out;
    - `clsmean`: both, concatenated; `last`: the last token under the mask (rows are filled up on the right).

    A row without any token gives zeros for `mean`.
    """

    def __init__(self, name: str, prefix: int = 0) -> None:
        super().__init__()
        self.name = name
        self.prefix = prefix

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pooled features."""
        if self.name == "cls":
            return z[:, 0]
        if self.name == "last":
            return _last(z, mask)
        if self.name == "mean":
            return self._mean(z, mask)
        return torch.cat([z[:, 0], self._mean(z, mask)], dim=1)

    def _mean(self, z: Tensor, mask: Tensor | None) -> Tensor:
        z = z[:, self.prefix :]
        if mask is None:
            return z.mean(1)
        weight = mask[:, self.prefix :].unsqueeze(-1).to(z.dtype)  # B x T x 1
        return (z * weight).sum(1) / weight.sum(1).clamp(min=1)


def pool(backbone: Backbone, name: str | None = None) -> nn.Module:
    """The pooling `name` (None: the backbone's own) for this backbone.

    Raises `OptionError` where no pooling has that name or it doesn't fit what the backbone gives.
    """
    name = resolve(backbone, name)
    return MapPool(name) if backbone.layout == "map" else TokenPool(name, backbone.prefix)


def width(backbone: Backbone, name: str | None = None) -> int:
    """D, the number of values per sample after pooling: C or, for avgmax and clsmean, 2C. Raises like `pool`."""
    return backbone.width * (2 if resolve(backbone, name) in _TWICE else 1)


def choices(backbone: Backbone) -> tuple[str, ...]:
    """The poolings that fit this backbone."""
    if backbone.layout == "map":
        return _MAP
    if backbone.modality == "text":
        return _TOKENS
    return ("mean", "cls", "clsmean") if backbone.prefix else ("mean",)


def resolve(backbone: Backbone, name: str | None = None) -> str:
    """The name under which features of this pooling are kept: the backbone's own for None, `mean` for avg of tokens.

    Raises like `pool`.
    """
    wanted = name or backbone.pooling
    known = choices(backbone)
    if wanted == "avg" and backbone.layout == "tokens":
        return "mean"
    if wanted in known:
        return wanted
    given = "a map" if backbone.layout == "map" else "tokens"
    if wanted in _MAP + _TOKENS:
        reason = f"pooling '{wanted}' doesn't fit {backbone.name}, which gives {given}{_prefix_note(backbone, wanted)}."
    else:
        reason = f"there is no pooling '{wanted}'.{did_you_mean(wanted, known)}"
    raise OptionError(f"{reason} For {backbone.name}: {', '.join(known)}.")


def _prefix_note(backbone: Backbone, name: str) -> str:
    missing = backbone.layout == "tokens" and backbone.modality == "image" and name in ("cls", "clsmean")
    return " without a class token" if missing else ""


def _last(z: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return z[:, -1]
    place = (mask.sum(1) - 1).clamp(min=0)  # B
    return z.gather(1, place.view(-1, 1, 1).expand(-1, 1, z.shape[2])).squeeze(1)
