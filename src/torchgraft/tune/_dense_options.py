"""What methods for labels of each pixel can be told. Loads no torch: a ladder is planned without it."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.tune._options import check_options
from torchgraft.tune.base import Problem

LOSSES = ("ce", "focal", "dice", "lovasz", "ce+dice", "ce+lovasz")
"""Those of `train.dense_loss`, which loads torch; a test holds both together."""


@dataclass(frozen=True, kw_only=True)
class DenseOptions:
    """`source`: the backbone (None: the first). `longest`: pixels of a scene's longer side as the network sees it, at
    most (scenes as in training are scaled alike); `per_scene`: labelled pixels of each scene that the probe is fitted
    to.
    """

    source: str | None = None
    longest: int = 512
    per_scene: int = 200

    def __post_init__(self) -> None:
        """Raise one `OptionError` for all values that can't be used."""
        check_options(
            longest=(self.longest, self.longest >= 32, "32 pixels or more"),
            per_scene=(self.per_scene, self.per_scene >= 1, "a number of pixels, 1 or more"),
        )


@dataclass(frozen=True, kw_only=True)
class DenseTrainOptions(DenseOptions):
    """What methods that train can be told beside; 0 is chosen by the data and the budget.

    `rate`: learning rate; `epochs`: at most so many; `batch`: scenes of one update; `decay`: weight decay;
    `layer_decay`: rate of a block over that of the next one, in (0, 1]; `loss`: ce, focal, dice, lovasz, ce+dice or
    ce+lovasz; `class_weight`: balanced or none (for ce and focal); `flip`: probability of a mirror image; `zoom`:
    scenes are drawn between 1 / zoom and zoom times their size (1: as they are); `colour`: change of brightness,
    contrast and saturation (0 to 1); `ema`: decay of the average of the weights (0: none); `tracker`: tensorboard,
    mlflow or wandb.
    """

    rate: float = 0.0
    epochs: int = 0
    batch: int = 8
    decay: float = 0.01
    layer_decay: float = 1.0
    loss: str = "ce+lovasz"
    class_weight: str = "balanced"
    flip: float = 0.5
    zoom: float = 1.5
    colour: float = 0.1
    ema: float = 0.0
    tracker: str = ""

    def __post_init__(self) -> None:
        """Raise one `OptionError` for all values that can't be used."""
        super().__post_init__()
        check_options(
            rate=(self.rate, 0 <= self.rate < 1, "a number from 0, below 1"),
            epochs=(self.epochs, self.epochs >= 0, "a number, 0 or more"),
            batch=(self.batch, self.batch >= 1, "a number of scenes, 1 or more"),
            zoom=(self.zoom, 1 <= self.zoom <= 16, "a factor from 1 to 16"),
            loss=(self.loss, self.loss in LOSSES, f"one of {', '.join(LOSSES)}"),
            class_weight=(self.class_weight, self.class_weight in ("none", "balanced"), "none or balanced"),
            flip=(self.flip, 0 <= self.flip <= 1, "a probability from 0 to 1"),
            colour=(self.colour, 0 <= self.colour <= 1, "a share from 0 to 1"),
            ema=(self.ema, 0 <= self.ema < 1, "a decay from 0, below 1"),
        )


def dense_applies(problem: Problem) -> str:
    """Why nothing can be fitted: empty where it can."""
    if problem.resources is None or not problem.resources.backbones:
        return "there is no backbone at hand"
    return ""
