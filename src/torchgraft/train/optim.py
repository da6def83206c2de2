"""Optimizers made from parameter groups, and the devices they run on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from torchgraft.core.errors import OptionError, did_you_mean
from torchgraft.train.groups import Group

if TYPE_CHECKING:
    from accelerate import Accelerator

OPTIMIZERS = ("adamw", "sgd")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_ACCELERATE = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def optimizer(name: str, groups: Sequence[Group], rate: float) -> torch.optim.Optimizer:
    """AdamW (betas 0.9, 0.999; decoupled decay) or SGD with Nesterov momentum 0.9, one group for each of `groups`.

    Every group carries `factor`, its share of the phase's rate. Raises `OptionError` for another name.
    """
    if name not in OPTIMIZERS:
        raise OptionError(f"optimizer expects adamw or sgd, got {name!r}.{did_you_mean(name, OPTIMIZERS)}")
    described = [
        {"params": list(g.params), "lr": rate * g.rate, "factor": g.rate, "weight_decay": g.decay, "name": g.name}
        for g in groups
    ]
    if name == "sgd":
        return torch.optim.SGD(described, lr=rate, momentum=0.9, nesterov=True)
    # fused: one pass over the weights instead of a dozen, which counts where memory is slower than arithmetic
    return torch.optim.AdamW(described, lr=rate, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def gradient_norms(groups: Sequence[Group]) -> dict[str, float]:
    """The l2 norm of each group's gradients; groups without any are left out."""
    norms = {}
    for group in groups:
        gradients = [p.grad for p in group.params if p.grad is not None]
        if gradients:
            norms[group.name] = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
    return norms


def accelerator(precision: str = "auto", tracker: str = "", folder: str = "") -> Accelerator:
    """`accelerate` for this process: its device, its place among others (`torchrun`), its precision, its tracker.

    `auto` is bf16 where the hardware multiplies it fast (CUDA that says so), else fp32: bf16 without AVX512 is ten
    times slower than fp32.
    """
    from accelerate import Accelerator  # here: a second of imports that only training needs
    from accelerate.utils import ProjectConfiguration

    if precision not in PRECISIONS:
        raise OptionError(f"precision expects {', '.join(PRECISIONS)}, got {precision!r}.")
    fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    precision = ("bf16" if fast else "fp32") if precision == "auto" else precision
    elsewhere = torch.cuda.is_available() or torch.backends.mps.is_available()
    return Accelerator(
        mixed_precision=_ACCELERATE[precision],
        cpu=not elsewhere,
        log_with=tracker or None,
        project_config=ProjectConfiguration(project_dir=folder or None, logging_dir=folder or None),
    )


def mixed(*numbers: int) -> int:
    """A seed for torch made of several numbers: equal for equal ones, unlike for others."""
    text = ",".join(str(number) for number in numbers)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
