from __future__ import annotations

import pytest
import torch
from torch import nn

from torchgraft.backbones import _weights, packaged, timm
from torchgraft.backbones._efficientnet_lite import EfficientNetLite, _rounded, _SameConv, with_classifier
from torchgraft.core.errors import UserError


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_same_as_timm(level: int) -> None:
    """Random weights in both, given in order: both list their tensors from the input up. Double precision."""
    known = packaged._PACKAGES[f"efficientnet_lite{level}"]
    reference = timm.build(f"tf_efficientnet_lite{level}").eval().double()
    own = EfficientNetLite(*known.scale).eval().double()
    torch.manual_seed(level)
    theirs = [value for name, value in reference.state_dict().items() if not name.startswith("classifier")]
    for value in theirs:
        if value.ndim == 1:  # norms: away from the identity that they begin with
            value.uniform_(0.5, 1.5)
    own.load_state_dict(dict(zip(own.state_dict(), theirs, strict=True)))
    for size in (known.pixels, 97):
        x = torch.randn(1, 3, size, size, dtype=torch.double)
        with torch.inference_mode():
            z, expected = own(x), reference.forward_features(x)
        torch.testing.assert_close(z, expected)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 7), (8, 7), (9, 6)])
def test_same_padding_by_hand(kernel: int, height: int, width: int) -> None:
    conv = _SameConv(2, 4, kernel, stride=2)
    x = torch.randn(1, 2, height, width)
    sizes = [(-(-n // 2), n) for n in (width, height)]  # (after, before), the last axis first
    spare = [max((after - 1) * 2 + kernel - before, 0) for after, before in sizes]
    padded = nn.functional.pad(x, [end for n in spare for end in (n // 2, n - n // 2)])
    expected = nn.functional.conv2d(padded, conv.weight, stride=2)
    torch.testing.assert_close(conv(x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 7), (9, 6)])
def test_channels_stay_last_in_the_gradient(height: int, width: int) -> None:
    """A slice's own gradient has channels first, and so has all that is computed from it."""
    conv = _SameConv(4, 4, 3, stride=2, groups=4)
    last = {"memory_format": torch.channels_last}
    x = torch.randn(2, 4, height, width).contiguous(**last).requires_grad_()
    gradients = []
    z = conv(x)
    z.grad_fn.next_functions[0][0].register_prehook(lambda found: gradients.extend(found))
    nn.functional.relu(z).sum().backward()
    assert z.is_contiguous(**last)
    assert gradients[0].is_contiguous(**last)
    assert not gradients[0].is_contiguous()


def test_a_stride_of_one_keeps_the_size() -> None:
    conv = _SameConv(2, 2, 5, stride=1, groups=2)
    assert conv(torch.zeros(1, 2, 6, 7)).shape == (1, 2, 6, 7)


def test_rounding_of_channels() -> None:
    assert [_rounded(n) for n in (16, 17.6, 26.4, 44.0, 88.0, 123.2, 211.2, 352.0)] == [
        16,
        16,
        24,
        48,
        88,
        120,
        208,
        352,
    ]
    assert _rounded(11) == 16  # 8 would be under nine tenths


def test_weights_of_another_network_are_refused() -> None:
    path = packaged._PACKAGES["efficientnet_lite0"].path()
    with pytest.raises(UserError, match=r"weights\.pth: the weights don't fit"):
        with_classifier(_weights.read(path), 1.1, 1.2, where="weights.pth")
    with pytest.raises(UserError, match=r"not expected: trunk\.strange"):
        with_classifier({**_weights.read(path), "strange": torch.zeros(1)}, 1.0, 1.0, where="weights.pth")
