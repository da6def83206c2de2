"""Multinomial logistic regression of single pixels on one backbone's maps at several strides."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.tune._dense_options import DenseOptions, dense_applies
from torchgraft.tune.base import DenseCandidate, Problem

TASK = "segmentation"
TRANSFER = True
applies = dense_applies


@dataclass(frozen=True, kw_only=True)
class Options(DenseOptions):
    """See `DenseOptions`."""


def fit(problem: Problem, options: Options) -> DenseCandidate:
    """The exact minimum on drawn pixels, rare classes drawn more (see `_pixel_probe.probe`); answers for all pixels.

    Hypercolumns: every pixel is seen by all levels, brought to stride 4 (Hariharan et al., CVPR 2015).
    """
    from torchgraft.tune._dense import frozen_probe  # here: it loads torch, which planning needs not

    return frozen_probe(problem, options)
