"""The exact pixel probe of films: optical flow from the frame before stands beside the network's levels."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from torchgraft.tune._dense_options import DenseOptions, dense_applies
from torchgraft.tune.base import DenseCandidate, Problem, Skip

TASK = "segmentation"
TRANSFER = True
AUTO = False


@dataclass(frozen=True, kw_only=True)
class Options(DenseOptions):
    """See `DenseOptions`."""


def applies(problem: Problem) -> str:
    """It needs a backbone, and OpenCV."""
    if find_spec("cv2") is None:
        return "optical flow needs OpenCV: pip install 'torchgraft[flow]'"
    return dense_applies(problem)


def fit(problem: Problem, options: Options) -> DenseCandidate:
    """Multinomial regression on [levels, flow] at the pixels that `pixel_probe` draws, with its C.

    Flow (see `model.flow`) is taken from the frame before: of the same sequence, in the same folder, with the next
    smaller number. A frame without one has no motion, and a map says so.

    Raises `Skip` where less than two scenes to fit on have a frame before.
    """
    if applies(problem):
        raise Skip(applies(problem))
    from torchgraft.tune._flow_probe import moving_probe  # here: it loads torch, which planning needs not

    return moving_probe(problem, options)
