"""Who runs in a ranking: backbones over photos or texts, or feature files; and what each gets right."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from torchgraft import backbones, features, rank
from torchgraft.backbones import Backbone, Offer
from torchgraft.core import registry
from torchgraft.core.errors import DataError, OptionError
from torchgraft.core.progress import Progress
from torchgraft.core.runtime import one_thread
from torchgraft.data import ReadOptions, Samples, folds, read
from torchgraft.evaluate.standings import Outcomes, Votes
from torchgraft.features import speed as measured
from torchgraft.features.mapping import Standardise
from torchgraft.features.speed import Speed
from torchgraft.fit.ladder import Skipped
from torchgraft.fit.options import RankOptions
from torchgraft.tune import Problem, expected_seconds
from torchgraft.tune.base import Resources

SCORES = ("linear_probe", "knn")
"""What decides, sample by sample; the first is the accuracy that is told."""

VOTE = "h_score"
"""A score that votes beside them on photos. But for its shrinkage, no linear map of the features changes it."""


class Contest:
    """Who runs: contestants by name, and what each got right on which samples."""

    names: Sequence[str]

    def __init__(self, samples: Samples, *, seed: int, progress: Progress) -> None:
        self.samples, self.seed, self.progress = samples, seed, progress
        self.seconds: dict[str, float] = {}
        self.last: dict[str, rank.Evidence] = {}

    def features(self, name: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features of those rows that could be read, and their positions among the rows."""
        raise NotImplementedError

    def about(self, name: str) -> Offer | None:
        """What is known of a contestant."""
        return None

    def votes(self, names: Sequence[str]) -> Votes:
        """What ranks them beside what they get right."""
        return {}

    def speed(self, name: str) -> Speed | None:
        """How fast it is on this machine."""
        return None

    def source(self, name: str, z: np.ndarray) -> np.ndarray | None:
        """Probabilities of the classes of pretraining, where there is a classifier."""
        return None

    def tuning(self, name: str, deadline: float) -> float:
        """Expected seconds of LP-FT on all samples; NaN where there is nothing to train, or no time to measure it."""
        return float("nan")

    def ask(self, name: str, rows: np.ndarray) -> Outcomes:
        """What each score gets right of the rows; one that can't be read is wrong."""
        start = time.monotonic()
        z, kept = self.features(name, rows)
        y = self.samples.y[rows][kept]
        evidence = rank.Evidence(z=z, y=y, n_classes=len(self.samples.classes), seed=self.seed)
        outcomes = {}
        with one_thread():
            for score in SCORES:
                outcomes[score] = np.zeros(len(rows))
                outcomes[score][kept] = registry.get("rank", score).outcomes(evidence)
        self.last[name] = evidence
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
        probe, knn = (100 * outcomes[score].mean() for score in SCORES)
        self.progress.say(f"{name}: probe {probe:.1f} %, nearest neighbours {knn:.1f} % of {len(rows)} samples right")
        return outcomes

    def scores(self, name: str, asked: Sequence[str]) -> dict[str, float]:
        """Other scores, on the samples of the last round; NaN where one is not defined."""
        evidence = self.last[name]
        found = {}
        for score in asked:
            entry = registry.get("rank", score)
            if getattr(entry, "SOURCE", False) and evidence.source is None:
                evidence = replace(evidence, source=self.source(name, evidence.z))
            lacks = getattr(entry, "SOURCE", False) and evidence.source is None
            found[score] = float("nan") if lacks else entry.score(evidence)
        return found


class Networks(Contest):
    """Backbones, over photos or texts."""

    def __init__(
        self, samples: Samples, known: Mapping[str, Offer], *, engine: str, seed: int, progress: Progress
    ) -> None:
        super().__init__(samples, seed=seed, progress=progress)
        self.known, self.engine, self.names = dict(known), engine, tuple(known)
        self._loaded: dict[str, Backbone] = {}
        self._speeds: dict[str, Speed] = {}

    def backbone(self, name: str) -> Backbone:
        """The backbone, loaded once. Raises `OptionError` where it takes other samples."""
        if name not in self._loaded:
            backbone = backbones.load(name)
            if backbone.modality != self.samples.modality:
                kinds = f"{backbone.modality} samples, the data holds {self.samples.modality} samples"
                raise OptionError(f"{name} takes {kinds}.")
            self._loaded[name] = backbone
        return self._loaded[name]

    def features(self, name: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Contest`."""
        found = features.extract(
            self.samples.take(rows), self.backbone(name), engine=self.engine, progress=self.progress
        )
        if not len(found.kept):
            raise DataError(f"{self.samples.root}: not one sample could be read.")
        return found.z, found.kept

    def about(self, name: str) -> Offer:
        """See `Contest`."""
        return self.known[name]

    def votes(self, names: Sequence[str]) -> Votes:
        """Of photos `VOTE` on the rows asked last, and what is known of ImageNet. Of texts none.

        The H-score puts an encoder of sentences below its own first blocks, whatever the task.
        """
        if self.samples.modality != "image":
            return {}
        table = {name: self.known[name].imagenet for name in names if self.known[name].imagenet}
        with one_thread():
            return {VOTE: {name: self.scores(name, (VOTE,))[VOTE] for name in names}, "imagenet": table}

    def speed(self, name: str) -> Speed:
        """See `Contest`."""
        if name not in self._speeds:
            engine = "torch" if self.engine == "auto" else self.engine  # one for all, or engines would be compared
            self._speeds[name] = measured.speed(self.samples, self.backbone(name), engine=engine)
        return self._speeds[name]

    def source(self, name: str, z: np.ndarray) -> np.ndarray | None:
        """See `Contest`."""
        classifier = self.backbone(name).classifier
        if classifier is None:
            return None
        import torch  # here: nothing else of a ranking needs it while features are in the store

        with torch.inference_mode():
            return torch.softmax(classifier(torch.from_numpy(np.array(z))).double(), dim=1).numpy()

    def tuning(self, name: str, deadline: float) -> float:
        """See `Contest`; measured on a few steps of training, fewer where `deadline` (`time.monotonic()`) is near."""
        samples, backbone = self.samples, self.backbone(name)
        problem = Problem(
            blocks={name: np.zeros((len(samples), backbone.width), dtype=np.float32), samples.modality: samples.x},
            y=samples.y,
            classes=samples.classes,
            folds=folds(samples.y, seed=self.seed),
            seed=self.seed,
            resources=Resources(backbones={name: backbone}, poolings={name: backbone.pooling}, deadline=deadline),
        )
        return expected_seconds(problem, name)

    def too_slow(self, limit: float) -> list[Skipped]:
        """Let go who takes longer than `limit` seconds for one sample. Raises `OptionError` where nobody is left."""
        if limit == float("inf"):
            return []
        took = {name: self.speed(name).latency for name in self.names}
        self.names = tuple(name for name in self.names if took[name] <= limit)
        if not self.names:
            raise OptionError(
                f"--max-latency {1e3 * limit:.0f}ms: the fastest takes {1e3 * min(took.values()):.0f} ms here."
            )
        return [
            Skipped(
                name=name, reason=f"one sample takes {1e3 * t:.0f} ms here, asked for are {1e3 * limit:.0f} at most"
            )
            for name, t in took.items()
            if t > limit
        ]


class Arrays(Contest):
    """Feature files of the same samples; columns are standardised, since they may be years and dollars."""

    def __init__(self, samples: Samples, options: RankOptions, progress: Progress) -> None:
        super().__init__(samples, seed=options.seed, progress=progress)
        self.arrays = {options.data: np.asarray(samples.x)}
        others = [] if options.backbones == "auto" else [name.strip() for name in options.backbones.split(",")]
        for path in filter(None, others):
            self.arrays[path] = self._read(path, options)
        self.names = tuple(self.arrays)

    def _read(self, path: str, options: RankOptions) -> np.ndarray:
        """Its rows for the samples at hand: rows of both files are the same samples, in the same order."""
        whole, other = (read(one, ReadOptions(label=options.label)) for one in (options.data, path))
        if other.modality != "array" or _labels(other) != _labels(whole):
            raise DataError(f"{path} does not hold the samples of {options.data}. Expected the same rows and labels.")
        places = {key: i for i, key in enumerate(whole.ids)}
        return np.asarray(other.x)[[places[key] for key in self.samples.ids]]

    def features(self, name: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Contest`."""
        z = self.arrays[name][rows]
        return Standardise.fit(z, self.samples.y[rows]).transform(z), np.arange(len(rows))


def _labels(samples: Samples) -> list[str]:
    return [samples.classes[c] if c >= 0 else "" for c in samples.y.tolist()]
