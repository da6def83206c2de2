"""What every method that trains a backbone can be told. Loads no torch: a ladder is planned without it."""

from __future__ import annotations

from dataclasses import dataclass

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
    150 / sqrt(N). `norm`: BatchNorm policy frozen, affine, adapt, train or auto; `augment`: auto or none; `mixup`,
    `cutmix`: their alpha (0: off); `token_dropout`: share of a text's tokens that is hidden in training, in [0, 1);
    `smoothing`: label smoothing; `logit_adjustment`: tau.
    """

    norm: str = "auto"
    augment: str = "auto"
    mixup: float = 0.0
    cutmix: float = 0.0
    token_dropout: float = 0.0
    smoothing: float = 0.0
    logit_adjustment: float = 0.0


def applies(problem: Problem) -> str:
    """Why nothing can be fine-tuned: empty where it can."""
    if problem.resources is None or not problem.resources.backbones:
        return "there is no backbone to train"
    return ""
