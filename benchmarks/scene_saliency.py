"""Do maps made of pixels pay beside a network's levels? CamVid, 240 x 180, 11 classes, Lite0 frozen, the exact probe.

Edges are the rung `saliency_probe`, flow is `flow_probe` (`pip install opencv-python-headless`). Two settings: fitted
on train and measured on val; and fitted on the first 60 scenes of val, measured on the 41 after them. In train frames
are a second apart, in val a fifteenth. The probe's levels are computed once: rows of maps leave them out of their
seconds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from scene_views import BACKBONE, _fitted, _problem
from torchgraft.core.journal import Journal
from torchgraft.tune import flow_probe, pixel_probe, saliency_probe

FEW = 60


def main() -> None:
    """Print the rows of both settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    problem = _problem(parser.parse_args().data, (BACKBONE,))
    held = problem.folds[0][1]
    for name, fold in (("train", problem.folds[0]), (f"{FEW} of val", (held[:FEW], held[FEW:]))):
        # heads for all scenes are fitted too, and not looked at
        part = replace(problem, folds=(fold,), resources=replace(problem.resources, shared={}, journal=Journal()))
        plain = _fitted(f"{name}: levels", part, pixel_probe.fit, pixel_probe.Options(), None, fresh=False)
        options = saliency_probe.Options(least=0.0)
        _fitted(f"{name}: levels and edges", part, saliency_probe.fit, options, plain, fresh=False)
        _fitted(f"{name}: levels and flow", part, flow_probe.fit, flow_probe.Options(), plain, fresh=False)


if __name__ == "__main__":
    main()
