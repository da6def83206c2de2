"""Mixup and CutMix: two samples become one, and so do their labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torchgraft.core.errors import DataError, OptionError


@dataclass(frozen=True, kw_only=True)
class MixOptions:
    """How samples are mixed; by default not at all.

    mixup, cutmix: the a of Beta(a, a), 0 is off; small values change little, 1 mixes evenly. With both, each mixed
    sample gets one of them, by even chance. probability: share of the samples that are mixed.

    Raises `OptionError` that names every value that can't be used.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        problems = [
            f"{name} expects a finite number from 0, got {getattr(self, name)!r}."
            for name in ("mixup", "cutmix")
            if not 0 <= getattr(self, name) < float("inf")
        ]
        if not 0 <= self.probability <= 1:
            problems.append(f"probability expects a number from 0 to 1, got {self.probability!r}.")
        if problems:
            raise OptionError(" ".join(problems))

    @property
    def off(self) -> bool:
        """Whether samples stay as they are."""
        return not (self.mixup or self.cutmix) or not self.probability


@torch.no_grad()
def mix(x: Tensor, y_onehot: Tensor, options: MixOptions, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mix every sample i with another sample j of the batch by its own l ~ Beta(a, a); labels likewise.

    Mixup (Zhang et al. 2018): l x_i + (1 - l) x_j. CutMix (Yun et al. 2019): a rectangle of x_j, at the same place,
    with sides sqrt(1 - l) of the picture's, cut at its edges; l is then the share of x_i that is left.
    Labels: l y_i + (1 - l) y_j.

    x: B x H x W x C (CutMix; mixup takes B x ...) uint8 or float. y_onehot: B x C float, rows that sum to 1.
    Returns new tensors (float32 where mixup meets uint8), or x and y_onehot themselves where options are off.
    Everything random comes from `generator`, on the CPU. Raises `DataError` where shapes don't fit.
    """
    _check(x, y_onehot, options)
    if options.off or not len(x):
        return x, y_onehot
    n = len(x)
    other = torch.randperm(n, generator=generator)
    chance = torch.rand(n, 4, generator=generator).tolist()
    seed = int(torch.randint(2**62, (1,), generator=generator))
    beta = np.random.default_rng(seed).beta  # torch has no Beta draws from a generator
    mixed = x.clone() if x.is_floating_point() or not options.mixup else x.float()
    kept = torch.ones(n, dtype=torch.float64)
    for i, (j, (whether, which, down, right)) in enumerate(zip(other.tolist(), chance, strict=True)):
        if whether >= options.probability:
            continue
        if options.mixup and (not options.cutmix or which < 0.5):
            kept[i] = beta(options.mixup, options.mixup)
            mixed[i].lerp_(x[j].to(mixed.dtype), float(1 - kept[i]))
        else:
            kept[i] = _paste(mixed[i], x[j], float(beta(options.cutmix, options.cutmix)), down, right)
    weight = kept.to(y_onehot)[:, None]
    return mixed, y_onehot * weight + y_onehot[other.to(y_onehot.device)] * (1 - weight)


def box(height: int, width: int, kept: float, down: float, right: float) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of CutMix's rectangle: centre uniform (`down`, `right` in [0, 1)), cut at the edges."""
    share = (1 - kept) ** 0.5
    tall, wide = int(height * share), int(width * share)
    top, left = int(down * height) - tall // 2, int(right * width) - wide // 2
    return max(top, 0), min(top + tall, height), max(left, 0), min(left + wide, width)


def _paste(x: Tensor, other: Tensor, kept: float, down: float, right: float) -> float:
    """Paste the rectangle of `other` into x, H x W x C; the share of x that is left."""
    height, width = x.shape[:2]
    top, bottom, left, right_edge = box(height, width, kept, down, right)
    x[top:bottom, left:right_edge] = other[top:bottom, left:right_edge]
    return 1 - (bottom - top) * (right_edge - left) / (height * width)


def _check(x: Tensor, y: Tensor, options: MixOptions) -> None:
    problems = []
    if y.ndim != 2 or not y.is_floating_point() or len(y) != len(x):
        problems.append(
            f"labels expected as {len(x)} x C float, one row a sample, got {tuple(y.shape)} {y.dtype}; "
            "use torch.nn.functional.one_hot(y, C).float()"
        )
    if options.cutmix and x.ndim != 4:
        problems.append(f"cutmix expects pictures B x H x W x C, got {tuple(x.shape)}; use mixup, or no mixing")
    if problems:
        raise DataError("; ".join(problems) + ".")
