"""A decoder trained on the frozen encoder: it begins at the exact pixel probe and learns what to add to it."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.tune._dense_options import DenseTrainOptions, dense_applies
from torchgraft.tune._options import check_options
from torchgraft.tune.base import DenseCandidate, Problem

TASK = "segmentation"
TRANSFER = True
TRAINS = True
AUTO = False
applies = dense_applies


@dataclass(frozen=True, kw_only=True)
class Options(DenseTrainOptions):
    """See `DenseTrainOptions`. `decoder`: linear+deeplabv3plus or linear+unet."""

    decoder: str = "linear+deeplabv3plus"

    def __post_init__(self) -> None:
        """Raise one `OptionError` for all values that can't be used."""
        super().__post_init__()
        known = ("linear+deeplabv3plus", "linear+unet")
        check_options(decoder=(self.decoder, self.decoder in known, f"one of {', '.join(known)}"))


def fit(problem: Problem, options: Options) -> DenseCandidate:
    """DeepLabV3+ (Chen et al., ECCV 2018) or U-Net beside the probe; their last layer begins at 0."""
    from torchgraft.tune._dense_training import DenseRecipe, fine_tune_scenes  # here: it loads torch

    return fine_tune_scenes(problem, options, DenseRecipe(decoder=options.decoder, encoder=False), "decoder")
