"""Engines: what runs the network. Chosen by a short measurement on this machine, once per backbone and pooling.

Small jobs stay with torch, where nothing has to be prepared; the longer the job, the more preparation is worth:

| CPU seconds that torch would need, by its first, still cold batches | engine |
|---|---|
| under 8 | torch, batch norm folded into the convolutions |
| under 20 | torch, traced and frozen (images) |
| more | the fastest of torch, ONNX Runtime, OpenVINO as far as installed; exported once, kept with the choice on disk |

Where a measurement is on disk, its winner runs every job over 3 seconds.
"""

from __future__ import annotations

import importlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from torchgraft.backbones import Backbone
from torchgraft.core.errors import MissingExtra, StorageError, UnknownName, UserError
from torchgraft.core.files import cache_root, digest, write_json
from torchgraft.core.progress import SILENT, Progress
from torchgraft.core.runtime import versions

ENGINES = ("torch", "onnxruntime", "openvino")
AGREEMENT = 0.999
"""Least cosine between an engine's features and those of eager torch, over real samples."""

Inputs = tuple[np.ndarray, ...]
_EXTRAS = {"onnxruntime": "onnx", "openvino": "openvino"}
_FEW = 16
_KNOWN_SECONDS, _FOLDED_SECONDS, _TORCH_SECONDS = 3.0, 8.0, 20.0
_REPEATS = 3


class Engine(Protocol):
    """Runs a network; calls from several threads at once are fine, each uses one thread.

    `name` is one of `ENGINES`; `form` says in what form the network runs: torch knows three, eager, folded, frozen.
    Features of one form from equal batches are equal bit by bit.
    """

    name: str
    form: str

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """B x D float32 features of a batch: images B x H x W x 3 uint8, or texts ids and mask (B x T int64)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The outcome of a measurement: CPU seconds per sample of the engines that qualified, and why others did not."""

    engine: str
    seconds: dict[str, float]
    skipped: dict[str, str]


def choose(
    backbone: Backbone,
    pooling: str,
    batches: Sequence[Inputs],
    *,
    samples: int,
    engine: str = "auto",
    form: str = "",
    threads: int = 1,
    progress: Progress = SILENT,
) -> Engine:
    """The engine for `samples` samples of which `batches` are typical (real ones, the smallest batch first).

    `engine` names one of `ENGINES`, or auto; a `form` is taken up again where it fits `engine` and works. Raises
    `UnknownName` for another name, `MissingExtra` where the named engine is not installed, `UserError` where it fails
    or its features differ from torch's. In auto mode an engine that fails is passed over.
    """
    if engine not in ("auto", *ENGINES):
        raise UnknownName("engines", engine, ("auto", *ENGINES))
    if engine in _EXTRAS and find_spec(engine) is None:
        raise MissingExtra(f"engine '{engine}'", engine, _EXTRAS[engine])
    job = _Job(backbone, pooling, batches, threads)
    begun = job.again(form) if form else None
    if begun is not None and engine in ("auto", begun.name):
        return begun
    if engine in _EXTRAS:
        return job.named(engine)
    if samples <= _FEW or samples * _roughly(job.folded, batches) < _KNOWN_SECONDS:
        return job.folded
    seconds = samples * _seconds_per_sample(job.folded, batches[-1:])
    measured = engine == "auto" and job.eager.device.type == "cpu" and others()
    known = job.known() if measured and seconds > _KNOWN_SECONDS else None
    if known is not None:
        return known
    if seconds < _FOLDED_SECONDS:
        return job.folded
    return job.measure(progress) if measured and seconds > _TORCH_SECONDS else job.torch()


def others() -> tuple[str, ...]:
    """The engines beside torch that are installed."""
    return tuple(name for name in _EXTRAS if find_spec(name) is not None)


class _Job:
    """One backbone and pooling, ready to be built for each engine."""

    def __init__(self, backbone: Backbone, pooling: str, batches: Sequence[Inputs], threads: int) -> None:
        from torchgraft.features import _network, _torch  # torch is loaded when the first engine is made

        self.backbone = backbone
        self.batches = batches
        self.threads = threads
        self.network = _network.compose(backbone, pooling)
        self.eager = _torch.eager(self.network)
        self.folder = cache_root() / "engines" / _key(backbone, pooling)

    @cached_property
    def folded(self) -> Engine:
        """Torch with its batch norms folded, where the features of the smallest batch agree; else eager torch."""
        from torchgraft.features import _torch

        built = _torch.folded(self.eager)
        same = built is self.eager or agreement(built(*self.batches[0]), self.eager(*self.batches[0])) > AGREEMENT
        return built if same else self.eager

    def again(self, form: str) -> Engine | None:
        """The engine in this form, as an earlier process had it; None where it can't be had."""
        if form == "frozen":
            return self._build("torch")[0]
        if form in others():
            return self._build(form)[0]
        return next((built for built in (self.eager, self.folded) if built.form == form), None)

    def named(self, name: str) -> Engine:
        """The engine of that name. Raises `UserError` with the reason where it can't be used."""
        built, problem = self._build(name)
        if built is None:
            raise UserError(f"engine '{name}' can't run {self.backbone.name}: {problem}. Choose torch, or auto.")
        return built

    def torch(self) -> Engine:
        """The fastest form of torch whose features agree."""
        return self._build("torch")[0] or self.folded

    def known(self) -> Engine | None:
        """The engine that a measurement on this machine with these versions found before, where it still works."""
        choice = _remembered(self.folder)
        return self._build(choice.engine)[0] if choice is not None else None

    def measure(self, progress: Progress) -> Engine:
        """Build every engine that is installed and works, time each on real batches, remember the fastest."""
        progress.say(f"measuring which engine runs {self.backbone.name} fastest here (once)")
        engines: dict[str, Engine] = {}
        skipped: dict[str, str] = {}
        for name in ("torch", *others()):
            built, problem = self._build(name)
            if built is None:
                skipped[name] = problem
                progress.say(f"engine {name} is passed over: {problem}")
            else:
                engines[name] = built
        engines = engines or {"torch": self.folded}
        seconds = {name: _seconds_per_sample(built, self.batches, _REPEATS) for name, built in engines.items()}
        best = min(seconds, key=seconds.__getitem__)
        self._remember(Choice(engine=best, seconds=seconds, skipped=skipped))
        return engines[best]

    def _remember(self, choice: Choice) -> None:
        for loser in set(_EXTRAS) - {choice.engine}:
            shutil.rmtree(self.folder / loser, ignore_errors=True)
        write_json(self.folder / "choice.json", asdict(choice))

    def _build(self, name: str) -> tuple[Engine | None, str]:
        """The engine, or None and the reason why it can't be used."""
        try:
            build: Callable[..., Engine] = importlib.import_module(f"torchgraft.features._{name}").build
            built = build(self.network, self.batches[-1], self.folder, self.threads)
            cosine = min(agreement(built(*batch), self.eager(*batch)) for batch in self.batches)
        except StorageError:
            raise
        except Exception as error:  # the boundary: foreign runtimes fail in ways of their own
            return None, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
        if not cosine > AGREEMENT:
            return None, f"its features differ from torch's (cosine {cosine:.4f}, {AGREEMENT} is asked for)"
        return built, ""


def agreement(z: np.ndarray, reference: np.ndarray) -> float:
    """Least cosine between rows of two N x D arrays, in [-1, 1]; two rows of zeros agree. NaN where a value is."""
    norms = np.linalg.norm(z, axis=1) * np.linalg.norm(reference, axis=1)
    both_zero = ~z.any(axis=1) & ~reference.any(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.where(both_zero, 1.0, (z.astype(np.float64) * reference).sum(axis=1) / norms)
    return float(cosine.min())


def _seconds_per_sample(engine: Engine, batches: Sequence[Inputs], repeats: int = 1) -> float:
    """CPU seconds, not wall time: other programs on this machine don't count. The first call only warms up."""
    engine(*batches[0])
    times = []
    for _ in range(repeats):
        start = time.process_time()
        for batch in batches:
            engine(*batch)
        times.append(time.process_time() - start)
    return min(times) / sum(len(batch[0]) for batch in batches)


def _roughly(engine: Engine, batches: Sequence[Inputs]) -> float:
    """CPU seconds per sample by one run of the smallest batch, larger ones by their elements.

    A job of a hundred samples would spend a third of its time on a better measurement.
    """
    start = time.process_time()
    engine(*batches[0])
    elements = sum(batch[0].size for batch in batches) / sum(len(batch[0]) for batch in batches)
    return (time.process_time() - start) / batches[0][0].size * elements


def _key(backbone: Backbone, pooling: str) -> str:
    """Changes with the weights, the preprocessing, the pooling, the machine and the versions of the libraries."""
    machine = {name: text for name, text in versions().items() if name not in ("scikit-learn", "numpy")}
    return digest([backbone.revision, repr(backbone.preprocessing), pooling, json.dumps(machine), _processor()])


def _processor() -> str:
    """The processor's model, where Linux tells it: a cache folder may move between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("model name")), "")


def _remembered(folder: Path) -> Choice | None:
    try:
        choice = Choice(**json.loads((folder / "choice.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return choice if choice.engine in ENGINES and (choice.engine == "torch" or choice.engine in others()) else None
