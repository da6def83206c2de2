"""Changes of colour, in place on one picture: H x W x 3 float32 in 0..255, contiguous. Each is what Pillow does.

Pillow rounds to whole grey levels after every change; here values between them stay.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's "L"


def brightness(p: Tensor, factor: float) -> None:
    """`p * factor`: 0 is black, 1 changes nothing."""
    p.mul_(factor).clamp_(0, 255)


def contrast(p: Tensor, factor: float) -> None:
    """`m + (p - m) * factor`, m the picture's mean grey."""
    means = p.view(-1, 3).mean(0).tolist()
    mean = sum(weight * value for weight, value in zip(_LUMA, means, strict=True))
    p.mul_(factor).add_((1 - factor) * mean).clamp_(0, 255)


def saturation(p: Tensor, factor: float) -> None:
    """`g + (p - g) * factor`, g each pixel's grey: 0 is a grey picture."""
    red, green, blue = (p[..., channel] * weight for channel, weight in enumerate(_LUMA))
    grey = red.add_(green).add_(blue).mul_(1 - factor)
    p.mul_(factor).add_(grey[..., None]).clamp_(0, 255)


def sharpness(p: Tensor, factor: float) -> None:
    """`s + (p - s) * factor`, s the picture smoothed by [1 1 1; 1 5 1; 1 1 1] / 13; the outermost pixels stay."""
    if min(p.shape[:2]) < 3:
        return
    inner = p[1:-1, 1:-1]
    rows = p[:-2] + p[1:-1]
    rows += p[2:]
    smooth = rows[:, :-2] + rows[:, 1:-1]
    smooth += rows[:, 2:]
    smooth.add_(inner, alpha=4).mul_((1 - factor) / 13)
    inner.mul_(factor).add_(smooth).clamp_(0, 255)


def solarize(p: Tensor, threshold: float) -> None:
    """Values from `threshold` up become 255 - p."""
    p.copy_(torch.where(p < threshold, p, 255 - p))


def posterize(p: Tensor, bits: int) -> None:
    """Only the `bits` highest bits of the eight stay."""
    step = 2 ** (8 - bits)
    p.div_(step).floor_().mul_(step)


def autocontrast(p: Tensor) -> None:
    """Each channel stretched over 0..255; a channel that spans less than one grey level stays."""
    for channel in p.unbind(-1):
        low, high = (value.item() for value in channel.aminmax())
        if high - low >= 1:
            channel.sub_(low).mul_(255 / (high - low)).clamp_(0, 255)


def equalize(p: Tensor) -> None:
    """Each channel's values spread so that all are about as frequent (histogram equalisation)."""
    at = p.round().to(torch.int32).add_(torch.tensor([0, 256, 512], dtype=torch.int32)).view(-1)
    counts = torch.bincount(at, minlength=768).view(3, 256)
    table = torch.stack([_flat_table(row) for row in counts]).view(-1)
    p.copy_(table.index_select(0, at).view(p.shape))


def _flat_table(counts: Tensor) -> Tensor:
    """What each of the 256 values becomes, given how often it occurs."""
    present = counts.nonzero().view(-1)
    step = (int(counts.sum()) - int(counts[present[-1]])) // 255
    if len(present) < 2 or not step:
        return torch.arange(256.0)
    before = F.pad(counts.cumsum(0), (1, 0))[:-1]
    return ((before + step // 2) // step).clamp_(max=255).float()
