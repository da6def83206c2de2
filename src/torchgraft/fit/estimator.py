"""`TransferClassifier`: the ladder as a scikit-learn estimator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from torchgraft.core.errors import DataError
from torchgraft.core.progress import SILENT
from torchgraft.data import Samples, folds
from torchgraft.fit import plan
from torchgraft.fit._inputs import backbone_names
from torchgraft.fit._sources import gather
from torchgraft.fit.ladder import climb
from torchgraft.fit.options import FitOptions
from torchgraft.fit.verdict import choose
from torchgraft.model import as_samples
from torchgraft.tasks import single_label
from torchgraft.tune.base import Problem


class TransferClassifier(ClassifierMixin, BaseEstimator):
    """Classify images, texts or feature rows with the simplest method that no other beats beyond noise.

    `fit` climbs the same ladder as `graft fit` with out-of-fold predictions of the training samples, and keeps the
    chosen graft, fitted on all of them.

    Parameters
    ----------
    modality : {"auto", "image", "text", "array"}
        What X holds: paths of images, texts, or N x D numbers. auto: numbers are array; strings are image paths
        where the first is a file, else texts.
    backbone : str
        Names, comma-separated, or auto (see `graft list backbones`).
    method : str
        Names, comma-separated, or auto (see `graft list methods`).
    balanced : bool
        Whether rare classes count as much as frequent ones.
    engine : {"auto", "torch", "onnxruntime", "openvino"}
        What runs the backbone.
    random_state : int
        Seed of the folds and methods.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    graft_ : Graft
    entries_ : list of Entry
        The ladder as measured.
    verdict_ : Verdict

    """

    def __init__(
        self,
        modality: str = "auto",
        backbone: str = "auto",
        method: str = "auto",
        balanced: bool = False,
        engine: str = "auto",
        random_state: int = 0,
    ) -> None:
        self.modality = modality
        self.backbone = backbone
        self.method = method
        self.balanced = balanced
        self.engine = engine
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> TransferClassifier:
        """Climb the ladder on N samples with N labels; every class needs at least 2 samples to be measured."""
        samples, y = self._samples(X, y)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds one class only ({self.classes_[0]!r}); a classifier needs at least 2 classes.")
        names = tuple(str(name) for name in self.classes_)
        options = FitOptions(target="X", backbone=self.backbone, method=self.method)
        sources = gather(
            samples,
            backbone_names(options, samples.modality),
            engine=self.engine,
            deadline=float("inf"),
            progress=SILENT,
        )
        if len(sources.samples) < len(samples):
            raise DataError(
                f"{len(samples) - len(sources.samples)} of {len(samples)} samples can't be read: {sources.findings}"
            )
        pairs = tuple(folds(codes.astype(np.int64), seed=self.random_state))
        problem = Problem(blocks=sources.blocks, y=codes, classes=names, folds=pairs, seed=self.random_state)
        rungs = plan.rungs(
            plan.methods(self.method), problem.dense, {"class_weight": "balanced" if self.balanced else "none"}
        )
        self.entries_, _ = climb(problem, rungs)
        self.verdict_ = choose(self.entries_, seed=self.random_state)
        self.graft_ = single_label.make_graft(self.entries_[self.verdict_.index], problem, sources)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """N x C calibrated probabilities, columns in the order of `classes_`."""
        check_is_fitted(self)
        samples, _ = self._samples(X)
        predictions = self.graft_.predict(samples)
        if len(predictions) < len(samples):
            raise DataError(
                f"{len(samples) - len(predictions)} of {len(samples)} samples can't be read: {predictions.failed}"
            )
        return predictions.probabilities

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each of N samples."""
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _samples(self, X: Any, y: Any = None) -> tuple[Samples, Any]:
        """X as samples of its modality; in `fit` with y, checked as scikit-learn does."""
        modality = self._modality(X)
        if modality != "array":
            items = np.asarray(X, dtype=object).ravel().tolist()
            if y is not None and len(items) != len(y):
                raise ValueError(f"X holds {len(items)} samples, y {len(y)} labels.")
            return as_samples(items, modality), None if y is None else np.asarray(y)
        if y is None:
            return as_samples(validate_data(self, X, reset=False), modality), None
        X, y = validate_data(self, X, y)
        return as_samples(X, modality), y

    def _modality(self, X: Any) -> str:
        if self.modality != "auto":
            return self.modality
        try:
            first = np.asarray(X, dtype=object).ravel()[0]
        except (IndexError, ValueError):
            return "array"
        if not isinstance(first, str | Path):
            return "array"
        return "image" if isinstance(first, Path) or Path(first[:4096]).is_file() else "text"
