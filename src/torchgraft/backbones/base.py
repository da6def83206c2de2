"""What a backbone is, and what a provider file offers.

A provider is one file in this room. It offers:

- `names() -> list[Offer]`: what it can load on this machine without a download (cheap: no weights are read);
- `load(name: str) -> Backbone`: build the network and load its weights (`name` without the provider's prefix).
  May download where the provider has a hub; offline it raises a `UserError` that says what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from torchgraft.core.types import Preprocessing

if TYPE_CHECKING:
    from torch import nn

    from torchgraft.backbones._levels import Levels


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A backbone that can be loaded, here and now or after a download, described without loading it.

    `name` is the full name (provider/name), `size` the bytes on disk, `note` a few words for people. `imagenet` is the
    published top-1 accuracy of the weights on ImageNet-1k in %, None where it is not known.
    """

    name: str
    modality: str
    width: int
    parameters: int
    size: int
    licence: str
    note: str = ""
    imagenet: float | None = None


class Tokenizer(Protocol):
    """Texts to token ids, without padding; cut at the backbone's `max_tokens`."""

    def __call__(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, special tokens included."""
        ...

    @property
    def padding(self) -> int:
        """The id that fills short rows."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """What a backbone computes with: `module` (see `Backbone`), and where there is one the `tokenizer`.

    `classifier` maps pooled features to the logits of pretraining, where the weights have one.
    """

    module: nn.Module
    tokenizer: Tokenizer | None = None
    classifier: nn.Module | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Backbone:
    """A pretrained network that turns one sample into features, with what it needs to be used rightly.

    `module` maps a batch to unpooled features. `layout` says their shape:

    - `map`: images B x 3 x H x W (normalised) -> B x C x h x w;
    - `tokens`: images -> B x T x C, or texts (ids B x T, mask B x T) -> B x T x C.

    `prefix` is the number of leading tokens that are no patches (class token, registers). `width` is C.
    `pooling` is the pooling its authors use (see `features.pooling`). `parameters` is the number of weights, the
    classifier of pretraining left out. `revision` is a content hash of weights and architecture: two backbones of one
    revision give the same features. `build` makes the network; it is called when the first of `module`, `tokenizer`
    and `classifier` is asked for, so that features which are in the store already need no network and no torch.
    `imagenet` is as in `Offer`.
    """

    name: str
    layout: str
    width: int
    pooling: str
    parameters: int
    preprocessing: Preprocessing
    licence: str
    revision: str
    build: Callable[[], Network]
    prefix: int = 0
    imagenet: float | None = None

    @cached_property
    def network(self) -> Network:
        """What `build` made, once."""
        return self.build()

    @cached_property
    def levels(self) -> Levels:
        """Its maps at each stride, of a copy of the network. Raises `UserError` where it has none (see `Levels`)."""
        from torchgraft.backbones._levels import Levels  # loads torch

        return Levels.of(self)

    @property
    def module(self) -> nn.Module:
        """The network up to its pooling."""
        return self.network.module

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Texts to token ids; None for images."""
        return self.network.tokenizer

    @property
    def classifier(self) -> nn.Module | None:
        """Pooled features to logits of pretraining, or None."""
        return self.network.classifier

    @property
    def modality(self) -> str:
        """Image or text."""
        return self.preprocessing.modality

    def describe(self) -> dict[str, Any]:
        """What `graft.json` and the report say of it."""
        return {
            "name": self.name,
            "revision": self.revision,
            "licence": self.licence,
            "width": self.width,
            "parameters": self.parameters,
        }
