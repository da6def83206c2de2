"""The first blocks of another transformer: first/4/NAME is NAME cut after its fourth block."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from torchgraft import backbones
from torchgraft.backbones.base import Backbone, Network, Offer
from torchgraft.core.errors import UserError
from torchgraft.core.files import digest

if TYPE_CHECKING:
    from torch import nn


def names() -> list[Offer]:
    """Nothing: what can be cut, and where, is known once it is loaded."""
    return []


def load(name: str) -> Backbone:
    """Load `K/NAME`: the backbone NAME without the blocks after its K-th one.

    Its features are those that NAME has at this depth, with what NAME has after all blocks (a norm) on top. Beside
    NAME itself this gives features of several layers.

    Raises `UserError` where K is no number of blocks of NAME, or NAME is no transformer with one chain of blocks.
    """
    number, _, rest = name.partition("/")
    if not number.isdecimal() or "/" not in rest:
        raise UserError(f"first/{name}: expected first/K/provider/name, like first/3/packaged/minilm_l6.")
    whole = backbones.load(rest)
    path, depth = _chain(whole)
    if not 1 <= int(number) < depth:
        raise UserError(f"first/{name}: {rest} has {depth} blocks; expected 1 to {depth - 1}.")
    return _cut(whole, path, int(number))


def _cut(whole: Backbone, path: str, k: int) -> Backbone:
    module = copy.deepcopy(whole.module)
    above, _, last = path.rpartition(".")
    setattr(module.get_submodule(above), last, module.get_submodule(path)[:k])
    network = Network(module=module, tokenizer=whole.tokenizer)
    return replace(
        whole,
        name=f"first/{k}/{whole.name}",
        parameters=sum(p.numel() for p in module.parameters()),
        revision=digest([whole.revision, f"first {k}"]),
        build=lambda: network,
        imagenet=None,
    )


def _chain(backbone: Backbone) -> tuple[str, int]:
    """The place of the chain of blocks in the network, and its length: the largest list of modules of one kind."""
    from torch import nn  # here, since a room of names loads no torch

    found = []
    for path, module in backbone.module.named_modules():
        blocks = list(module) if isinstance(module, nn.ModuleList | nn.Sequential) else []
        if len(blocks) > 1 and len({type(block) for block in blocks}) == 1:
            found.append((_size(module), path, len(blocks)))
    size, path, depth = max(found, default=(0, "", 0))
    if backbone.layout != "tokens" or 2 * size < _size(backbone.module) - _embeddings(backbone.module):
        raise UserError(
            f"{backbone.name} can't be cut: only transformers with one chain of blocks of one kind can. "
            "For several layers of another network, join several networks instead."
        )
    return path, depth


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _embeddings(module: nn.Module) -> int:
    from torch import nn

    return sum(_size(part) for part in module.modules() if isinstance(part, nn.Embedding))
