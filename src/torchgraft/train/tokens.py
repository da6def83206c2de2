"""Augmentation of texts as token ids: words are hidden; lengths and special tokens stay."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from torchgraft.core.errors import DataError, OptionError


@dataclass(frozen=True, kw_only=True)
class TokenOptions:
    """What is done to training texts; by default nothing.

    dropout: share of the tokens that are hidden, each by its own draw (0 to 1; 0.1 is usual). cut: share of the text
    that is hidden as one piece (span cutoff, Shen et al. 2020, arXiv:2009.13818; 0 to 1, 0.1 to 0.2 is usual).

    Raises `OptionError` that names every value that can't be used.
    """

    dropout: float = 0.0
    cut: float = 0.0

    def __post_init__(self) -> None:
        problems = [
            f"{name} expects a share from 0 to 1 (1 left out), got {getattr(self, name)!r}."
            for name in ("dropout", "cut")
            if not 0 <= getattr(self, name) < 1
        ]
        if problems:
            raise OptionError(" ".join(problems))

    @property
    def off(self) -> bool:
        """Whether texts stay as they are."""
        return not (self.dropout or self.cut)


@torch.no_grad()
def augment_tokens(
    ids: Tensor,
    mask: Tensor,
    options: TokenOptions,
    generator: torch.Generator,
    *,
    replacement: int,
    special: Collection[int] | None = None,
) -> Tensor:
    """Ids B x T with some tokens replaced by `replacement`: the tokenizer's mask, unknown or padding id.

    Tokens of the ids in `special`, and padding (mask B x T is 0), always stay; the mask remains valid. Where `special`
    is None, the first and the last token of each text are taken for special, as BERT's [CLS] and [SEP] are. Every text
    keeps at least one of its own tokens. Returns a new tensor, or `ids` itself where options are off.
    Everything random comes from `generator`, on the CPU. Raises `DataError` where shapes or types don't fit.
    """
    if ids.ndim != 2 or ids.shape != mask.shape or ids.is_floating_point():
        raise DataError(
            f"expected ids B x T of whole numbers and a mask of the same shape, got {tuple(ids.shape)} {ids.dtype} "
            f"and {tuple(mask.shape)}."
        )
    if options.off or not ids.numel():
        return ids
    own = _own(ids, mask != 0, special)
    chance = torch.rand(ids.shape, generator=generator).to(ids.device)
    start = torch.rand(len(ids), 1, generator=generator).to(ids.device)
    hidden = own & ((chance < options.dropout) | _span(own, options.cut, start))
    all_hidden = (hidden.sum(1) == own.sum(1)) & own.any(1)
    last_one = chance.masked_fill(~own, -1).argmax(1)
    hidden[all_hidden, last_one[all_hidden]] = False
    return ids.masked_fill(hidden, replacement)


def _own(ids: Tensor, real: Tensor, special: Collection[int] | None) -> Tensor:
    """Which tokens are the text's own: neither padding nor special. Padding may be on either side."""
    if special is not None:
        return real & ~torch.isin(ids, torch.tensor(sorted(special), dtype=ids.dtype, device=ids.device))
    place = real.cumsum(1)
    return real & (place > 1) & (place < real.sum(1, keepdim=True))


def _span(own: Tensor, share: float, start: Tensor) -> Tensor:
    """One piece of each text: `share` of its own tokens, rounded, beginning at a place drawn from [0, 1)."""
    count = own.sum(1, keepdim=True)
    length = (count * share).round().long()
    first = (start * (count - length + 1)).long()
    place = own.cumsum(1) - 1
    return (place >= first) & (place < first + length)
