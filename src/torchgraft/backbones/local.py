"""Your own weights: a folder of the Hugging Face hub, or one with a backbone.toml (architecture, file, mean, std)."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from torchgraft.backbones import _hub, _weights, timm, torchvision, transformers
from torchgraft.backbones.base import Backbone, Offer
from torchgraft.core.errors import OptionError, UserError
from torchgraft.core.options import build, from_toml
from torchgraft.core.types import ImagePreprocessing

if TYPE_CHECKING:
    from torch import nn

_FILE = "backbone.toml"
_BUILT_BY = ("num_classes", "channel_multiplier", "pad_type", "img_size")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What `backbone.toml` says. `mean` and `std` are the weights' own, for pixels in [0, 1].

    `architecture` is `timm/NAME` or `torchvision/NAME`, `weights` a path seen from the folder (or an absolute one).
    `resize` is the short side before the centre crop of `size` (default: size / 0.875). `num_classes` is the number of
    classes of the classifier in the file, where it is not 1000; `channel_multiplier` and `pad_type` belong to timm's
    MobileNets and EfficientNets, `img_size` (the size that the positions in the file are for) to timm's ViTs.
    `imagenet` is the published top-1 accuracy on ImageNet-1k in %.
    """

    architecture: str
    weights: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | None = None
    interpolation: str = "bicubic"
    licence: str = "unknown"
    num_classes: int | None = None
    channel_multiplier: float | None = None
    pad_type: str | None = None
    img_size: int | None = None
    imagenet: float | None = None

    @property
    def options(self) -> dict[str, int | float | str]:
        """What the network is built with, where it is stated."""
        return {name: value for name, value in asdict(self).items() if name in _BUILT_BY and value is not None}


def names() -> list[Offer]:
    """Nothing: a local backbone is named by its folder."""
    return []


def load(name: str) -> Backbone:
    """Load the folder `name`. Raises `UserError` where it is missing or what it holds does not fit together."""
    folder = Path(name).expanduser()
    if folder.is_file():
        raise UserError(
            f"local/{name} is a file. Expected a folder: put a {_FILE} beside the weights (architecture, weights, "
            "size, mean, std) and give the folder."
        )
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist. Expected a folder with {_FILE}, or a transformers folder.")
    if (folder / _FILE).is_file():
        return _described(folder, f"local/{name}")
    if (folder / "config.json").is_file():
        of_timm = {"architecture", "pretrained_cfg"} <= _hub.read_json(folder / "config.json").keys()
        return (timm if of_timm else transformers).from_folder(folder, f"local/{name}")
    raise UserError(
        f"{folder} holds neither {_FILE} (architecture, weights, size, mean, std) "
        "nor config.json (a folder of the Hugging Face hub)."
    )


def _described(folder: Path, name: str) -> Backbone:
    about = _read(folder / _FILE)
    provider, _, architecture = about.architecture.partition("/")
    path = folder / Path(about.weights).expanduser()
    state = _weights.read(path)
    model = _build(provider, architecture, about)
    state = torchvision.renamed(state) if provider == "torchvision" else state
    _weights.fill(model, state, f"{path} for {about.architecture}")
    network = (timm if provider == "timm" else torchvision).cut(model, about.size)
    built = " ".join(f"{key}={value}" for key, value in about.options.items())
    return Backbone(
        name=name,
        **network.fields(),
        preprocessing=ImagePreprocessing(
            size=about.size,
            resize=about.resize or int(about.size / 0.875),
            mean=about.mean,
            std=about.std,
            interpolation=about.interpolation,
        ),
        licence=about.licence,
        revision=_weights.revision(f"{about.architecture} {built}".strip(), path),
        imagenet=about.imagenet,
    )


def _build(provider: str, architecture: str, about: Description) -> nn.Module:
    try:
        return (timm if provider == "timm" else torchvision).build(architecture, **about.options)
    except TypeError as error:
        known = ", ".join(about.options)
        raise OptionError(f"{about.architecture} does not take one of {known}: {error}.") from error


def _read(path: Path) -> Description:
    values = from_toml(path)
    needed = [field.name for field in fields(Description) if field.default is MISSING]
    missing = [name for name in needed if name not in values]
    if missing:
        raise OptionError(f"{path} lacks {', '.join(missing)}. It needs {', '.join(needed)}.")
    about = build(Description, values, where=str(path))
    problems = [
        message
        for wrong, message in (
            (
                about.architecture.partition("/")[0] not in ("timm", "torchvision"),
                "architecture expects timm/NAME or torchvision/NAME",
            ),
            (not 1 <= about.size <= 4096, "size expects 1 to 4096 pixels"),
            (about.resize is not None and about.resize < about.size, "resize expects at least size"),
            (len(about.mean) != 3 or len(about.std) != 3, "mean and std expect three numbers each"),
            (any(not value > 0 for value in about.std), "std expects numbers above 0"),
            (about.interpolation not in ("bicubic", "bilinear"), "interpolation expects bicubic or bilinear"),
            (about.imagenet is not None and not 0 < about.imagenet <= 100, "imagenet expects % above 0, at most 100"),
        )
        if wrong
    ]
    if problems:
        raise OptionError(f"{path}: {'; '.join(problems)}.")
    return about
