"""What dense methods share: the backbone asked for, and tensors as arrays."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from torchgraft.core.errors import OptionError
from torchgraft.tune import pixel_probe
from torchgraft.tune._dense import Setting, arrays_of


def test_an_unknown_backbone_gets_a_near_miss(scene_problem) -> None:
    with pytest.raises(OptionError, match="Did you mean 'test/scene'"):
        Setting(scene_problem(), pixel_probe.Options(source="test/scenes"))


def test_arrays_are_copies() -> None:
    layer = nn.Linear(2, 1)
    found = arrays_of(layer)
    assert set(found) == {"weight", "bias"}
    found["weight"][:] = 7
    assert not np.allclose(layer.weight.detach().numpy(), 7)
