"""Image networks of torchvision with their best weights, from torch's download folder or the network."""

from __future__ import annotations

import importlib
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from torchgraft.backbones import _torchvision_ops, _weights
from torchgraft.backbones.base import Backbone, Offer
from torchgraft.core.errors import UnknownName, UserError
from torchgraft.core.files import storage
from torchgraft.core.types import ImagePreprocessing

if TYPE_CHECKING:
    from torch import Tensor, nn

    from torchgraft.backbones._trunk import Cut

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
_USUAL = 224
"""Pixels at which the last map of every torchvision network has more than one place."""
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


def names() -> list[Offer]:
    """Models whose best weights are in torch's download folder."""
    folder = _downloads()
    here = {path.name for path in folder.glob("*.pth")} if folder.is_dir() else set()
    if not here or find_spec("torchvision") is None:
        return []
    models = library().models
    weights = {name: models.get_model_weights(name).DEFAULT for name in models.list_models(module=models)}
    return [_offer(name, best) for name, best in weights.items() if Path(best.url).name in here]


def load(name: str) -> Backbone:
    """Load `architecture` with torchvision's default weights.

    Raises `UnknownName`, or `UserError` where the weights are neither in the download folder nor within reach.
    """
    model = build(name, pretrained_form=True)
    weights = library().models.get_model_weights(name).DEFAULT
    path = _file(weights.url, name)
    _weights.fill(model, renamed(_weights.read(path)), f"{path}")
    steps = weights.transforms()
    return Backbone(
        name=f"torchvision/{name}",
        **cut(model, steps.crop_size[0]).fields(),
        preprocessing=_preprocessing(steps),
        licence=weights.meta.get("license", "BSD-3-Clause"),
        revision=_weights.revision(f"torchvision/{name}", path),
    )


def build(name: str, *, pretrained_form: bool = False, **options: Any) -> nn.Module:
    """A torchvision model with random weights. Raises `UnknownName`.

    `pretrained_form` prepares it for torchvision's own weights: GoogLeNet and Inception v3 then undo the ImageNet
    normalisation inside, for theirs came from TensorFlow.
    """
    models = library().models
    known = models.list_models(module=models)
    if name not in known:
        raise UnknownName("torchvision", name, known, see="See torchvision.models.list_models().")
    if name in ("googlenet", "inception_v3"):
        # Without these it spends a minute on an initialisation, and keeps the two heads that only training uses.
        options = {"aux_logits": False, "init_weights": False, "transform_input": pretrained_form} | options
    return models.get_model(name, weights=None, **options)


def cut(model: nn.Module, size: int) -> Cut:
    """Cut a torchvision classifier at its pooling: the last map or row of tokens before its head is the output.

    Raises `UserError` where the network does not take images of `size` x `size` pixels.
    """
    from torch import Tensor

    from torchgraft.backbones._trunk import Cut, NamedOutput, freeze, without_computing

    extraction = importlib.import_module("torchvision.models.feature_extraction")
    freeze(model)
    head_name, head = list(model.named_children())[-1]
    nodes = [node for node in extraction.get_graph_node_names(model)[1] if node.partition(".")[0] != head_name]
    trunk = extraction.create_feature_extractor(model, nodes[1:])
    _must_take(trunk, size, type(model).__name__)
    # Of a small image the last map may be one place, and could not be told from what comes after the pooling.
    outputs = without_computing(trunk, size if hasattr(model, "image_size") else max(size, _USUAL))
    unpooled = {node: z for node, z in outputs.items() if isinstance(z, Tensor) and _unpooled(z)}
    node, z = list(unpooled.items())[-1]
    layout = "map" if z.ndim == 4 else "tokens"
    width = z.shape[1] if layout == "map" else z.shape[2]
    class_token = layout == "tokens" and hasattr(model, "class_token")
    return Cut(
        module=freeze(NamedOutput(extraction.create_feature_extractor(model, {node: "z"}), "z")),
        layout=layout,
        width=width,
        pooling="avg" if layout == "map" else "cls" if class_token else "mean",
        prefix=int(class_token),
        classifier=head if _takes(head, width) else None,
    )


def library() -> ModuleType:
    """The torchvision library. Raises `UserError` where it is missing or broken."""
    _torchvision_ops.declare()
    try:
        return importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:  # RuntimeError where it was built for another torch
        raise UserError(
            f"torchvision backbones need torchvision: {error}. "
            "Install the version that fits your torch: pip install torchvision."
        ) from error


def _must_take(trunk: nn.Module, size: int, name: str) -> None:
    from torchgraft.backbones._trunk import without_computing

    try:
        without_computing(trunk, size)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(
            f"{name} does not take images of {size} x {size} pixels ({reason}). Give the size that it was trained at; "
            f"most networks of torchvision: {_USUAL}."
        ) from None


def _unpooled(z: Tensor) -> bool:
    """Whether this is a row of tokens, or a map of more than one place."""
    return z.ndim == 3 or (z.ndim == 4 and z.shape[2] * z.shape[3] > 1)


def _takes(head: nn.Module, width: int) -> bool:
    """Whether the head's first weights are a linear map of the pooled features (VGG's take a map of 7 x 7)."""
    from torch import nn

    weighted = [part for part in head.modules() if any(True for _ in part.parameters(recurse=False))]
    return isinstance(weighted[0], nn.Linear) and weighted[0].in_features == width


def _preprocessing(steps: Any) -> ImagePreprocessing:
    return ImagePreprocessing(
        size=steps.crop_size[0],
        resize=steps.resize_size[0],
        mean=tuple(steps.mean),
        std=tuple(steps.std),
        interpolation=steps.interpolation.value,
    )


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of today for the files of then (DenseNet), without the heads that only training uses."""
    return {_OLD_DENSENET.sub(r"\1\2", name): z for name, z in state.items() if not name.startswith(_AUXILIARY)}


def _downloads() -> Path:
    """The download folder of torch, found without importing torch where it is not loaded."""
    if "torch" in sys.modules:
        return Path(sys.modules["torch"].hub.get_dir()) / "checkpoints"
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return Path(os.environ.get("TORCH_HOME", cache / "torch")).expanduser() / "hub" / "checkpoints"


def _file(url: str, name: str) -> Path:
    from torch import hub

    path = _downloads() / Path(url).name
    if path.is_file():
        return path
    checksum = re.search(r"-([0-9a-f]{8,})\.", path.name)
    try:
        with storage(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            hub.download_url_to_file(url, str(path), checksum[1] if checksum else None)
    except (URLError, TimeoutError, ConnectionError) as error:
        raise UserError(
            f"backbone 'torchvision/{name}' is not on this machine, and its address can't be reached ({error}). "
            f"Put the file from {url} into {path.parent}, or use a backbone that is here: `graft list backbones`."
        ) from None
    except RuntimeError as error:
        raise UserError(f"backbone 'torchvision/{name}': {error}. The download is damaged; try again.") from None
    return path


def _offer(name: str, weights: Any) -> Offer:
    model = _shell(name)
    network = cut(model, weights.transforms().crop_size[0])
    return Offer(
        name=f"torchvision/{name}",
        modality="image",
        width=network.width,
        parameters=sum(p.numel() for p in network.module.parameters()),
        size=(_downloads() / Path(weights.url).name).stat().st_size,
        licence=weights.meta.get("license", "BSD-3-Clause"),
        note=f"{weights.transforms().crop_size[0]} px, in torch's download folder",
    )


def _shell(name: str) -> nn.Module:
    """The architecture without memory for its weights, where that works (RegNet reads values as it is built)."""
    import torch

    try:
        with torch.device("meta"):
            return build(name)
    except NotImplementedError:
        return build(name)
