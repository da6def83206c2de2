"""The exact pixel probe with maps of what strikes the eye (edges at several scales) beside the network's levels."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.tune._dense_options import DenseOptions, dense_applies
from torchgraft.tune._options import check_options
from torchgraft.tune.base import DenseCandidate, Problem

TASK = "segmentation"
TRANSFER = True
applies = dense_applies


@dataclass(frozen=True, kw_only=True)
class Options(DenseOptions):
    """See `DenseOptions`. `least`: the share of the probe's held-out log loss that the maps have to save at once, or
    nothing more is fitted (0 to 1; 0: it is fitted whatever they save).
    """

    least: float = 0.005

    def __post_init__(self) -> None:
        """Raise one `OptionError` for all values that can't be used."""
        super().__post_init__()
        check_options(least=(self.least, 0 <= self.least < 1, "a share from 0, below 1"))


def fit(problem: Problem, options: Options) -> DenseCandidate:
    """Multinomial regression on [levels, saliency] at the pixels that `pixel_probe` draws, with its C.

    The maps are those of `model.saliency`. What the network says at these pixels is not computed again.

    Raises `Skip` where the held-out log loss on drawn pixels falls by less than `least` of it.
    """
    from torchgraft.tune._saliency_probe import salient_probe  # here: it loads torch, which planning needs not

    return salient_probe(problem, options, options.least)
