"""A graft as one ONNX file that holds pre- and post-processing; checked against the graft itself before it is written.

What is exported is asked of the graft (`exported`); nothing here knows what a label is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from torchgraft.core.errors import MissingExtra, UserError
from torchgraft.core.files import replacing
from torchgraft.core.progress import SILENT, Progress

if TYPE_CHECKING:
    import onnxruntime

    from torchgraft.model.exported import Exported

TOLERANCE = 1e-3
"""Largest difference in probability between the file and the graft."""

OTHERWISE = 1e-3
"""Largest share of the pixels that may get another class: those on which two classes are as probable."""

_OPSET = 17  # the one that the engine of features has


class Exporting(Protocol):
    """A graft that can say what of it goes into a file."""

    def exported(self, check: Mapping[str, np.ndarray], *, size: tuple[int, int] | None = None) -> Exported:
        """The network from raw input to answers. Raises `OptionError` with the reason where there is none."""
        ...


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output of the file: `shape` holds sizes, and the names of those that are free."""

    name: str
    type: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file that was written: its `size` in bytes, what goes in and out, and how far it is from the graft.

    `differences` holds for each output the largest difference in probability, or the share of the pixels that get
    another class; over so many samples, `stored` with the graft or made up. `usage` are lines of Python that run it.
    """

    path: Path
    size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    differences: Mapping[str, float]
    samples: int
    stored: bool
    metadata: Mapping[str, str]
    usage: str


def export(
    graft: Exporting,
    out: str | Path,
    *,
    check: Mapping[str, np.ndarray] | None = None,
    size: tuple[int, int] | None = None,
    progress: Progress = SILENT,
) -> Written:
    """Write the graft as an ONNX file; `check` holds the samples that were stored with it (`model.artifact.read`).

    ONNX Runtime answers these (without any: made-up ones) as the graft does, or nothing is written: probabilities
    within 1e-3, the same class at 99.9 % of the pixels or more. `size` (H, W) is for answers that are maps: images of
    this size alone. Where a network can't be exported for all sizes, it is for the size of the first sample.

    Raises `OptionError` for what has no form in ONNX, `MissingExtra`, `StorageError`, and `UserError` where the network
    can't be exported or the file answers otherwise.
    """
    for package in ("onnx", "onnxruntime"):
        if find_spec(package) is None:
            raise MissingExtra("export", package, "onnx")
    asked = graft.exported(check or {}, size=size)
    out = Path(out)
    reasons: list[str] = []
    with replacing(out) as draft:
        for exported in (asked, asked.fixed()) if asked.fixable else (asked,):
            for name, exporter in _EXPORTERS.items():
                progress.say(f"exporting by {name}" + ("" if exported is asked else ", for one size alone"))
                try:
                    found = _attempt(exported, exporter, draft)
                except Exception as error:  # the boundary: exporters and runtimes fail in ways of their own
                    reasons.append(f"{name}: {_first_line(error)}")
                    continue
                return _written(exported, out, draft, *found)
        raise UserError(f"no file was written: {'; '.join(dict.fromkeys(reasons))}.")


def _attempt(exported: Exported, exporter: Callable[..., None], draft: Path) -> tuple[Any, dict[str, float]]:
    """Export into `draft`, and answer every case. Raises `UserError` where an answer is another one than the graft's.

    Whatever else is raised comes from exporters and runtimes.
    """
    from torchgraft.features import quiet

    with quiet():
        exporter(exported, draft)
    _describe(draft, exported.metadata)
    session = _session(draft)
    worst = dict.fromkeys(exported.outputs, 0.0)
    for inputs, expected in exported.cases:
        found = dict(zip(exported.outputs, session.run(None, inputs), strict=True))
        for name, values in expected.items():
            worst[name] = max(worst[name], difference(found[name], values))
    _refuse_others(exported, worst)
    return session, worst


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Of floats the largest difference, of whole numbers the share that differs; infinity for NaN or another shape."""
    if found.shape != expected.shape:
        return float("inf")
    if expected.dtype.kind != "f":
        return float((found != expected).mean())
    worst = float(np.abs(found.astype(np.float64) - expected).max(initial=0.0))
    return worst if np.isfinite(worst) else float("inf")


def _refuse_others(exported: Exported, worst: Mapping[str, float]) -> None:
    whole = {name for _, expected in exported.cases for name, values in expected.items() if values.dtype.kind != "f"}
    far = [
        f"{name} {'of another class' if name in whole else 'off'} by {value:.2g}, at most {limit:.2g} is allowed"
        for name, value in worst.items()
        if value > (limit := OTHERWISE if name in whole else TOLERANCE)
    ]
    if far:
        raise UserError(f"its file answers otherwise than the model ({'; '.join(far)})")


def _by_torchscript(exported: Exported, path: Path) -> None:
    """Keeps sizes free where networks compute with them, and takes seconds."""
    import torch

    torch.onnx.export(
        exported.module,
        _example(exported),
        str(path),
        dynamo=False,
        input_names=list(exported.inputs),
        output_names=list(exported.outputs),
        dynamic_axes={name: dict(axes) for name, axes in {**exported.inputs, **exported.outputs}.items() if axes},
        opset_version=_OPSET,
    )


def _by_torch_export(exported: Exported, path: Path) -> None:
    """The newer exporter, which knows more operators."""
    import torch

    names = {name for axes in exported.inputs.values() for name in axes.values()}
    sizes = {name: torch.export.Dim(name) for name in names}
    torch.onnx.export(
        exported.module,
        _example(exported),
        str(path),
        dynamo=True,
        external_data=False,
        input_names=list(exported.inputs),
        output_names=list(exported.outputs),
        dynamic_shapes=_shapes(exported, sizes) if sizes else None,
    )


_EXPORTERS: dict[str, Callable[..., None]] = {"TorchScript": _by_torchscript, "torch.export": _by_torch_export}


def _shapes(exported: Exported, sizes: Mapping[str, Any]) -> tuple[Any, ...]:
    shapes = tuple({axis: sizes[name] for axis, name in axes.items()} for axes in exported.inputs.values())
    parameters = inspect.signature(exported.module.forward).parameters.values()
    gathers = any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters)
    return (shapes,) if gathers else shapes


def _example(exported: Exported) -> tuple[Any, ...]:
    import torch

    inputs = exported.cases[0][0]
    return tuple(torch.from_numpy(inputs[name]) for name in exported.inputs)


def _describe(path: Path, metadata: Mapping[str, str]) -> None:
    """Put the metadata into the file, with all weights inside it."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)


def _session(path: Path) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _written(exported: Exported, out: Path, draft: Path, session: Any, worst: Mapping[str, float]) -> Written:
    return Written(
        path=out,
        size=draft.stat().st_size,
        inputs=_tensors(session.get_inputs()),
        outputs=_tensors(session.get_outputs()),
        differences=dict(worst),
        samples=exported.samples,
        stored=exported.stored,
        metadata=dict(exported.metadata),
        usage=exported.usage.replace("MODEL", repr(str(out))),
    )


def _tensors(found: Sequence[Any]) -> tuple[Tensor, ...]:
    kinds = {"float": "float32", "double": "float64"}
    return tuple(
        Tensor(name=one.name, type=kinds.get(kind := one.type[7:-1], kind), shape=tuple(one.shape)) for one in found
    )


def _first_line(error: Exception) -> str:
    line = (str(error).strip().partition("\n")[0])[:300].rstrip(".")
    return line if isinstance(error, UserError) else f"{type(error).__name__}: {line}"
