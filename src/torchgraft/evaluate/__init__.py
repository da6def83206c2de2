"""How good, how sure, how different: arrays in, numbers with intervals out, and the report page."""

from torchgraft.evaluate._measures import LOSSES, TITLES
from torchgraft.evaluate._ranking import voters
from torchgraft.evaluate.boundary import boundary_counts, boundary_f1, boundary_score
from torchgraft.evaluate.calibration import abstain, calibration, fit_temperature, reliability, softmax
from torchgraft.evaluate.compare import beaten_by, paired
from torchgraft.evaluate.curve import forecast, learning_curve
from torchgraft.evaluate.metrics import brier_losses, confusion, ece, log_losses, score, summary, wilson
from torchgraft.evaluate.mistakes import label_errors, worst_mistakes
from torchgraft.evaluate.overlap import iou, miou, overlap_score, paired_overlap
from torchgraft.evaluate.overlap import summary as overlap_summary
from torchgraft.evaluate.report import finite, render

__all__ = [
    "LOSSES",
    "TITLES",
    "abstain",
    "beaten_by",
    "boundary_counts",
    "boundary_f1",
    "boundary_score",
    "brier_losses",
    "calibration",
    "confusion",
    "ece",
    "finite",
    "fit_temperature",
    "forecast",
    "iou",
    "label_errors",
    "learning_curve",
    "log_losses",
    "miou",
    "overlap_score",
    "overlap_summary",
    "paired",
    "paired_overlap",
    "reliability",
    "render",
    "score",
    "softmax",
    "summary",
    "voters",
    "wilson",
    "worst_mistakes",
]
