"""BatchNorm said aloud: which of its statistics and weights move while the network trains.

| policy | normalises with | running statistics | gamma, beta |
|---|---|---|---|
| `frozen` | running statistics | fixed | fixed |
| `affine` | running statistics | fixed | train |
| `adapt` | the batch (in training) | follow the data seen | fixed |
| `train` | the batch (in training) | follow the data seen | train |

A layer with a policy other than `train` is of a subclass of its own class, so the policy lives in the layer:
`.train()`, `.eval()`, deepcopy, saving and DDP can't undo it. Fixed gamma and beta are buffers of the same name:
`state_dict` has the same keys, no optimiser sees them, and `requires_grad_` on a parent does not wake them.

Set the policy before the parameters are grouped and before the optimiser and DDP are made, since gamma and beta become
other objects. Convert to SyncBatchNorm first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.lazy import LazyModuleMixin

from torchgraft.core.errors import DataError, OptionError, UserError, did_you_mean

POLICIES = ("frozen", "affine", "adapt", "train")
SMALL_BATCH = 16
"""Below this many samples a batch's own statistics are too noisy to train with."""

_AFFINE = ("weight", "bias")


def set_norm(module: nn.Module, policy: str) -> int:
    """Give every BatchNorm layer in `module` (torch's, SyncBatchNorm, timm's with activation) a policy, in place.

    Can be called again with another policy; `train` gives the layers their own class back. Returns how many layers
    there are. `none` is what `choose_norm` says of a network without BatchNorm: nothing is done. `affine` and `train`
    let gamma and beta have gradients.

    Raises `OptionError` for an unknown policy, `UserError` for a layer without running statistics where the policy
    needs them.
    """
    if policy not in (*POLICIES, "none"):
        raise OptionError(
            f"norm has no policy {policy!r}.{did_you_mean(str(policy), POLICIES)} Known: {', '.join(POLICIES)}."
        )
    found = dict(_layers(module))
    bare = [name or type(layer).__name__ for name, layer in found.items() if layer.running_mean is None]
    if bare and policy in ("frozen", "affine"):
        raise UserError(
            f"norm policy '{policy}' needs running statistics; {len(bare)} layers keep none, first: {bare[0]}. "
            "Use the policy 'train' or 'adapt'."
        )
    for layer in found.values() if policy != "none" else ():
        _set_affine(layer, fixed=policy in ("frozen", "adapt"))
        plain = getattr(type(layer), "plain", type(layer))
        layer.__class__ = plain if policy == "train" else _subclass(plain, policy)
    return len(found)


def norm_policy(module: nn.Module) -> str:
    """The policy of a network's BatchNorm layers: one name, `none` where it has none, `mixed` where they differ."""
    found = {_policy(layer) for _, layer in _layers(module)}
    return found.pop() if len(found) == 1 else "mixed" if found else "none"


def choose_norm(module: nn.Module, *, batch: int, backbone_frozen: bool) -> tuple[str, str]:
    """(policy, the reason for people). `batch` is the number of samples that one process normalises together."""
    if not any(True for _ in _layers(module)):
        return "none", "the network has no BatchNorm"
    if backbone_frozen:
        return "frozen", "the backbone is frozen: its features must not depend on the batch"
    if batch < SMALL_BATCH:
        return "frozen", f"a batch of {batch} is under {SMALL_BATCH}: too few for statistics of its own"
    return "train", f"a batch of {batch} is enough for statistics of its own"


@torch.no_grad()
def reestimate(module: nn.Module, batches: Iterable[Tensor | tuple[Tensor, ...]]) -> int:
    """Replace running statistics by those of `batches`, each batch weighing as many samples as it has.

    For AdaBN (Li et al. 2016: policy `adapt`, the target's batches) and after weights were averaged or interpolated
    (policy `train`). Layers of policy `frozen` and `affine` keep theirs. Everything else runs in eval mode, so dropout
    adds nothing to the variances; modes are put back. A tuple is given to `module` as its arguments. Returns how many
    layers were re-estimated.

    Raises `DataError` where there are layers but no batch; the statistics are then as they were.
    """
    found = (layer for _, layer in _layers(module))
    moving = [layer for layer in found if _policy(layer) in ("adapt", "train") and layer.running_mean is not None]
    if not moving:
        return 0
    rest = iter(batches)
    first = next(rest, None)
    if first is None:
        raise DataError("statistics of BatchNorm can't be estimated again: expected at least one batch, got none.")
    modes = {part: part.training for part in module.modules()}
    momenta = {layer: layer.momentum for layer in moving}
    module.eval()
    try:
        _gather(module, moving, chain([first], rest))
    finally:
        for layer, momentum in momenta.items():
            layer.momentum = momentum
        for part, mode in modes.items():
            part.training = mode
    return len(moving)


def _gather(module: nn.Module, moving: list[_BatchNorm], batches: Iterable[Tensor | tuple[Tensor, ...]]) -> None:
    for layer in moving:
        layer.reset_running_stats()
        layer.training = True
    seen = 0
    for batch in batches:
        inputs = (batch,) if isinstance(batch, Tensor) else tuple(batch)
        seen += len(inputs[0])
        for layer in moving:
            layer.momentum = len(inputs[0]) / seen
        module(*inputs)


def _layers(module: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm) and not isinstance(part, LazyModuleMixin):
            yield name, part


def _policy(layer: _BatchNorm) -> str:
    return getattr(type(layer), "policy", "train")


def _set_affine(layer: _BatchNorm, *, fixed: bool) -> None:
    """Make gamma and beta buffers, or parameters with gradients; values and the order of `state_dict` stay."""
    given = {name: z for name in _AFFINE if (z := getattr(layer, name)) is not None}
    if fixed:
        statistics = {name: z for name, z in layer._buffers.items() if name not in given}
        layer._buffers.clear()
        layer._buffers.update({name: z.detach() for name, z in given.items()} | statistics)
        for name in given:
            layer._parameters.pop(name, None)
        return
    for name, z in given.items():
        if name in layer._buffers:
            del layer._buffers[name]
            layer.register_parameter(name, nn.Parameter(z))
        else:
            z.requires_grad_(True)


@cache
def _subclass(plain: type[_BatchNorm], policy: str) -> type[_BatchNorm]:
    """The class of `plain` layers under a policy, made once."""
    fields: dict[str, object] = {"plain": plain, "policy": policy, "__doc__": f"{plain.__name__}, {policy}."}
    if policy != "adapt":
        # A property outranks the instance's own `training`, whoever sets it.
        fields["training"] = property(lambda layer: False, lambda layer, mode: None)
    return type(f"{policy.title()}{plain.__name__}", (plain,), fields)
