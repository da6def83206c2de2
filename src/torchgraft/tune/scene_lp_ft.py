"""The exact pixel probe, then everything: encoder and decoder train together from its answers on."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.tune._dense_options import DenseTrainOptions, dense_applies
from torchgraft.tune._options import check_options
from torchgraft.tune.base import DenseCandidate, Problem

TASK = "segmentation"
TRANSFER = True
TRAINS = True
applies = dense_applies


@dataclass(frozen=True, kw_only=True)
class Options(DenseTrainOptions):
    """See `DenseTrainOptions`. `decoder`: linear, or what is added to it (linear+unet, linear+deeplabv3plus)."""

    decoder: str = "linear"

    def __post_init__(self) -> None:
        """Raise one `OptionError` for all values that can't be used."""
        super().__post_init__()
        known = ("linear", "linear+deeplabv3plus", "linear+unet")
        check_options(decoder=(self.decoder, self.decoder in known, f"one of {', '.join(known)}"))


def fit(problem: Problem, options: Options) -> DenseCandidate:
    """LP-FT (Kumar et al., ICLR 2022) for pixels: before its first step it answers as the probe does."""
    from torchgraft.tune._dense_training import DenseRecipe, fine_tune_scenes  # here: it loads torch

    return fine_tune_scenes(problem, options, DenseRecipe(decoder=options.decoder, encoder=True), "scene_lp_ft")
