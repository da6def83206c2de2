"""Strides taken out: the same weights look at the same places, by hand."""

from __future__ import annotations

import torch
from torch import nn

from torchgraft.backbones._dilate import dilate
from torchgraft.backbones._efficientnet_lite import _SameConv


def _chain(*strides: int, kernel: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    parts = [nn.Conv2d(3 if i == 0 else 4, 4, kernel, s, kernel // 2) for i, s in enumerate(strides)]
    return nn.Sequential(*parts).double()


def test_what_comes_before_the_limit_stays() -> None:
    net = _chain(2, 2, 2, 1, 2, 1, 2, 1)  # strides 2 4 8 8 16 16 32 32
    assert dilate(net, torch.randn(1, 3, 64, 64, dtype=torch.double), 16) == 2
    assert [part.stride[0] for part in net] == [2, 2, 2, 1, 2, 1, 1, 1]
    assert [part.dilation[0] for part in net] == [1, 1, 1, 1, 1, 1, 1, 2]
    assert [part.padding[0] for part in net] == [1, 1, 1, 1, 1, 1, 1, 2]


def test_twice_gives_a_dilation_of_four() -> None:
    net = _chain(2, 2, 2, 2, 1, 2, 1)
    dilate(net, torch.randn(1, 3, 64, 64, dtype=torch.double), 8)
    assert [part.dilation[0] for part in net] == [1, 1, 1, 1, 2, 2, 4]


def test_same_convolutions_pad_as_they_are_dilated() -> None:
    torch.manual_seed(0)
    shrinks = [_SameConv(3, 3, 3, stride=2) for _ in range(4)]
    net = nn.Sequential(*shrinks, _SameConv(3, 3, 5, stride=2), _SameConv(3, 3, 5, stride=1)).double()
    x = torch.randn(1, 3, 512, 512, dtype=torch.double)
    before = net(x)
    dilate(net, x, 16)
    assert (net[4].padding, net[5].padding) == ((2, 2), (4, 4))
    after = net(x)
    assert after.shape[2:] == (32, 32)
    torch.testing.assert_close(after[:, :, 1::2, 1::2][:, :, 4:-4, 4:-4], before[:, :, 4:-4, 4:-4])


def test_even_sizes_and_pooled_vectors_are_left() -> None:
    even = nn.Sequential(*[nn.Conv2d(3, 3, 2, 2) for _ in range(5)])
    assert dilate(even, torch.randn(1, 3, 64, 64), 16) == 0
    pooled = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1))
    assert dilate(pooled, torch.randn(1, 3, 64, 64), 8) == 0


def test_the_mode_is_put_back_and_statistics_stay() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.BatchNorm2d(3)).train()
    dilate(net, torch.randn(1, 3, 64, 64), 16)
    assert net.training
    assert int(net[1].num_batches_tracked) == 0
