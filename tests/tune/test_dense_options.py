"""What dense methods can be told, without loading torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from torchgraft.core.errors import OptionError
from torchgraft.train import dense_loss
from torchgraft.tune import decoder, pixel_probe, scene_lp_ft
from torchgraft.tune._dense_options import LOSSES


def test_planning_loads_no_torch() -> None:
    code = (
        "import sys; from torchgraft.tune import decoder, pixel_majority, pixel_probe, scene_lp_ft;"
        "decoder.Options(), pixel_probe.Options(longest=300), scene_lp_ft.Options(loss='lovasz');"
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_losses_are_those_that_there_are() -> None:
    assert LOSSES == dense_loss.LOSSES


@pytest.mark.parametrize(
    ("method", "given", "words"),
    [
        (pixel_probe, {"longest": -5, "per_scene": 0}, r"longest expects 32 pixels or more, got -5; per_scene expects"),
        (scene_lp_ft, {"zoom": 0}, "zoom expects a factor from 1 to 16, got 0"),
        (scene_lp_ft, {"loss": "lovas", "flip": 2.0}, "loss expects one of ce, .*; flip expects a probability"),
        (
            scene_lp_ft,
            {"decoder": "unet"},
            r"decoder expects one of linear, linear\+deeplabv3plus, linear\+unet, got 'unet'",
        ),
        (decoder, {"decoder": "linear", "batch": 0}, "batch expects"),
        (decoder, {"decoder": "linear"}, "decoder expects one of"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(method, given: dict, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        method.Options(**given)
