from __future__ import annotations

import pytest
import torch
from torch import nn

from torchgraft.backbones import _trunk
from torchgraft.core.errors import UserError


def test_shapes_are_found_without_computing() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3, stride=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.device.type == "meta"
            return self.conv(x)

    module = Counting()
    before = module.conv.weight.clone()
    assert _trunk.without_computing(module, 33).shape == (1, 5, 16, 16)
    assert torch.equal(module.conv.weight, before)


def test_freeze_stops_gradients_and_batch_statistics() -> None:
    module = _trunk.freeze(nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)))
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_a_model_with_several_outputs_is_refused() -> None:
    class Two(nn.Module):
        def forward_features(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [x, x]

    with pytest.raises(UserError, match="Two gives neither one map"):
        _trunk.split_timm(Two(), 32)
