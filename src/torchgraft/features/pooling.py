"""Pooling: unpooled features of a backbone (a map, or tokens) to one vector per sample.

| backbone gives | pooling |
|---|---|
| a map | avg, max, avgmax (both), gem (generalised mean, p = 3) |
| maps at every stride (`Backbone.levels`) | levels (mean, maximum and spread of the last two) |
| tokens of a text | mean (under the mask), cls (the first), clsmean (both), last (of a causal model) |
| tokens of an image | mean (of the patches); with a class token cls, clsmean |

Loads no torch until a pooling is built: features that are in the store already need none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchgraft.backbones import Backbone
from torchgraft.core.errors import OptionError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

_MAP = ("avg", "max", "avgmax", "gem")
_TOKENS = ("mean", "cls", "clsmean", "last")
_TWICE = ("avgmax", "clsmean")

LEVELS = "levels"
"""The pooling that reads more of a network than its last map, so it is never a backbone's own."""


def pool(backbone: Backbone, name: str | None = None) -> nn.Module:
    """The pooling `name` (None: the backbone's own) for this backbone.

    Raises `OptionError` where no pooling has that name or it doesn't fit what the backbone gives.
    """
    from torchgraft.features._pool_modules import LevelPool, MapPool, TokenPool

    name = resolve(backbone, name)
    if name == LEVELS:
        return LevelPool()
    return MapPool(name) if backbone.layout == "map" else TokenPool(name, backbone.prefix)


def width(backbone: Backbone, name: str | None = None) -> int:
    """D, the number of values per sample after pooling: C, of avgmax and clsmean 2C, of levels 3 (C_1 + C_2).

    Raises like `pool`, and for levels of a network that has none `UserError`.
    """
    name = resolve(backbone, name)
    if name == LEVELS:
        return 3 * sum(backbone.levels.channels[-2:])
    return backbone.width * (2 if name in _TWICE else 1)


def choices(backbone: Backbone) -> tuple[str, ...]:
    """The poolings of what this backbone gives."""
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
    if wanted in known or (wanted == LEVELS and backbone.layout == "map"):
        return wanted
    given = "a map" if backbone.layout == "map" else "tokens"
    if wanted in (*_MAP, *_TOKENS, LEVELS):
        reason = f"pooling '{wanted}' doesn't fit {backbone.name}, which gives {given}{_prefix_note(backbone, wanted)}."
    else:
        reason = f"there is no pooling '{wanted}'.{did_you_mean(wanted, known)}"
    raise OptionError(f"{reason} For {backbone.name}: {', '.join(known)}.")


def _prefix_note(backbone: Backbone, name: str) -> str:
    missing = backbone.layout == "tokens" and backbone.modality == "image" and name in ("cls", "clsmean")
    return " without a class token" if missing else ""
