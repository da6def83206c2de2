"""The poolings as modules, so that they are part of what is traced and exported."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


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


class LevelPool(nn.Module):
    """Maps B x C_l x h_l x w_l at every stride -> B x 3 (C_1 + C_2), of the last two.

    Of each map the mean over its places, the largest value, and the standard deviation (of all places, not of a
    sample of them). A map of one place has the spread 0. After Evci et al., "Head2Toe: Utilizing Intermediate
    Representations for Better Transfer Learning", ICML 2022, which takes means of all layers.
    """

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Pooled features."""
        return torch.cat([one for z in maps[-2:] for one in (z.mean((2, 3)), z.amax((2, 3)), _spread(z))], dim=1)


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


def _spread(z: Tensor) -> Tensor:
    off = z - z.mean((2, 3), keepdim=True)
    return (off * off).mean((2, 3)).clamp(min=1e-12).sqrt()  # sqrt has no gradient at 0


def _last(z: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return z[:, -1]
    place = (mask.sum(1) - 1).clamp(min=0)  # B
    return z.gather(1, place.view(-1, 1, 1).expand(-1, 1, z.shape[2])).squeeze(1)
