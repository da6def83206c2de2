"""Image networks of timm, with the weights that their tag names, from the Hugging Face hub or its cache."""

from __future__ import annotations

import importlib
import math
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torchgraft.backbones import _hub, _torchvision_ops, _weights
from torchgraft.backbones.base import Backbone, Offer
from torchgraft.core.errors import UnknownName, UserError
from torchgraft.core.types import ImagePreprocessing

if TYPE_CHECKING:
    from torch import nn

    from torchgraft.backbones._trunk import Cut

_OWNER = "timm/"
_FILES = ("model.safetensors", "pytorch_model.bin")
_MULTIPLIED = {"mobilenetv1_100": "_gen_mobilenet_v1", "mobilenetv2_100": "_gen_mobilenet_v2"}


def names() -> list[Offer]:
    """Models whose weights are in the cache of the Hugging Face hub."""
    found = {
        repository.removeprefix(_OWNER): snapshot / name
        for repository, snapshot in _hub.repositories()
        for name in reversed(_FILES)
        if repository.startswith(_OWNER) and (snapshot / name).is_file()
    }
    if not found or not installed():
        return []
    known = library()
    return [_offer(name, path) for name, path in found.items() if known.models.is_model_pretrained(name)]


def load(name: str) -> Backbone:
    """Load `architecture` or `architecture.tag` (without a tag: timm's default weights).

    Raises `UnknownName` for an unknown architecture or tag, `UserError` where the weights are neither in the cache nor
    within reach.
    """
    config = _config(name)
    full = f"{config.architecture}.{config.tag}" if config.tag else config.architecture
    path = _file(config, full)
    model = _filled(full, path)
    steps = preprocessing(model)
    return Backbone(
        name=f"timm/{name}",
        **cut(model, steps.size).fields(),
        preprocessing=steps,
        licence=config.license or "unknown",
        revision=_weights.revision(f"timm/{config.architecture}", path),
    )


def from_folder(folder: Path, name: str) -> Backbone:
    """Load a folder as the hub has it for timm: `config.json` with architecture and preprocessing, and the weights.

    Raises `UserError` where something is missing or does not fit together.
    """
    about = _hub.read_json(folder / "config.json")
    paths = [folder / file for file in _FILES if (folder / file).is_file()]
    if not paths:
        raise UserError(f"{folder} holds no weights. Expected {' or '.join(_FILES)}.")
    if not library().is_model(about["architecture"]):
        raise UnknownName("timm", about["architecture"], library().list_models(), see="See timm.list_models().")
    options = {"num_classes": about["num_classes"]} if "num_classes" in about else {}
    config = about["pretrained_cfg"]
    model = _filled(about["architecture"], paths[0], pretrained_cfg=config, **options, **about.get("model_args", {}))
    steps = preprocessing(model)
    return Backbone(
        name=name,
        **cut(model, steps.size).fields(),
        preprocessing=steps,
        licence=config.get("license") or "unknown",
        revision=_weights.revision(f"timm/{about['architecture']}", folder / "config.json", paths[0]),
    )


def build(name: str, **options: Any) -> nn.Module:
    """A timm model with random weights. Raises `UnknownName`.

    `options` are timm's own (`num_classes`, `pad_type`, `img_size`), and `channel_multiplier` for MobileNet v1 and v2,
    whose widths other than 1.0 timm does not name.
    """
    timm = library()
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        raise UnknownName("timm", architecture, timm.list_models(), see="See timm.list_models().")
    if "channel_multiplier" not in options:
        return timm.create_model(architecture, pretrained=False, **options)
    if architecture not in _MULTIPLIED:
        raise UserError(f"channel_multiplier is known for {', '.join(_MULTIPLIED)}, got architecture '{architecture}'.")
    generator = getattr(timm.models.efficientnet, _MULTIPLIED[architecture])
    return generator(architecture, options.pop("channel_multiplier"), **options)


def cut(model: nn.Module, size: int) -> Cut:
    """Trunk, classifier, layout, width, prefix and pooling of a timm model that takes size x size images."""
    from torchgraft.backbones._trunk import split_timm

    return split_timm(model, size)


def preprocessing(model: nn.Module) -> ImagePreprocessing:
    """What timm's evaluation does to a photo for these weights."""
    config = library().data.resolve_model_data_config(model)
    size = config["input_size"][-1]
    return ImagePreprocessing(
        size=size,
        resize=max(size, math.floor(size / config["crop_pct"])),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
    )


def installed() -> bool:
    """Whether timm and torchvision, which it imports, are there; neither is imported."""
    return find_spec("timm") is not None and find_spec("torchvision") is not None


def library() -> ModuleType:
    """The timm library. Raises `UserError` where it, or torchvision, which it imports, is missing or broken."""
    _torchvision_ops.declare()
    try:
        # By name: inside a file called timm.py a plain import reads as if it meant the file itself.
        return importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # torchvision raises RuntimeError where it was built for another torch
        raise UserError(
            f"image backbones need timm, and timm needs torchvision: {error}. "
            "Install both in versions that fit your torch: pip install timm torchvision."
        ) from error


def _filled(name: str, path: Path, **options: Any) -> nn.Module:
    """The model with the weights of a file, through the conversion that timm has for it."""
    from safetensors import SafetensorError

    try:
        # The hub's file is in timm's own form, even where the first release needed a loader of its own.
        overlay = {"file": str(path), "custom_load": False}
        return library().create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except (SafetensorError, RuntimeError, OSError, EOFError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} can't be loaded as timm's '{name}': it is damaged or of another model ({error}). "
            "Get the file again (one in the hub's cache is fetched again once it is deleted)."
        ) from error


def _config(name: str) -> Any:
    timm = library()
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise UnknownName("timm", name, timm.list_models(), see="See timm.list_models().")
    tags = {full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")}
    if not tags and not timm.models.is_model_pretrained(architecture):
        raise UserError(f"timm has no pretrained weights for '{architecture}'. See timm.list_pretrained().")
    if tag and tag not in tags:
        raise UnknownName(f"timm/{architecture}", tag, tags)
    return timm.models.get_pretrained_cfg(name)


def _file(config: Any, name: str) -> Path:
    if not config.hf_hub_id:
        raise UserError(f"timm gives '{name}' by an address of its own, not from the Hugging Face hub. {_hub.WAY_OUT}")
    files = (config.hf_hub_filename,) if config.hf_hub_filename else _FILES
    return _hub.file(config.hf_hub_id, files, backbone=f"timm/{name}")


def _offer(name: str, path: Path) -> Offer:
    import torch

    with torch.device("meta"):
        model = build(name)
    network = cut(model, preprocessing(model).size)
    config = library().models.get_pretrained_cfg(name)
    return Offer(
        name=f"timm/{name}",
        modality="image",
        width=network.width,
        parameters=sum(p.numel() for p in network.module.parameters()),
        size=path.stat().st_size,
        licence=config.license or "unknown",
        note=f"{config.input_size[-1]} px, in the hub's cache",
    )
