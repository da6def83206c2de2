"""A graft for labels of each pixel: backbone + decoder, calibrated; a scene in, a map of classes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from torchgraft.backbones import Backbone
from torchgraft.core.errors import ArtifactError, DataError
from torchgraft.core.progress import SILENT, Progress
from torchgraft.core.types import State
from torchgraft.data import FRAME_BEFORE, IGNORE, Samples, view_beside
from torchgraft.features.decode import pixels, resized, scaled_shape
from torchgraft.model._inputs import as_samples
from torchgraft.model._scene_check import saved_scenes, verify_scenes
from torchgraft.model.artifact import Artifact, markdown, write
from torchgraft.model.tuned import Tuned, loaded, state_of, under

if TYPE_CHECKING:
    from torchgraft.model.exported import Exported
    from torchgraft.model.scene_network import SceneNetwork

CONSTANT = "constant"
"""The decoder that sees nothing: one answer for every pixel."""

_WHITE = (255, 255, 255)


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoder:
    """A fitted decoder (see `model.decoders`): its name, what it was built with, its weights by name."""

    name: str
    arrays: Mapping[str, np.ndarray]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What a graft says of one image: `classes` H x W uint8 (positions in the graft's classes) and `confidence`
    H x W uint8, the probability of that class times 255. Where it can't be read, `error` says why.
    """

    id: str
    classes: np.ndarray | None = None
    confidence: np.ndarray | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneGraft:
    """p = softmax(decoder(backbone(x)) / temperature) at each pixel x of a scene at `scale` times its size.

    `source` names the backbone in `backbones` (what it was when fitted, as in `Graft`; None: the decoder needs none),
    `tuned` holds its weights where they were trained further, `colours` an RGB colour for each class.

    `views` names further aligned pictures of a scene that it joins with the image (see `model.views`), found beside it
    in `views/<name>/` or given; one that is missing is done without. `joined` names further backbones whose levels the
    decoder reads beside those of `source` (see `model.joined`), `saliency` maps made of the pixels (`model.saliency`).
    """

    source: str | None
    decoder: Decoder
    scale: float
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    method: str
    temperature: float = 1.0
    backbones: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tuned: Mapping[str, Tuned] = field(default_factory=dict)
    views: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()
    saliency: tuple[str, ...] = ()
    task: ClassVar[str] = "segmentation"
    modality: ClassVar[str] = "image"
    gives: ClassVar[str] = "map"

    def predict(self, items: Samples | Sequence[str | Path], *, progress: Progress = SILENT) -> tuple[Scene, ...]:
        """Every pixel of every image; see `scenes` for many of them. Raises `DataError` for what is no image's path."""
        samples = items if isinstance(items, Samples) else as_samples(items, self.modality)
        if samples.modality != self.modality:
            raise DataError(f"this graft was fitted on {self.modality} samples, got {samples.modality}.")
        return tuple(self.scenes(samples.x, views=samples.views, progress=progress))

    def scenes(
        self,
        paths: Sequence[Path],
        *,
        views: Mapping[str, Sequence[Path | None]] | None = None,
        progress: Progress = SILENT,
    ) -> Iterator[Scene]:
        """One `Scene` for each image, in order, each made when it is asked for. One that can't be read has an error.

        `views` holds a file for each image (None: missing) by a view's name; None: what lies beside the images.
        """
        with progress.bar(f"{len(paths)} scenes", len(paths)) as bar:
            for i, path in enumerate(paths):
                try:
                    image = pixels(Path(path).read_bytes())
                    seen = self.seen_beside(Path(path), views and {name: files[i] for name, files in views.items()})
                except (OSError, DataError) as error:
                    yield Scene(id=str(path), error=str(getattr(error, "strerror", None) or error))
                else:
                    classes, confidence = self.answer(image, seen)
                    yield Scene(id=str(path), classes=classes, confidence=confidence)
                bar.advance()

    def seen_beside(self, path: Path, files: Mapping[str, Path | None] | None = None) -> dict[str, np.ndarray]:
        """The views of an image by name: of `files`, or what lies beside it. Raises `DataError`, `OSError`."""
        given = {name: view_beside(path, name) for name in self.views if files is None or name == FRAME_BEFORE}
        found = {name: given[name] if name in given else files.get(name) for name in self.views}
        return {name: pixels(Path(file).read_bytes()) for name, file in found.items() if file is not None}

    def answer(self, image: np.ndarray, views: Mapping[str, np.ndarray] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """H x W x 3 uint8 -> classes and confidence (times 255), both H x W uint8; in tiles where it is large.

        `views` are further pictures of the scene by name; those of another size are scaled to the image's.
        """
        shape = image.shape[:2]
        if self.source is None:
            bias = self.decoder.arrays["bias"].astype(np.float64) / self.temperature
            share = np.exp(bias - bias.max()) / np.exp(bias - bias.max()).sum()
            whole = [int(bias.argmax()), round(255 * share.max())]
            return tuple(np.full(shape, value, dtype=np.uint8) for value in whole)
        from torchgraft.model.tiles import predict_map  # here: it loads torch

        size = scaled_shape(shape, self.scale)
        small = resized(image, size)
        if self.views:
            from torchgraft.model.views import answer

            seen = [small, *(resized(views[name], size) if name in (views or {}) else None for name in self.views)]
            both = answer(self.network, seen, temperature=self.temperature)
            return tuple(resized(one, shape, smooth=False) for one in both)
        classes, confidence = predict_map(self.network, small, temperature=self.temperature)
        return tuple(resized(one, shape, smooth=False) for one in (classes, confidence))

    def exact(self, shape: tuple[int, ...]) -> bool:
        """Whether the answer for an image of H x W is what the network says of the whole: not where it is seen in tiles
        by a network that averages over the image inside (squeeze and excitation).
        """
        from torchgraft.model.tiles import TILE, needed_halo

        small = self.source is None or max(scaled_shape(shape[:2], self.scale)) <= TILE
        if small or (self.views and self.decoder.name != "gated"):  # other joined views are seen as wholes
            return True
        return needed_halo(self.network.scene if self.views else self.network) is not None

    def coloured(self, classes: np.ndarray) -> np.ndarray:
        """A map of classes as H x W x 3 uint8 in the classes' colours; what is no class is white."""
        table = np.full((IGNORE + 1, 3), _WHITE, dtype=np.uint8)
        table[: len(self.colours)] = self.colours
        return table[classes]

    @cached_property
    def network(self) -> SceneNetwork:
        """The network with its weights, frozen. Raises `ArtifactError` where backbone or weights are not as saved."""
        from torchgraft.model.scene_network import SceneNetwork

        if self.views:
            from torchgraft.model.views import ViewNetwork

            built = ViewNetwork.of(self.backbone, self.decoder.name, len(self.classes), views=1 + len(self.views))
        elif self.joined or self.saliency:
            from torchgraft.model.joined import joined_network

            more = [loaded(name, None, self.backbones[name]["revision"]) for name in self.joined]
            width = len(self.classes)
            built = joined_network([self.backbone, *more], self.decoder.name, width, saliency=self.saliency)
        else:
            built = SceneNetwork.of(self.backbone, self.decoder.name, len(self.classes), **self.decoder.options)
        fill(built.decoder, self.decoder.arrays)
        return built.eval().requires_grad_(False)

    @cached_property
    def backbone(self) -> Backbone:
        """The backbone itself. Raises `ArtifactError` where it has other weights than the decoder was fitted on."""
        return loaded(self.source, self.tuned.get(self.source), self.backbones[self.source]["revision"])

    def save(self, path: str | Path, *, check: Samples | None = None, card: str = "") -> None:
        """Write the graft into the folder `path`. The outputs for `check`, a few scenes, are verified at load."""
        config, arrays = self.state()
        stored = saved_scenes(self, check.x[:2]) if check is not None else {}
        write(Path(path), Artifact(config=config, arrays=arrays, check=stored), card=card or self.card())

    def verify(self, check: Mapping[str, np.ndarray]) -> None:
        """Answer the stored scenes again; raises `ArtifactError` where the outputs differ."""
        verify_scenes(self, check)

    def exported(self, check: Mapping[str, np.ndarray], *, size: tuple[int, int] | None = None) -> Exported:
        """What goes into an exported file; see `model.exported_scene`. `OptionError` for what can't be exported."""
        from torchgraft.model.exported_scene import export_scene  # here: it loads torch

        return export_scene(self, check, size)

    def state(self) -> State:
        """Everything the graft is, but for the backbone's own weights: it is named, with its revision."""
        tuned, own = state_of(self.tuned)
        config: dict[str, Any] = {
            "modality": self.modality,
            "task": self.task,
            "method": self.method,
            "classes": list(self.classes),
            "colours": [list(colour) for colour in self.colours],
            "temperature": self.temperature,
            "scale": self.scale,
            "views": list(self.views),
            "joined": list(self.joined),
            "saliency": list(self.saliency),
            "source": self.source,
            "backbones": {name: dict(about) for name, about in self.backbones.items()},
            "decoder": {"name": self.decoder.name, "options": dict(self.decoder.options)},
            "tuned": tuned,
        }
        arrays = {f"decoder.{name}": a for name, a in self.decoder.arrays.items()}
        return config, arrays | own

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> SceneGraft:
        """Undo `state`. Raises `ArtifactError` where a piece is missing or of a kind this version doesn't know."""
        try:
            about = config["decoder"]
            decoder = Decoder(name=about["name"], options=about["options"], arrays=under(arrays, "decoder."))
            _refuse_strange(config, decoder)
            return cls(
                source=config["source"],
                decoder=decoder,
                scale=float(config["scale"]),
                classes=tuple(config["classes"]),
                colours=tuple((int(r), int(g), int(b)) for r, g, b in config["colours"]),
                method=config["method"],
                temperature=float(config["temperature"]),
                backbones=config["backbones"],
                tuned=Tuned.from_state(config["tuned"], arrays),
                views=tuple(config.get("views", ())),
                joined=tuple(config.get("joined", ())),
                saliency=tuple(config.get("saliency", ())),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(
                f"graft.json and model.safetensors don't fit together: {error!r}. Fit again."
            ) from error

    def card(self) -> str:
        """A short model card in Markdown."""
        used = ", ".join(f"{markdown(name)} ({about['licence']})" for name, about in self.backbones.items()) or "none"
        return (
            "# A graft for scenes: one class for each pixel\n\n"
            f"- Method: {self.method}\n- Backbone (licence of its weights): {used}\n"
            f"- Decoder: {markdown(self.decoder.name)}\n- Classes: {', '.join(map(markdown, self.classes))}\n\n"
            "Use it: `graft predict THIS_FOLDER PATH... --out FOLDER`, or in Python\n\n"
            "```python\nimport torchgraft as tg\n\ngraft = tg.load('THIS_FOLDER')\n"
            "scene = graft.predict(['photo.jpg'])[0]\nscene.classes  # H x W\n```\n"
        )


def fill(module: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Put saved weights into a module. Raises `ArtifactError` where they are not exactly its own."""
    import torch

    state = module.state_dict()
    strange = [n for n in {*state, *arrays} if n not in state or n not in arrays or state[n].shape != arrays[n].shape]
    if strange:
        raise ArtifactError(f"the decoder's weights are not complete or of another shape: {sorted(strange)[0]}.")
    with torch.no_grad():
        for name, tensor in state.items():
            tensor.copy_(torch.from_numpy(np.array(arrays[name])))


def _refuse_strange(config: Mapping[str, Any], decoder: Decoder) -> None:
    """Raise `ValueError` for values that no graft has: else they would be found out by a wrong answer."""
    source, width = config["source"], len(config["classes"])
    if (source is None) != (decoder.name == CONSTANT) or (source is not None and source not in config["backbones"]):
        raise ValueError(f"decoder {decoder.name!r} on source {source!r}")
    if any(name not in config["backbones"] for name in config.get("joined", ())):
        raise ValueError(f"backbones {config['joined']}, of which not all are described")
    if not 0 < width <= IGNORE or len(config["colours"]) != width:
        raise ValueError(f"{width} classes and {len(config['colours'])} colours")
    if not (0 < config["temperature"] < np.inf and 0 < config["scale"] < np.inf):
        raise ValueError(f"temperature {config['temperature']}, scale {config['scale']}")
    if source is None and decoder.arrays["bias"].shape != (width,):
        raise ValueError(f"{width} classes and shares of {decoder.arrays['bias'].shape}")
