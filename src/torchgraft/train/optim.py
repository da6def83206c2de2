"""Optimizers made from parameter groups, and the devices and processes they run on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchgraft.core.errors import MissingExtra, OptionError, UserError, did_you_mean
from torchgraft.train.groups import Group

if TYPE_CHECKING:
    from accelerate import Accelerator

OPTIMIZERS = ("adamw", "sgd")
TRACKERS = ("tensorboard", "mlflow", "wandb")
_PRECISIONS = {"auto": "", "fp32": "no", "bf16": "bf16", "fp16": "fp16"}  # accelerate's names


def optimizer(name: str, groups: Sequence[Group], rate: float) -> torch.optim.Optimizer:
    """AdamW (betas 0.9, 0.999; decoupled decay) or SGD with Nesterov momentum 0.9, one group for each of `groups`.

    Every group carries `factor`, its share of the phase's rate. Raises `OptionError` for another name.
    """
    _known("optimizer", name, OPTIMIZERS)
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


def restore(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load copies of an optimizer's state, each tensor laid out in memory as its parameter.

    The fused update walks through memory whatever the strides: moments in another layout than their weights
    (channels_last) would be those of other weights.
    """
    params = [p for group in optimizer.param_groups for p in group["params"]]
    laid = {i: {name: _like(value, params[i]) for name, value in s.items()} for i, s in state["state"].items()}
    optimizer.load_state_dict({"state": laid, "param_groups": [dict(group) for group in state["param_groups"]]})


def _like(value: Any, p: Tensor) -> Any:
    if not isinstance(value, Tensor):
        return value
    return torch.empty_like(p).copy_(value) if value.shape == p.shape and value.ndim else value.clone()


def gradient_norms(groups: Sequence[Group]) -> dict[str, float]:
    """The l2 norm of each group's gradients; groups without any are left out."""
    names, norms = [], []
    for group in groups:
        gradients = [p.grad for p in group.params if p.grad is not None]
        if gradients:
            names.append(group.name)
            norms.append(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
    return dict(zip(names, torch.stack(norms).tolist(), strict=True)) if norms else {}  # one wait for the device


def accelerator(precision: str = "auto", tracker: str = "", folder: str = "") -> Accelerator:
    """`accelerate` for this process: its device, its place among others (`torchrun`), its precision, its tracker.

    `auto` is bf16 where the hardware multiplies it fast (CUDA that says so), else fp32: bf16 without AVX512 is ten
    times slower than fp32. Raises `OptionError` for another precision or tracker, `UserError` where the tracker is
    not installed.
    """
    _known("precision", precision, tuple(_PRECISIONS))
    if tracker:
        _known("tracker", tracker, TRACKERS)
        if find_spec(tracker) is None:
            if tracker != "tensorboard":  # we have no extra for the others
                raise UserError(f"tracker {tracker} needs {tracker}. Install it: pip install {tracker}.")
            raise MissingExtra(f"tracker {tracker}", tracker, tracker)
    from accelerate import Accelerator  # here: a second of imports that only training needs
    from accelerate.state import AcceleratorState
    from accelerate.utils import ProjectConfiguration

    fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    how = _PRECISIONS[precision] or ("bf16" if fast else "no")
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != how:
        AcceleratorState._reset_state()  # it holds the first precision of a process for good otherwise
    return Accelerator(
        mixed_precision=how,
        cpu=not (torch.cuda.is_available() or torch.backends.mps.is_available()),
        log_with=tracker or None,
        project_config=ProjectConfiguration(project_dir=folder or None, logging_dir=folder or None),
    )


def begin_tracking(accelerator: Accelerator, tracker: str, name: str) -> None:
    """Open a run called `name` in the tracker, if there is one. Raises `UserError` with what the tracker says."""
    if not tracker:
        return
    try:
        accelerator.init_trackers(name)
    except Exception as error:  # the boundary: trackers fail for want of a login, a network, a store
        said = str(error).strip().partition("\n")[0][:300]
        raise UserError(f"tracker {tracker} could not begin: {type(error).__name__}: {said}") from error


def from_main(accelerator: Accelerator, values: Iterable[float]) -> list[float]:
    """The main process's numbers, the same for all."""
    if accelerator.num_processes == 1:
        return list(values)
    numbers = torch.tensor(list(values), dtype=torch.float64, device=accelerator.device)
    torch.distributed.broadcast(numbers, 0)
    return numbers.tolist()


def share(accelerator: Accelerator, tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors by the main process's."""
    if accelerator.num_processes > 1:
        for tensor in tensors:
            torch.distributed.broadcast(tensor.detach(), 0)


def mixed(*numbers: int) -> int:
    """A seed for torch made of several numbers: equal for equal ones, unlike for others."""
    text = ",".join(str(number) for number in numbers)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Inside the block torch's global generators may be seeded at will; afterwards they go on as before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _known(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise OptionError(f"{what} expects {', '.join(known)}, got {name!r}.{did_you_mean(name, known)}")
