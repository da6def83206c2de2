"""What every method that trains a backbone can be told. Loads no torch: a ladder is planned without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torchgraft.core.errors import OptionError
from torchgraft.tune.base import Problem


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """What training any backbone can be told; 0 is chosen by the data and the budget.

    `source`: the backbone (None: the first); `rate`: learning rate of the head and the last block; `epochs`: at most so
    many; `batch`: samples of one update; `decay`: weight decay; `layer_decay`: rate of a block over that of the next
    one, in (0, 1]; `class_weight`: none or balanced; `ema`: decay of the average of the weights (0: none); `wise`:
    share of the trained weights in the result (1: all); `tracker`: tensorboard, mlflow or wandb.
    """

    source: str | None = None
    rate: float = 0.0
    epochs: int = 0
    batch: int = 16
    decay: float = 0.01
    layer_decay: float = 1.0
    class_weight: str = "none"
    ema: float = 0.0
    wise: float = 1.0
    tracker: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainOptions(EncoderOptions):
    """What training a backbone with its classifier can be told beside.

    Without a `rate`, short trials on the first fold tell; without `epochs` there are as many as fit, at most
    150 / sqrt(N) (pictures: 4000 / N up to 20, where that is more). `norm`: BatchNorm policy frozen, affine, adapt,
    train or auto; `logit_adjustment`: tau.

    `augment`: auto (crops and what follows by the number and size of the pictures) or none (only what is asked for).
    The other settings are None where they are left to the data (see `_augmenting`); a value, 0 for off, is taken as it
    is. For pictures: `rotation`, up to so many degrees (0 to 180); `noise`, standard deviation in grey levels (0 to
    255); `flip`, `vertical_flip`, `erasing`, probabilities (0 to 1); `colour`, change of brightness, contrast and
    saturation (0 to 1); `randaugment`, magnitude (0 to 10); `mixup`, `cutmix`, their alpha (0 and more). For texts:
    `token_dropout`, share of the tokens that is hidden, in [0, 1). For both: `smoothing` of the labels, in [0, 1).
    """

    norm: str = "auto"
    augment: str = "auto"
    rotation: float | None = None
    noise: float | None = None
    flip: float | None = None
    vertical_flip: float | None = None
    colour: float | None = None
    erasing: float | None = None
    randaugment: float | None = None
    mixup: float | None = None
    cutmix: float | None = None
    token_dropout: float | None = None
    smoothing: float | None = None
    logit_adjustment: float = 0.0


def applies(problem: Problem) -> str:
    """Why nothing can be fine-tuned: empty where it can."""
    if problem.resources is None or not problem.resources.backbones:
        return "there is no backbone to train"
    return ""


def check_options(**found: tuple[Any, bool, str]) -> None:
    """Raise one `OptionError` for all options (name = value, whether it is right, what was expected)."""
    wrong = [f"{name} expects {wanted}, got {value!r}" for name, (value, right, wanted) in found.items() if not right]
    if wrong:
        raise OptionError("; ".join(wrong) + ".")
