"""EfficientNet-Lite, as its authors' TensorFlow release has it: convolutions, batch norm and ReLU6 alone.

Written out since timm's, which gives the same features, comes with an import of torchvision that costs as much time as
a hundred photos. Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019;
Lite: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from torchgraft.backbones import _weights
from torchgraft.backbones._trunk import freeze

_STEM, _HEAD = 32, 1280  # neither is scaled in Lite
# (repeats, kernel, stride, expansion, channels) of each stage
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def with_classifier(
    state: dict[str, Tensor], widen: float, deepen: float, *, where: str
) -> tuple[nn.Module, nn.Module]:
    """The network with the weights of its PyTorch port (`_blocks.0._bn1.weight`), and its classifier; both frozen.

    Raises a `UserError` that names `where` if the weights are not those of this network.
    """
    parts = nn.ModuleDict({"trunk": EfficientNetLite(widen, deepen), "fc": nn.Linear(_HEAD, 1000)})
    plain = {name.replace("._", ".").removeprefix("_"): tensor for name, tensor in state.items()}
    named = {name if name.startswith("fc.") else f"trunk.{name}": tensor for name, tensor in plain.items()}
    _weights.fill(parts, named, where)
    return freeze(parts["trunk"]), freeze(parts["fc"])


class EfficientNetLite(nn.Module):
    """B x 3 x H x W -> B x 1280 x h x w, with h = H / 32 rounded up; `widen` and `deepen` scale the stages.

    Lite0 is (1.0, 1.0) at 224 pixels, Lite1 (1.0, 1.1) at 240, Lite2 (1.1, 1.2) at 260.
    """

    def __init__(self, widen: float = 1.0, deepen: float = 1.0) -> None:
        super().__init__()
        self.conv_stem = _SameConv(3, _STEM, 3, stride=2)
        self.bn0 = _norm(_STEM)
        blocks, before = [], _STEM
        for number, (repeats, kernel, stride, expansion, channels) in enumerate(_STAGES):
            width = _rounded(channels * widen)
            ends = number in (0, len(_STAGES) - 1)
            for i in range(repeats if ends else math.ceil(repeats * deepen)):
                blocks.append(_Block(before, width, kernel, 1 if i else stride, expansion))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = nn.Conv2d(before, _HEAD, 1, bias=False)
        self.bn1 = _norm(_HEAD)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """The map before pooling."""
        z = self.act(self.bn0(self.conv_stem(x)))
        return self.act(self.bn1(self.conv_head(self.blocks(z))))


class _Block(nn.Module):
    """Inverted residual: widen by a 1 x 1 convolution, filter each channel, narrow again; added to x where it fits."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = before * expansion
        self.expands = expansion > 1
        self.adds = stride == 1 and before == after
        if self.expands:
            self.expand_conv = nn.Conv2d(before, inside, 1, bias=False)
            self.bn0 = _norm(inside)
        self.depthwise_conv = _SameConv(inside, inside, kernel, stride=stride, groups=inside)
        self.bn1 = _norm(inside)
        self.project_conv = nn.Conv2d(inside, after, 1, bias=False)
        self.bn2 = _norm(after)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """B x before x H x W -> B x after x h x w."""
        z = self.act(self.bn0(self.expand_conv(x))) if self.expands else x
        z = self.act(self.bn1(self.depthwise_conv(z)))
        z = self.bn2(self.project_conv(z))
        return z + x if self.adds else z


class _SameConv(nn.Conv2d):
    """TensorFlow's "same" padding: of an odd number of zeros the larger half is put behind.

    A stride of 2 over an even size needs k // 2 - 1 zeros before and k // 2 behind. With k // 2 + 1 on both sides the
    outputs are the same, but for one more row and column in front; leaving these out is cheaper than padding a copy.
    """

    def __init__(self, before: int, after: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """B x before x H x W -> B x after x h x w, with h = H / stride rounded up."""
        if self.stride == (1, 1):
            return super().forward(x)
        even = [int(size) % 2 == 0 for size in x.shape[-2:]]
        padding = [half + 1 if one else half for half, one in zip(self.padding, even, strict=True)]
        z = nn.functional.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
        top, left = (int(one) for one in even)
        if z.requires_grad:  # the gradient of a slice has channels first, which slows all layers before it down
            return nn.functional.pad(z, (-left, 0, -top, 0))
        return z[:, :, top:, left:]


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, but not under 0.9 of what was asked for."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
