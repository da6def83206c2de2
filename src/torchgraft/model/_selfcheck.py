"""The self-check: a few real inputs are saved with their outputs, and must give them again when loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from torchgraft import features
from torchgraft.core.errors import ArtifactError
from torchgraft.data import Samples
from torchgraft.model._inputs import as_samples

if TYPE_CHECKING:
    from torchgraft.model.graft import Graft

TOLERANCE = 0.02
"""Largest difference in probability between machines and engines that still counts as the same output."""


def saved_check(graft: Graft, samples: Samples) -> dict[str, np.ndarray]:
    """The samples themselves (a photo's file, a text's bytes, a row) and their probabilities, as arrays."""
    predictions = graft.predict(samples)
    if not len(predictions):
        return {}
    x = samples.take(predictions.kept).x
    inputs = {f"input.{i}": _as_bytes(item, graft.modality) for i, item in enumerate(x)}
    return {"probabilities": predictions.probabilities.astype(np.float32), **inputs}


def verify_check(graft: Graft, check: Mapping[str, np.ndarray]) -> None:
    """Predict the stored inputs afresh, past the feature store; raise `ArtifactError` where the outputs differ."""
    try:
        expected = check["probabilities"]
        inputs = [check[f"input.{i}"] for i in range(len(expected))]
    except KeyError as error:
        message = f"check.safetensors has no {error}: it is damaged. Copy the folder again, or fit again."
        raise ArtifactError(message) from error
    if expected.shape[1:] != (len(graft.classes),):
        raise ArtifactError(
            f"graft.json names {len(graft.classes)} classes, check.safetensors holds probabilities of "
            f"{expected.shape[-1]}: one of them is damaged. Copy the folder again, or fit again."
        )
    with tempfile.TemporaryDirectory(prefix="torchgraft-check-") as folder:
        samples = as_samples(_from_bytes(inputs, graft.modality, Path(folder)), graft.modality)
        blocks, kept, _ = graft.blocks(samples, store=features.Store(Path(folder) / "store"))
        found = np.exp(graft.log_probabilities(blocks)) if len(kept) else np.zeros((0, len(graft.classes)))
    worst = np.abs(found - expected).max(initial=0.0) if found.shape == expected.shape else float("nan")
    if not worst <= TOLERANCE:  # NaN is no agreement
        raise ArtifactError(
            f"the self-check failed: stored inputs give probabilities up to {worst:.3f} away from the stored outputs "
            f"(at most {TOLERANCE} is normal). The files, the backbone or an installed library "
            "differ from when it was saved. Fit again, or torchgraft.load(path, verify=False) if you know why."
        )


def _as_bytes(item: Any, modality: str) -> np.ndarray:
    if modality == "array":
        return np.asarray(item, dtype=np.float32)
    data = Path(item).read_bytes() if modality == "image" else str(item).encode("utf-8", "surrogatepass")
    return np.frombuffer(data or b" ", dtype=np.uint8)


def _from_bytes(inputs: list[np.ndarray], modality: str, folder: Path) -> Any:
    if modality == "array":
        return np.stack(inputs)
    if modality == "text":
        return [item.tobytes().decode("utf-8", "surrogatepass") for item in inputs]
    paths = [folder / f"{i}.image" for i in range(len(inputs))]
    for path, item in zip(paths, inputs, strict=True):
        path.write_bytes(item.tobytes())
    return paths
