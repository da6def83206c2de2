"""Losses of labels for each pixel: cross entropy, focal, Dice, Lovász; pixels without a label don't count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from torchgraft.core.errors import DataError, OptionError, did_you_mean
from torchgraft.data import IGNORE

LOSSES = ("ce", "focal", "dice", "lovasz", "ce+dice", "ce+lovasz")
CLASS_WEIGHTS = ("none", "balanced")
_STEPS = 1 << 14  # between an error of 0 and one of 1, to put errors in order


@dataclass(frozen=True, kw_only=True)
class DenseLossOptions:
    """Which loss, and how it treats classes.

    - `name`: ce, focal, dice, lovasz, or a sum of two, each with weight 1: ce+dice, ce+lovasz;
    - `class_weight`: `none`, or `balanced` (see `tempered_weights`); for ce and focal: dice and lovasz are means over
      classes as they are;
    - `smoothing` in [0, 1): the share of each target that is spread over all classes, for ce;
    - `gamma`, 0 or more: how much focal leaves out what is learnt already (Lin et al. 2017: 2).

    Raises `OptionError` that names every value that can't be used.
    """

    name: str = "ce"
    class_weight: str = "none"
    smoothing: float = 0.0
    gamma: float = 2.0

    def __post_init__(self) -> None:
        problems = []
        for option, known in (("name", LOSSES), ("class_weight", CLASS_WEIGHTS)):
            given = getattr(self, option)
            if given not in known:
                problems.append(f"{option} expects {', '.join(known)}; got {given!r}.{did_you_mean(str(given), known)}")
        if not 0 <= self.smoothing < 1:
            problems.append(f"smoothing expects a share from 0, below 1, got {self.smoothing!r}.")
        if not 0 <= self.gamma < float("inf"):
            problems.append(f"gamma expects 0 or more, got {self.gamma!r}.")
        if self.smoothing and self.name in ("focal", "dice", "lovasz"):
            problems.append(f"smoothing is for losses with ce; {self.name} takes none.")
        if self.class_weight == "balanced" and self.name in ("dice", "lovasz"):
            problems.append(f"class_weight is for ce and focal; {self.name} weighs classes alike as it is.")
        if problems:
            raise OptionError(" ".join(problems))


class DenseLoss(nn.Module):
    """The loss of `DenseLossOptions` as a scalar: logits B x C x H x W, y B x H x W int64 with IGNORE = 255.

    `counts` holds the C pixel counts of the training labels; they are used by balanced weights alone. A batch without
    one labelled pixel gives 0, and gradients of 0. It holds nothing that is saved or trained.

    Raises `DataError` for shapes that don't fit, for counts that are negative, or all 0; labels that are neither
    a class nor IGNORE raise, in ce and focal by torch.
    """

    def __init__(self, options: DenseLossOptions, counts: Sequence[int] | np.ndarray | Tensor) -> None:
        super().__init__()
        self.options = options
        weight = tempered_weights(counts) if options.class_weight == "balanced" else None
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        """Logits B x C x H x W (float), y B x H x W (int64) -> scalar."""
        _check(logits, y)
        if self.options.name == "focal":
            return dense_focal(logits, y, gamma=self.options.gamma, weight=self.weight)
        return sum((self._part(part, logits, y) for part in self.options.name.split("+")), logits.new_zeros(()).float())

    def _part(self, part: str, logits: Tensor, y: Tensor) -> Tensor:
        if part == "ce":
            return dense_cross_entropy(logits, y, weight=self.weight, smoothing=self.options.smoothing)
        return {"dice": dice, "lovasz": lovasz}[part](logits, y)


def tempered_weights(counts: Sequence[int] | np.ndarray | Tensor) -> Tensor:
    """w_c = 1 / ln(1.02 + n_c / N) of C pixel counts, scaled to be 1 in the mean over pixels (Paszke et al. 2016).

    A class that nearly no pixel has weighs at most 36 times what one weighs that all have: weights of 1 / n_c would
    make a pole of a few pixels weigh thousands of pixels of road, and the step as noisy as its few pixels.
    """
    n = torch.as_tensor(np.asarray(counts) if not isinstance(counts, Tensor) else counts).double()
    if n.ndim != 1 or not len(n) or not bool(torch.isfinite(n).all()) or bool((n < 0).any()) or not bool(n.any()):
        raise DataError(f"pixel counts expect C numbers of 0 or more, at least one above 0; got {n.tolist()}.")
    share = n / n.sum()
    w = 1 / torch.log(1.02 + share)
    return (w / (w * share).sum()).float()


def dense_cross_entropy(logits: Tensor, y: Tensor, *, weight: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """sum_i sum_c w_c q'_ic (-log p_ic) / n over the n labelled pixels, q' the smoothed targets (0.1: share of each).

    Divided by n and not by the weights of a batch, as the cross entropy of whole images is: what a batch costs does
    not depend on which classes it happens to hold.
    """
    total = functional.cross_entropy(
        logits.float(), y, weight=weight, ignore_index=IGNORE, label_smoothing=smoothing, reduction="sum"
    )
    return total / _labelled(y)


def dense_focal(logits: Tensor, y: Tensor, *, gamma: float = 2.0, weight: Tensor | None = None) -> Tensor:
    """Mean of w_y (1 - p_y)^gamma (-log p_y) over labelled pixels (Lin et al. 2017). gamma = 0: cross entropy."""
    cost = functional.cross_entropy(logits.float(), y, ignore_index=IGNORE, reduction="none")  # B x H x W, IGNORE: 0
    # -expm1(log p) is 1 - p without loss of digits, held off 0, where the power has no finite slope below gamma 1
    missing = (-torch.expm1(-cost)).clamp(min=torch.finfo(cost.dtype).tiny)
    focused = missing**gamma * cost
    if weight is not None:
        focused = focused * weight[y.masked_fill(y == IGNORE, 0)]
    return focused.sum() / _labelled(y)


def dice(logits: Tensor, y: Tensor) -> Tensor:
    """1 - the mean over classes of 2 sum_i p_ic g_ic / (sum_i p_ic^2 + sum_i g_ic) (Milletari et al. 2016).

    p are probabilities, g is 1 at pixels of the class; sums run over the labelled pixels of the whole batch, the mean
    over the classes that occur there: the overlap with nothing is 0 for all but a p of exactly 0.
    """
    classes, labelled = logits.shape[1], y != IGNORE
    support = _counts(y, classes)
    p = logits.float().softmax(1) * labelled[:, None]
    at = y.masked_fill(~labelled, 0)
    own = p.gather(1, at[:, None])  # p of each pixel's class
    both = p.new_zeros(classes).index_add(0, at.flatten(), own.flatten())
    squares = torch.linalg.vector_norm(p.flatten(2), dim=2).square().sum(0)
    present = support > 0
    overlap = 2 * both / (squares + support).clamp(min=torch.finfo(p.dtype).tiny)
    return ((1 - overlap) * present).sum() / present.sum().clamp(min=1)


def lovasz(logits: Tensor, y: Tensor) -> Tensor:
    """Lovász-softmax (Berman et al. 2018): the mean over classes of the Lovász extension of 1 - IoU at the errors.

    Errors are 1 - p_c at pixels of the class c and p_c at others; with errors in falling order, e_1 >= e_2 >= ..., the
    extension is sum_k e_k (J_k - J_{k-1}), J_k being 1 - IoU where just the first k pixels are wrong. Pixels are
    those labelled in the whole batch, classes those that occur there.

    Errors are put in order by counting them in 16 384 steps, several times faster than by sorting: only the order
    within a step is lost (there, pixels of the class come first), and the value is at most 1 / 16 384 off.
    """
    p = logits.float().softmax(1)
    present = _counts(y, logits.shape[1]).nonzero().flatten().tolist()
    if not present:
        return 0 * p.sum()
    slope, constant = torch.zeros_like(p), p.new_zeros(())
    unlabelled = y == IGNORE
    for c in present:
        slope[:, c], start = _lovasz_slope(p.detach()[:, c], y == c, unlabelled)
        constant = constant + start
    return ((p * slope).sum() + constant) / len(present)


def _lovasz_slope(p: Tensor, own: Tensor, unlabelled: Tensor) -> tuple[Tensor, Tensor]:
    """The slope of a class's loss at each pixel's p, B x H x W, and the loss where those p are 0.

    Steps 0.._STEPS-1 hold errors of other pixels, the next as many those of the class, the last what doesn't count.
    """
    step = (p * (_STEPS - 1)).round_().to(torch.int32)
    at = torch.where(own, 2 * _STEPS - 1 - step, step).masked_fill_(unlabelled, 2 * _STEPS).flatten()
    counts = torch.bincount(at, minlength=2 * _STEPS + 1)[:-1].view(2, _STEPS).flip(1).double()  # largest error first
    others, missed = counts.cumsum(1)
    total = missed[-1]
    after = 1 - (total - missed) / (total + others)  # J where all up to this step are wrong
    between = 1 - (total - missed) / (total + others - counts[0])  # and here of this step just those of the class
    before = functional.pad(after[:-1], (1, 0))
    shares = torch.stack([after - between, before - between]) / counts.clamp(min=1)
    table = functional.pad(shares.flip(1).flatten(), (0, 1)).to(p.dtype)
    return table.index_select(0, at).view(p.shape), (between - before).sum().to(p.dtype)


def _labelled(y: Tensor) -> Tensor:
    """How many pixels count; 1 where none does, to divide by."""
    return (y != IGNORE).sum().clamp(min=1)


def _counts(y: Tensor, classes: int) -> Tensor:
    """C pixel counts of the labels. Raises `DataError` where one is neither a class nor IGNORE."""
    counts = torch.bincount(y.flatten(), minlength=IGNORE + 1)
    other = counts[classes:].nonzero().flatten() + classes
    if len(other) and other.tolist() != [IGNORE]:
        wrong = [label for label in other.tolist() if label != IGNORE][:5]
        raise DataError(f"labels expect classes in 0..{classes - 1} or {IGNORE} for none, got {wrong}.")
    return counts[:classes]


def _check(logits: Tensor, y: Tensor) -> None:
    right = logits.ndim == 4 and y.shape == (len(logits), *logits.shape[2:]) and y.dtype == torch.int64
    if not right or not 0 < logits.shape[1] <= IGNORE:
        raise DataError(
            f"expected logits B x C x H x W, C from 1 to {IGNORE}, and labels B x H x W int64; got "
            f"{tuple(logits.shape)} and {tuple(y.shape)} {y.dtype}."
        )
