"""How good, how sure, how different: arrays in, numbers with intervals out, and the report page."""

from torchgraft.evaluate.calibration import abstain, calibration, fit_temperature, reliability, softmax
from torchgraft.evaluate.compare import beaten_by, paired
from torchgraft.evaluate.curve import forecast, learning_curve
from torchgraft.evaluate.metrics import brier_losses, confusion, ece, log_losses, score, summary, wilson
from torchgraft.evaluate.mistakes import label_errors, worst_mistakes
from torchgraft.evaluate.report import finite, render

__all__ = [
    "abstain",
    "beaten_by",
    "brier_losses",
    "calibration",
    "confusion",
    "ece",
    "finite",
    "fit_temperature",
    "forecast",
    "label_errors",
    "learning_curve",
    "log_losses",
    "paired",
    "reliability",
    "render",
    "score",
    "softmax",
    "summary",
    "wilson",
    "worst_mistakes",
]
