"""The folder a graft is saved as: `graft.json`, `model.safetensors`, `check.safetensors`, `README.md`. No code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from torchgraft.core.errors import ArtifactError
from torchgraft.core.files import replacing, write_json

FORMAT = 1
"""Version of the folder's layout; a newer one than this is refused."""

_MARKUP = re.compile(r"[\\`*<>\[\]|~#&!]|(?<![^\W_])_|_(?![^\W_])")
"""What may mean something in Markdown inside a line; an underscore between letters does not."""

_FILES = ("graft.json", "model.safetensors", "check.safetensors")


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What the files hold: `config` plain values, `arrays` the weights, `check` real inputs with their outputs."""

    config: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    check: Mapping[str, np.ndarray] = field(default_factory=dict)


def write(path: Path, artifact: Artifact, *, card: str) -> None:
    """Write the folder in one step (an older one in its place is replaced). Raises `StorageError`."""
    with replacing(path) as new:
        new.mkdir()
        # save() and write_bytes, since save_file makes files that only their owner can read
        for name, arrays in (("model", artifact.arrays), ("check", artifact.check)):
            data = save({key: np.asarray(a, order="C") for key, a in arrays.items()})
            (new / f"{name}.safetensors").write_bytes(data)
        write_json(new / "graft.json", {"format": FORMAT, **artifact.config})
        (new / "README.md").write_text(card, encoding="utf-8", errors="backslashreplace")


def markdown(name: str) -> str:
    """A name (of a class, of a backbone) that Markdown shows as it is, on one line."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(name.split()))


def read(path: Path) -> Artifact:
    """Read the folder. Raises `ArtifactError` where it is missing, incomplete, damaged, or of a newer format."""
    try:
        return _read(Path(path))
    except OSError as error:
        named = error.filename or path
        raise ArtifactError(f"{named} can't be read: {(error.strerror or str(error)).lower()}.") from error


def _read(path: Path) -> Artifact:
    if path.is_file():
        raise ArtifactError(
            f"{path} is a file. Expected the folder that `graft fit` wrote (runs/NAME/model, with graft.json). "
            "Pickled models (.pt, .pkl, .joblib) are never loaded: they can run code."
        )
    if (path / "model" / "graft.json").is_file():
        path = path / "model"  # the folder of a run was given
    missing = [name for name in _FILES if not (path / name).is_file()]
    if missing:
        what = f"has no {', '.join(missing)}" if path.is_dir() else "does not exist"
        raise ArtifactError(f"{path} {what}. Expected the folder that `graft fit` wrote: {', '.join(_FILES)}.")
    config = _config(path / "graft.json")
    return Artifact(config=config, arrays=_arrays(path / _FILES[1]), check=_arrays(path / _FILES[2]))


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        version = int(config.pop("format"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged ({error}). Copy the folder again, or fit again.") from error
    if version > FORMAT:
        raise ArtifactError(f"{path} has format {version}; this torchgraft reads up to {FORMAT}. Update torchgraft.")
    return config


def _arrays(path: Path) -> dict[str, np.ndarray]:
    path.open("rb").close()  # safetensors takes a file without permission for a missing one
    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise ArtifactError(
            f"{path} is damaged or cut short ({error}). Copy the folder again, or fit again."
        ) from error
