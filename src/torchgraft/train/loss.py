"""Losses of fine-tuning: cross entropy, also for imbalanced classes, and penalties that hold on to pretraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from torchgraft.core.errors import DataError, OptionError, UserError, did_you_mean

CLASS_WEIGHTS = ("none", "balanced")


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """How the cross entropy treats classes.

    - `smoothing` in [0, 1): the share of each target that is spread over all classes (Szegedy et al. 2016: 0.1);
    - `class_weight`: `none`, or `balanced` (see `balanced_weights`);
    - `logit_adjustment` tau, 0 or more: tau log(class frequency) is added to the logits in training, so that the
      logits without it are those of balanced classes (Menon et al. 2021: 1).

    Raises `OptionError` for values out of range.
    """

    smoothing: float = 0.0
    class_weight: str = "none"
    logit_adjustment: float = 0.0

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.smoothing < 1:
            problems.append(f"smoothing expects a share from 0, below 1, got {self.smoothing!r}")
        if self.class_weight not in CLASS_WEIGHTS:
            near = did_you_mean(str(self.class_weight), CLASS_WEIGHTS)
            problems.append(f"class_weight expects {' or '.join(CLASS_WEIGHTS)}, got {self.class_weight!r}.{near}")
        if not 0 <= self.logit_adjustment < float("inf"):
            problems.append(f"logit_adjustment expects 0 or more, got {self.logit_adjustment!r}")
        if problems:
            raise OptionError("; ".join(problems))


class ClassLoss(nn.Module):
    """Cross entropy of B x C logits with B classes or B x C soft targets, as `LossOptions` say; a scalar mean.

    `counts` holds the C class counts of the training samples; a class without a sample counts as one. The mean is
    weighted: sum_b sum_c w_c q'_bc (-log p_bc) / B, with q' the smoothed targets. Balanced weights are 1 in the mean
    over the training samples; divided by B, and not by a batch's own weights as in torch, a batch costs the same in
    however many pieces, on however many processes.
    It holds nothing that is saved or trained. The prediction is the argmax of the logits that are given to it.

    Raises `DataError` for counts that are negative, or all 0.
    """

    def __init__(self, options: LossOptions, counts: Sequence[int] | np.ndarray | Tensor) -> None:
        super().__init__()
        n = _counts(counts)
        self.smoothing = options.smoothing
        weight = balanced_weights(n) if options.class_weight == "balanced" else None
        shift = options.logit_adjustment * log_prior(n) if options.logit_adjustment else None
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        """Logits B x C (float), y B (int64) or B x C (rows sum to 1) -> scalar."""
        if self.shift is not None:
            logits = logits + self.shift
        return cross_entropy(logits, y, weight=self.weight, smoothing=self.smoothing)


def cross_entropy(logits: Tensor, y: Tensor, *, weight: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy of B x C logits with B classes or B x C soft targets; see `ClassLoss` for the formula.

    Classes and the same targets as one-hot rows give the same value.
    """
    total = functional.cross_entropy(logits.float(), y, weight=weight, label_smoothing=smoothing, reduction="sum")
    return total / len(logits)


def balanced_weights(counts: Sequence[int] | np.ndarray | Tensor) -> Tensor:
    """w_c = N / (C n_c) of C class counts: every class weighs the same in total. A count of 0 is taken as 1."""
    n = _counts(counts)
    return (n.sum() / (len(n) * n)).float()


def effective_weights(counts: Sequence[int] | np.ndarray | Tensor, beta: float = 0.999) -> Tensor:
    """w_c = (1 - beta) / (1 - beta^n_c) of C class counts, scaled to sum to C (Cui et al. 2019).

    `beta` in [0, 1): 0 gives 1 for every class, near 1 weighs like 1/n_c; usually 0.999 to 0.9999.
    """
    if not 0 <= beta < 1:
        raise OptionError(f"beta of the effective number expects a factor from 0, below 1, got {beta!r}.")
    w = (1 - beta) / (1 - beta ** _counts(counts))
    return (w * len(w) / w.sum()).float()


def log_prior(counts: Sequence[int] | np.ndarray | Tensor) -> Tensor:
    """log(n_c / N) of C class counts, natural logarithm. A count of 0 is taken as 1."""
    n = _counts(counts)
    return (n / n.sum()).log().float()


def focal(logits: Tensor, y: Tensor, *, gamma: float = 2.0, alpha: Tensor | None = None) -> Tensor:
    """Mean of -alpha_y (1 - p_y)^gamma log p_y over B samples (Lin et al. 2017). gamma = 0: cross entropy.

    Logits B x C, y B int64, `alpha` C weights of classes (the paper's binary case: 0.25 for the rare class, 0.75 else).
    """
    log_p = functional.log_softmax(logits.float(), dim=1).gather(1, y[:, None]).squeeze(1)  # B
    # -expm1(log p) is 1 - p without loss of digits, held off 0, where the power has no finite slope below gamma 1
    missing = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
    loss = -(missing**gamma) * log_p
    return (loss if alpha is None else alpha[y] * loss).mean()


def l2_sp(
    module: nn.Module, start: Mapping[str, Tensor], alpha: float, beta: float, head: nn.Module | None = None
) -> Tensor:
    """alpha/2 ||theta - theta0||^2 + beta/2 ||w_head||^2 (Li et al. 2018), over parameters that train.

    `start` maps the names of `module.named_parameters()` to copies of the pretrained values. Set the backbone's weight
    decay to 0. The authors take beta = 0.01 and alpha from 0.001 to 1.

    Raises `UserError` where `start` lacks a parameter, has another shape, or shares memory with it.
    """
    moving = {name: p for name, p in module.named_parameters() if p.requires_grad}
    _check_start(moving, start)
    distance = [(p - start[name]).square().sum() for name, p in moving.items()]
    size = [p.square().sum() for p in head.parameters() if p.requires_grad] if head is not None else []
    zero = torch.zeros((), device=next(iter(moving.values())).device if moving else None)
    return alpha / 2 * sum(distance, zero) + beta / 2 * sum(size, zero)


def bss(z: Tensor, k: int = 1) -> Tensor:
    """Batch spectral shrinkage: the sum of the k smallest squared singular values of B x D features (Chen et al. 2019).

    Of min(B, D) values; add it with a weight of about 0.001. Only values are asked of the decomposition: their
    gradient u v^T stays finite where singular values are equal, which that of the vectors does not. Features that are
    not finite give nan, for the loop to see.
    """
    if k < 1:
        raise OptionError(f"k expects a number of singular values, 1 or more, got {k!r}.")
    z = z.float()
    if not torch.isfinite(z).all():
        return z.sum() * float("nan")
    return torch.linalg.svdvals(z)[-k:].square().sum()


def co_tuning_relation(
    source_probabilities: Tensor | np.ndarray, y: Tensor | np.ndarray, C: int, *, temperature: float = 1.0
) -> Tensor:
    """C x Cs: p(source class | target class), the mean source probabilities of each target class (You et al. 2020).

    `source_probabilities` (N x Cs, rows sum to 1) are the pretrained classifier's of the target's training samples,
    `y` their N classes. `temperature` calibrates them first: p^(1/T), normalised. A class without a sample gets the
    mean of all samples. Raises `DataError` for shapes that don't fit or classes out of range.
    """
    p, y = torch.as_tensor(source_probabilities).double(), torch.as_tensor(y).long()
    if p.ndim != 2 or y.shape != p.shape[:1] or not len(p):
        raise DataError(f"expected N x Cs probabilities and N classes, got {tuple(p.shape)} and {tuple(y.shape)}.")
    if int(y.min()) < 0 or int(y.max()) >= C:
        raise DataError(f"expected classes in 0..{C - 1}, got {int(y.min())}..{int(y.max())}.")
    if temperature <= 0:
        raise OptionError(f"temperature expects a number above 0, got {temperature!r}.")
    p = functional.normalize(p ** (1 / temperature), p=1, dim=1)
    total = torch.zeros(C, p.shape[1], dtype=p.dtype, device=p.device).index_add_(0, y, p)
    n = torch.bincount(y, minlength=C)[:, None]
    return torch.where(n > 0, total / n.clamp(min=1), p.mean(0)).float()


def co_tuning(source_logits: Tensor, y: Tensor, relation: Tensor) -> Tensor:
    """Mean cross entropy of B x Cs source logits with the relation's rows of the targets; add it with a weight of 2.3.

    `y` holds B classes, or B x C soft targets whose rows are then mixed alike. `relation` is C x Cs.
    """
    rows = relation[y] if y.ndim == 1 else y.to(relation.dtype) @ relation
    return functional.cross_entropy(source_logits.float(), rows)


def _counts(counts: Sequence[int] | np.ndarray | Tensor) -> Tensor:
    n = torch.as_tensor(np.asarray(counts) if not isinstance(counts, Tensor) else counts).double()
    if n.ndim != 1 or not len(n) or not bool(torch.isfinite(n).all()) or bool((n < 0).any()) or not bool(n.any()):
        raise DataError(f"class counts expect C numbers of 0 or more, at least one above 0; got {n.tolist()}.")
    return n.clamp(min=1)


def _check_start(moving: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> None:
    problems = []
    for name, p in moving.items():
        if name not in start:
            problems.append(f"{name} is missing")
        elif start[name].shape != p.shape:
            problems.append(f"{name} expects shape {tuple(p.shape)}, got {tuple(start[name].shape)}")
        elif start[name].data_ptr() == p.data_ptr():
            problems.append(f"{name} is the parameter itself, not a copy")
    if problems:
        rest = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UserError(f"the start of L2-SP doesn't fit: {'; '.join(problems[:3])}{rest}. Copy the weights first.")
