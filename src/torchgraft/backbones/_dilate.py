"""Finer maps from the same weights: strides beyond a limit are taken out, and what follows them is dilated.

Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

OUTPUT_STRIDES = (32, 16, 8)


def dilate(module: nn.Module, x: Tensor, output_stride: int) -> int:
    """Let no map be coarser than `output_stride`, in place. Returns how many convolutions were changed.

    `x` is a square image whose side all strides divide. A convolution whose input is at stride s > output_stride is
    dilated by s / output_stride; one whose output would be coarser than `output_stride` loses its stride. This needs
    no order, so branches come out alike. Convolutions of even size can't be centred and are left as they are; whether
    the maps then fit is for the caller to see. Padding grows with dilation, so that each place sees the places it saw.
    """
    changed = 0
    for convolution, before, after in _strides(module, x):
        if after <= output_stride or any(k % 2 == 0 for k in convolution.kernel_size):
            continue
        factor = max(1, before // output_stride)
        convolution.stride = (1, 1)
        convolution.dilation = tuple(d * factor for d in convolution.dilation)
        if not isinstance(convolution.padding, str):
            convolution.padding = tuple(p * factor for p in convolution.padding)
            convolution._reversed_padding_repeated_twice = [p for p in reversed(convolution.padding) for _ in range(2)]
        changed += 1
    return changed


def _strides(module: nn.Module, x: Tensor) -> list[tuple[nn.Conv2d, int, int]]:
    """(convolution, stride of its input, stride of its output) of all that see maps, as the network is now."""
    side, seen = x.shape[-1], {}

    def note(part: nn.Conv2d, inputs: tuple[Tensor, ...], z: Tensor) -> None:
        before, after = inputs[0].shape[-1], z.shape[-1]
        if before > 1 and after > 1:  # those on pooled vectors (squeeze and excitation) have no stride
            seen[part] = (part, round(side / before), round(side / after))

    hooks = [part.register_forward_hook(note) for part in module.modules() if isinstance(part, nn.Conv2d)]
    training = module.training
    try:
        with torch.no_grad():
            module.eval()(x)
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    return list(seen.values())
