"""Weights from files: read without unpickling, put into a network without gaps, named by their content."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from torchgraft.core.errors import UserError, shorten
from torchgraft.core.files import digest, file_digest

if TYPE_CHECKING:
    from torch import Tensor, nn

_WRAPPERS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def read(path: Path) -> dict[str, Tensor]:
    """Parameter name -> tensor, floating point as float32, from a .safetensors, .pth, .pt or .bin file.

    A state dict inside a training checkpoint is found, and the `module.` that data-parallel training puts before names
    is taken off. Raises `UserError` where the file is missing, damaged, or holds objects that would need unpickling.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist. Expected a file of weights (.safetensors, or .pth with a state dict).")
    if path.suffix not in _SUFFIXES:
        raise UserError(
            f"{path} is not a file of weights. Expected one of {', '.join(_SUFFIXES)}, got '{path.suffix}'."
        )
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not state:
        raise UserError(f"{path} holds no weights.")
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in plain.items()}


def fill(module: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Load `state` into `module`, every tensor and no other. Raises a `UserError` that lists all that does not fit."""
    own = module.state_dict()
    # BatchNorm's step counter came late: files without it are complete, and inference does not use it.
    missing = sorted(name for name in own.keys() - state.keys() if not name.endswith("num_batches_tracked"))
    extra = sorted(state.keys() - own.keys())
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in sorted(own.keys() & state.keys())
        if own[name].shape != state[name].shape
    ]
    problems = [
        f"{what}: {shorten(found, 5)}"
        for what, found in (("missing", missing), ("not expected", extra), ("wrong shape", shapes))
        if found
    ]
    if problems:
        raise UserError(
            f"{where}: the weights don't fit the architecture. {'; '.join(problems)}. "
            "Give the architecture (and number of classes) that they were saved from."
        )
    module.load_state_dict(state, strict=False)


def revision(architecture: str, *files: Path) -> str:
    """Content hash of an architecture's name and its files of weights."""
    return digest([architecture, *(file_digest(path) for path in files)])


def count(path: Path) -> int | None:
    """Number of weights of the encoder in a .safetensors file, by its header alone; None where it is damaged.

    Heads of pretraining are left out.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError):
        return None
    own = (name for name in shapes if not name.startswith(("cls.", "lm_head", "classifier")) and "pooler" not in name)
    return sum(math.prod(shapes[name]) for name in own)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} can't be read: it is damaged or cut off ({error}). Get the file again.") from None


def _read_torch(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about archives that are refused with an error right after
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each byte of a broken file is an instruction to the reader: it raises anything
        raise UserError(
            f"{path} can't be read as plain tensors: it is damaged, or it holds Python objects, which are never "
            "unpickled here because that runs code from the file. Where you trust the file, load it yourself and save "
            "its weights alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
        ) from error
    state = loaded
    for key in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            state = loaded[key]
            break
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path} holds no state dict. Expected parameter name -> tensor, as model.state_dict() gives.")
    return state
