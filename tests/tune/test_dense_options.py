"""What dense methods can be told, without loading torch."""

from __future__ import annotations

import subprocess
import sys


def test_planning_loads_no_torch() -> None:
    code = (
        "import sys; from torchgraft.tune import decoder, pixel_majority, pixel_probe, scene_lp_ft;"
        "decoder.Options(), pixel_probe.Options(longest=300), scene_lp_ft.Options(loss='lovasz');"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
