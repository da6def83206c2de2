"""A graft: parts (where features come from and how they are mapped), a head, calibrated probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import sparse
from scipy.special import log_softmax

from torchgraft import features
from torchgraft.backbones import Backbone
from torchgraft.core.errors import ArtifactError, DataError
from torchgraft.core.progress import SILENT, Progress
from torchgraft.core.types import State
from torchgraft.data import Finding, Samples
from torchgraft.features.mapping import Mapping as FeatureMapping
from torchgraft.features.mapping import mapping_from_state
from torchgraft.model._inputs import as_samples
from torchgraft.model._selfcheck import saved_check, verify_check
from torchgraft.model.artifact import Artifact, markdown, read, write
from torchgraft.model.heads import Head, head_from_state
from torchgraft.model.scene import SceneGraft
from torchgraft.model.tuned import Tuned, loaded, state_of, under

if TYPE_CHECKING:
    from torchgraft.model.exported import Exported

_MODALITIES = ("array", "image", "text")

Blocks = Mapping[str, np.ndarray | Sequence[str]]
"""Source -> the values of N samples: a backbone's name -> pooled features (N x D), the modality -> the samples
themselves (N paths or texts, or N x D of the user's own features)."""


@dataclass(frozen=True, eq=False)
class Part:
    """One source of features and the mapping fitted on it: values of `source` -> N x D."""

    source: str
    mapping: FeatureMapping


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What a graft says of N samples: `probabilities` is N x C, rows sum to 1; `abstained` marks the unsure ones.

    `ids` names the N samples that could be read, `kept` their positions among those given; `failed` tells of the rest.
    """

    ids: tuple[str, ...]
    kept: np.ndarray
    classes: tuple[str, ...]
    probabilities: np.ndarray
    abstained: np.ndarray
    failed: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> list[str]:
        """The most probable class of each sample."""
        return [self.classes[i] for i in self.probabilities.argmax(axis=1)]

    @property
    def confidence(self) -> np.ndarray:
        """The probability of that class (N,)."""
        return self.probabilities.max(axis=1) if len(self) else np.zeros(0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Graft:
    """Backbone + neck + head, calibrated: p = softmax(logits / temperature) over `classes`.

    `backbones` holds, for each source that is a backbone, what it was when the head was fitted (name, revision,
    pooling, licence, width; `base` where it is a backbone trained further, or pooled in another way); `tuned` the
    weights of those that were trained further. A sample whose largest probability is under `threshold` is abstained on.
    `prior` holds the C class frequencies that its probabilities assume (empty: not known).
    """

    parts: tuple[Part, ...]
    head: Head
    classes: tuple[str, ...]
    modality: str
    method: str
    temperature: float = 1.0
    threshold: float = 0.0
    backbones: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tuned: Mapping[str, Tuned] = field(default_factory=dict)
    prior: tuple[float, ...] = ()
    task: ClassVar[str] = "single_label"
    gives: ClassVar[str] = "label"

    def log_probabilities(self, blocks: Blocks) -> np.ndarray:
        """N x C calibrated log-probabilities from the values of each source (see `blocks`)."""
        return log_softmax(self.head.logits(assemble(self.parts, blocks)) / self.temperature, axis=1)

    def predict(
        self, items: Samples | Sequence[str | Path] | np.ndarray, *, progress: Progress = SILENT
    ) -> Predictions:
        """Predict paths of images, texts, or an N x D array, as the graft's modality is.

        A sample that can't be read is left out and told of in `failed`. Raises `DataError` where `items` is of
        another modality or (arrays) another width.
        """
        samples = items if isinstance(items, Samples) else as_samples(items, self.modality)
        if samples.modality != self.modality:
            raise DataError(
                f"this graft was fitted on {self.modality} samples, got {samples.modality} from {samples.root}."
            )
        blocks, kept, failed = self.blocks(samples, progress=progress)
        probabilities = np.exp(self.log_probabilities(blocks)) if len(kept) else np.zeros((0, len(self.classes)))
        return Predictions(
            ids=tuple(samples.ids[i] for i in kept),
            kept=kept,
            classes=self.classes,
            probabilities=probabilities,
            abstained=probabilities.max(axis=1, initial=0.0) < self.threshold,
            failed=failed,
        )

    def blocks(
        self, samples: Samples, *, store: features.Store | None = None, progress: Progress = SILENT
    ) -> tuple[dict[str, Any], np.ndarray, tuple[Finding, ...]]:
        """Values of every source for the samples that all of them can read; their positions; what failed."""
        found: dict[str, features.Features] = {
            name: features.extract(
                samples, backbone, pooling=self.backbones[name]["pooling"], store=store, progress=progress
            )
            for name, backbone in self.loaded.items()
        }
        kept = np.arange(len(samples))
        for one in found.values():
            kept = np.intersect1d(kept, one.kept)
        blocks: dict[str, Any] = {name: one.z[np.searchsorted(one.kept, kept)] for name, one in found.items()}
        blocks[self.modality] = samples.take(kept).x
        return blocks, kept, tuple(finding for one in found.values() for finding in one.failed)

    @cached_property
    def loaded(self) -> dict[str, Backbone]:
        """The backbones themselves. Raises `ArtifactError` where one has other weights than the head was fitted on."""
        return {
            name: loaded(about.get("base", name), self.tuned.get(name), about["revision"])
            for name, about in self.backbones.items()
        }

    def save(self, path: str | Path, *, check: Samples | None = None, card: str = "") -> None:
        """Write the graft into the folder `path`. The outputs for `check`, a few samples, are verified at load."""
        config, arrays = self.state()
        stored = saved_check(self, check) if check is not None else {}
        write(Path(path), Artifact(config=config, arrays=arrays, check=stored), card=card or self.card())

    def verify(self, check: Mapping[str, np.ndarray]) -> None:
        """Predict the stored samples again; raises `ArtifactError` where the outputs differ."""
        verify_check(self, check)

    def exported(self, check: Mapping[str, np.ndarray], *, size: tuple[int, int] | None = None) -> Exported:
        """What goes into an exported file; see `model.exported`. Raises `OptionError` for what can't be exported."""
        from torchgraft.model.exported import export_labels  # here: it loads torch

        return export_labels(self, check, size)

    def state(self) -> State:
        """Everything the graft is, but for the backbones' own weights: these are named, with their revision."""
        config: dict[str, Any] = {
            "modality": self.modality,
            "task": self.task,
            "method": self.method,
            "classes": list(self.classes),
            "temperature": self.temperature,
            "threshold": self.threshold,
            "backbones": {name: dict(about) for name, about in self.backbones.items()},
            "prior": list(self.prior),
        }
        head, arrays = self.head.state()
        arrays = {f"head.{name}": a for name, a in arrays.items()}
        config["head"] = {"kind": self.head.kind, **head}
        config["parts"] = []
        for i, part in enumerate(self.parts):
            mapping, own = part.mapping.state()
            config["parts"].append({"source": part.source, "kind": part.mapping.kind, "mapping": mapping})
            arrays |= {f"parts.{i}.{name}": a for name, a in own.items()}
        config["tuned"], own = state_of(self.tuned)
        return config, arrays | own

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Graft:
        """Undo `state`. Raises `ArtifactError` where a piece is missing or of a kind this version doesn't know."""
        try:
            _refuse_unknown_sources(config)
            parts = tuple(
                Part(part["source"], mapping_from_state(part["kind"], part["mapping"], under(arrays, f"parts.{i}.")))
                for i, part in enumerate(config["parts"])
            )
            return cls(
                parts=parts,
                head=head_from_state(config["head"]["kind"], config["head"], under(arrays, "head.")),
                classes=tuple(config["classes"]),
                modality=config["modality"],
                method=config["method"],
                temperature=float(config["temperature"]),
                threshold=float(config["threshold"]),
                backbones=config["backbones"],
                prior=tuple(float(share) for share in config.get("prior", ())),
                tuned=Tuned.from_state(config.get("tuned", ()), arrays),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(
                f"graft.json and model.safetensors don't fit together: {error!r}. Fit again."
            ) from error

    def card(self) -> str:
        """A short model card in Markdown."""
        sources = (
            ", ".join(f"{markdown(name)} ({about['licence']})" for name, about in self.backbones.items()) or "none"
        )
        return (
            f"# A graft for {self.modality} classification\n\n"
            f"- Method: {self.method}\n- Backbones (licence of their weights): {sources}\n"
            f"- Classes: {', '.join(map(markdown, self.classes))}\n\n"
            "Use it: `graft predict THIS_FOLDER PATH...`, or in Python\n\n"
            "```python\nimport torchgraft as tg\n\ngraft = tg.load('THIS_FOLDER')\ngraft.predict([...])\n```\n"
        )


def load(path: str | Path, *, verify: bool = True) -> Graft | SceneGraft:
    """Load a saved graft, or the folder of a run. Runs no code from the files.

    With `verify` the stored inputs are predicted again, and the outputs must agree with the stored ones within
    0.02 in probability. Raises `ArtifactError` where anything is missing, damaged or gives other outputs.
    """
    artifact = read(Path(path))
    task = artifact.config.get("task", Graft.task)
    kinds = {kind.task: kind for kind in (Graft, SceneGraft)}
    if task not in kinds:
        raise ArtifactError(f"graft.json is of the task {task!r}, which this version doesn't know. Known: {[*kinds]}.")
    graft = kinds[task].from_state(artifact.config, artifact.arrays)
    if verify and artifact.check:
        graft.verify(artifact.check)
    return graft


def assemble(parts: Sequence[Part], blocks: Blocks) -> np.ndarray | sparse.csr_matrix:
    """Map each part's values and put them side by side: N x (D_1 + D_2 + ...); sparse where a part is sparse."""
    if not parts:
        n = len(next(iter(blocks.values()))) if blocks else 0
        return np.zeros((n, 0))
    mapped = [part.mapping.transform(blocks[part.source]) for part in parts]
    if len(mapped) == 1:
        return mapped[0]
    if any(sparse.issparse(z) for z in mapped):
        return sparse.hstack([sparse.csr_matrix(z) for z in mapped], format="csr")
    return np.hstack(mapped)


def _refuse_unknown_sources(config: Mapping[str, Any]) -> None:
    """Raise `ArtifactError` where a part reads something that is neither a backbone of the graft nor its samples."""
    known = {*config["backbones"], config["modality"]}
    strange = sorted({str(part["source"]) for part in config["parts"]} - known)
    if strange or config["modality"] not in _MODALITIES:
        raise ArtifactError(
            f"graft.json is damaged: modality '{config['modality']}', parts that read {', '.join(strange) or 'nothing'}"
            f" beside {', '.join(sorted(known))}. Copy the folder again, or fit again."
        )
