"""Text encoders of transformers, from the Hugging Face hub or its cache; code of a repository is never run."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from torchgraft.backbones import _hub, _weights
from torchgraft.backbones.base import Backbone, Network, Offer
from torchgraft.core.errors import MissingExtra, UserError, shorten
from torchgraft.core.files import digest, file_digest
from torchgraft.core.types import TextPreprocessing

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

_PATTERNS = ("*.json", "*.txt", "*.model", "README.md", "model*.safetensors")
_TOKENIZER = ("tokenizer*.json", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model")
_LONGEST = 512
"""Tokens beyond this are cut even where a network could take more: the cost of attention grows with the square."""


def names() -> list[Offer]:
    """Text encoders in the cache of the Hugging Face hub; only their configuration and headers are read."""
    if find_spec("transformers") is None:
        return []
    offers = [
        _offer(f"transformers/{repository}", snapshot)
        for repository, snapshot in _hub.repositories()
        if _complete(snapshot) and _takes_text(snapshot)
    ]
    return [offer for offer in offers if offer is not None]


def load(name: str) -> Backbone:
    """Load `organisation/model` (or `model`). Raises `UserError` where it is neither in the cache nor within reach."""
    library(f"backbone 'transformers/{name}'")
    folder = _hub.folder(name, _PATTERNS, backbone=f"transformers/{name}", complete=_complete)
    return from_folder(folder, f"transformers/{name}")


def from_folder(folder: Path, name: str, *, licence: str | None = None) -> Backbone:
    """Load a folder with `config.json`, `model*.safetensors` and a tokenizer, as `save_pretrained` writes it.

    Raises `UserError` where the folder lacks one of them, is damaged, or holds no text encoder.
    """
    from torchgraft.backbones._tokenizer import WordPieces
    from torchgraft.backbones._trunk import TextTrunk, freeze, size

    library(f"backbone '{name}'")
    if not _complete(folder):
        raise UserError(
            f"{folder} is no transformers folder that can be loaded. Expected config.json, the tokenizer's files "
            "(tokenizer.json, or vocab.txt and the like) and model.safetensors (.bin files need unpickling; where you "
            "trust one, load it in transformers, and save_pretrained(FOLDER) writes safetensors)."
        )
    tokenizer = _tokenizer(folder, name)
    model = _model(folder, name)
    if len(tokenizer) > model.config.vocab_size:
        raise UserError(
            f"{name}: the tokenizer has {len(tokenizer)} tokens, the network knows {model.config.vocab_size}. "
            "They are not of one model; put both from the same source into the folder."
        )
    limit = _max_tokens(folder, model, tokenizer)
    trunk = freeze(TextTrunk(freeze(model)))
    network = Network(module=trunk, tokenizer=WordPieces(tokenizer, limit))
    return Backbone(
        name=name,
        layout="tokens",
        width=model.config.hidden_size,
        pooling=_pooling(folder) or ("last" if trunk.causal else "mean"),
        preprocessing=TextPreprocessing(tokenizer=identity(folder), max_tokens=limit),
        licence=licence or _licence(folder),
        revision=revision(folder, type(model).__name__),
        parameters=size(trunk),
        build=lambda: network,
    )


def identity(folder: Path) -> str:
    """Content hash of the tokenizer's files."""
    return digest(file_digest(path) for pattern in _TOKENIZER for path in sorted(folder.glob(pattern)))


def revision(folder: Path, architecture: str) -> str:
    """Content hash of the weights, the configuration and the name of the class that reads them."""
    return _weights.revision(architecture, folder / "config.json", *sorted(folder.glob("model*.safetensors")))


def library(what: str) -> ModuleType:
    """The transformers library. Raises `MissingExtra`."""
    from torchgraft.backbones import _torchvision_ops

    _torchvision_ops.declare()
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise MissingExtra(what, "transformers", "text") from None


@contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """No bars and no advice on the terminal while the block runs; errors are raised as ever."""
    chatter = transformers.utils.logging
    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()


def _tokenizer(folder: Path, name: str) -> PreTrainedTokenizerBase:
    transformers = library(name)
    try:
        with _quiet(transformers):
            return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise UserError(f"{name}: no tokenizer can be loaded from {folder}: {_first_line(error)}.") from error


def _model(folder: Path, name: str) -> nn.Module:
    from safetensors import SafetensorError

    transformers = library(name)
    try:
        with _quiet(transformers):
            model, info = transformers.AutoModel.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{name}: the network can't be loaded from {folder}: {_first_line(error)}.") from error
    # transformers fills gaps with random numbers and only warns; features would be noise.
    gaps = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    if gaps:
        raise UserError(f"{name}: the weights in {folder} are incomplete. Missing: {shorten(gaps, 5)}.")
    if getattr(model, "main_input_name", "input_ids") != "input_ids":
        raise UserError(f"{name} is no text encoder (it takes {model.main_input_name}). For images use timm/NAME.")
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    if hasattr(model, "pooler"):
        model.pooler = None  # it maps the class token for pretraining; what comes before it is used here
    return model.float()


def _max_tokens(folder: Path, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> int:
    stated = _hub.read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    positions = getattr(model.config, "max_position_embeddings", None)
    # RoBERTa counts its positions from the padding id onwards.
    offset = (
        (model.config.pad_token_id or 0) + 1
        if model.config.model_type in ("roberta", "xlm-roberta", "camembert")
        else 0
    )
    limits = [stated, positions - offset if positions else None, tokenizer.model_max_length, _LONGEST]
    return int(min(limit for limit in limits if limit))


def _pooling(folder: Path) -> str | None:
    """The pooling that a sentence-transformers folder states; None where it states none."""
    settings = _hub.read_json(folder / "1_Pooling" / "config.json")
    named = {"cls": "cls", "mean": "mean", "lasttoken": "last"}
    modes = [
        mode
        for mode in named
        if settings.get(f"pooling_mode_{mode}_tokens") or settings.get(f"pooling_mode_{mode}_token")
    ]
    modes += [mode for mode in named if settings.get(f"pooling_mode_{mode}") or settings.get("pooling_mode") == mode]
    return named[modes[0]] if modes else None


def _licence(folder: Path) -> str:
    """The licence that the head of the model card names."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    head = text.split("---")[1] if text.startswith("---") and text.count("---") > 1 else ""
    match = re.search(r"^license:\s*([\w.+-]+)\s*$", head, re.MULTILINE)
    return match[1] if match else "unknown"


def _complete(folder: Path) -> bool:
    """Whether configuration, tokenizer and weights are there; transformers would go on without a tokenizer's words."""
    needed = (("config.json",), ("tokenizer.json", "vocab.txt", "vocab.json", "*.model"), ("model*.safetensors",))
    return all(any(True for pattern in patterns for _ in folder.glob(pattern)) for patterns in needed)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _takes_text(folder: Path) -> bool:
    """Whether there are words and nothing that prepares sound or images (Whisper has both)."""
    return (
        "vocab_size" in _hub.read_json(folder / "config.json") and not (folder / "preprocessor_config.json").is_file()
    )


def _offer(name: str, folder: Path) -> Offer | None:
    """What the headers say; None where a file of weights is damaged (loading it says so)."""
    config = _hub.read_json(folder / "config.json")
    width = next((config[key] for key in ("hidden_size", "n_embd", "dim", "d_model") if key in config), 0)
    weights = sorted(folder.glob("model*.safetensors"))
    parameters = [_weights.count(path) for path in weights]
    if None in parameters:
        return None
    return Offer(
        name=name,
        modality="text",
        width=width,
        parameters=sum(parameters),
        size=sum(path.stat().st_size for path in weights),
        licence=_licence(folder),
        note=f"{config.get('model_type', 'transformers')}, in the hub's cache",
    )
