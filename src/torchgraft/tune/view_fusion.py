"""Several aligned views of a scene (other camera, exposure, infrared, depth) joined, with the exact probe on top."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.core.errors import OptionError, did_you_mean
from torchgraft.tune._dense_options import DenseOptions, dense_applies
from torchgraft.tune.base import DenseCandidate, Problem, Skip

TASK = "segmentation"
TRANSFER = True

FUSIONS = ("auto", "gated", "concat", "attention")


@dataclass(frozen=True, kw_only=True)
class Options(DenseOptions):
    """See `DenseOptions`. `fusion`: gated (views blended to one picture at each pixel, which the encoder sees), concat
    (levels of all views side by side), attention (levels summed with weights at each place), or auto: what has the
    least held-out loss.
    """

    fusion: str = "auto"


def applies(problem: Problem) -> str:
    """It needs a backbone, and scenes with more than one view."""
    if not problem.views:
        return "the scenes have one view each (further ones would lie in views/NAME/ beside images/)"
    return dense_applies(problem)


def fit(problem: Problem, options: Options) -> DenseCandidate:
    """Gates (Jacobs et al., "Adaptive Mixtures of Local Experts", 1991), then multinomial regression on what they give.

    One linear probe for each view is its expert. A gate is a linear score of what a view shows at a place, softmax over
    the views that are there; gates minimise -log sum_v g_v p_v(y) on drawn pixels. `gated` scores the first levels,
    blends the pictures by the gates (each view brought to the looks of the image by histograms), and probes the levels
    of the blend. `attention` has gates for each level and probes the weighted sums; `concat` has none. A view that a
    scene lacks gets no weight (concat: its mean answer); `gated` leaves a scene of one view to the expert.

    Raises `OptionError` for another `fusion`, `Skip` where a view is in less than two scenes to fit on.
    """
    if options.fusion not in FUSIONS:
        near = did_you_mean(options.fusion, FUSIONS)
        raise OptionError(f"fusion expects one of {', '.join(FUSIONS)}, got {options.fusion!r}.{near}")
    if applies(problem):
        raise Skip(applies(problem))
    for name, files in problem.views.items():
        there = min(sum(files[row] is not None for row in fit) for fit, _ in problem.folds)
        if there < 2:
            raise Skip(f"the view {name} is there in {there} of the scenes to fit on")
    from torchgraft.tune._view_fusion import fuse  # here: it loads torch, which planning needs not

    return fuse(problem, options, FUSIONS[1:] if options.fusion == "auto" else (options.fusion,))
