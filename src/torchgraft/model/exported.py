"""What of a graft goes into an exported file: one network from pixels or numbers to probabilities, and how to use it.

Reading a file, turning it upright and resizing a photo stay outside; all that comes after is inside.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from torchgraft import __version__, features
from torchgraft.core.errors import ArtifactError, OptionError
from torchgraft.core.types import ImagePreprocessing
from torchgraft.features.decode import decode
from torchgraft.model._exported_modules import head_module, mapping_module
from torchgraft.model._inputs import as_samples

if TYPE_CHECKING:
    from torchgraft.model.graft import Graft

Case = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
"""(the values of each input, what the graft itself answers: the values of each output)."""

_RANDOM = 4
"""Samples that are made up where a graft has none stored."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Exported:
    """`module` (in eval mode) takes `inputs` in their order and gives `outputs`; both name the axes whose size is free.

    `cases` are of so many `samples`, real where `stored`, made-up else; the first serves as the example. `usage` is a
    few lines of Python in which MODEL stands for the file's name. `fixable`: it may be exported for one size alone.
    """

    module: nn.Module
    inputs: Mapping[str, Mapping[int, str]]
    outputs: Mapping[str, Mapping[int, str]]
    cases: tuple[Case, ...]
    samples: int
    stored: bool
    metadata: Mapping[str, str]
    usage: str
    fixable: bool = False

    def fixed(self) -> Exported:
        """The same for inputs of the first case's shape alone."""
        shapes = [{name: x.shape for name, x in inputs.items()} for inputs, _ in self.cases]
        cases = tuple(case for case, shape in zip(self.cases, shapes, strict=True) if shape == shapes[0])
        none: dict[str, dict[int, str]] = {name: {} for name in self.inputs}
        outputs: dict[str, dict[int, str]] = {name: {} for name in self.outputs}
        return replace(self, inputs=none, outputs=outputs, cases=cases, samples=len(cases), fixable=False)


class LabelNetwork(nn.Module):
    """Inputs -> B x C probabilities: softmax(head(mapped features, side by side) / temperature).

    `networks` are (input, network) for each source, `parts` (source, mapping).
    """

    def __init__(
        self,
        networks: Sequence[tuple[int, nn.Module]],
        parts: Sequence[tuple[int, nn.Module]],
        head: nn.Module,
        temperature: float,
    ) -> None:
        super().__init__()
        self.reads, self.networks = [i for i, _ in networks], nn.ModuleList(network for _, network in networks)
        self.sources, self.mappings = [i for i, _ in parts], nn.ModuleList(mapping for _, mapping in parts)
        self.head = head
        self.temperature = temperature

    def forward(self, *inputs: Tensor) -> Tensor:
        """Probabilities."""
        z = [network(inputs[i]) for i, network in zip(self.reads, self.networks, strict=True)]
        mapped = [mapping(z[i]) for i, mapping in zip(self.sources, self.mappings, strict=True)]
        return (self.head(torch.cat(mapped, 1)) / self.temperature).softmax(1)


def export_labels(graft: Graft, check: Mapping[str, np.ndarray], size: tuple[int, int] | None = None) -> Exported:
    """A graft that gives labels: photos B x size x size x 3 uint8, or B x D float32 -> probabilities B x C.

    Photos are resized and cut as the metadata say. `check` holds the samples that were stored with the graft.
    Raises `OptionError`, with all reasons, for what has no form in ONNX: texts, a head of neighbours, no features.
    """
    mappings, head = _pieces(graft, size)
    sources = list(dict.fromkeys(part.source for part in graft.parts))
    inputs = _inputs(graft, sources)
    read_by = [next(i for i, read in enumerate(inputs.values()) if source in read.sources) for source in sources]
    cases = _cases(graft, inputs, check)
    module = LabelNetwork(
        [(i, _network(graft, source)) for i, source in zip(read_by, sources, strict=True)],
        [(sources.index(part.source), mapping) for part, mapping in zip(graft.parts, mappings, strict=True)],
        head,
        graft.temperature,
    )
    about = {"threshold": str(graft.threshold), "prior": json.dumps(list(graft.prior))}
    return Exported(
        module=module.eval(),
        inputs={name: {0: "B"} for name in inputs},
        outputs={"probabilities": {0: "B"}},
        cases=cases,
        samples=len(cases[0][1]["probabilities"]),
        stored="input.0" in check,
        metadata=metadata(graft, {name: read.about() for name, read in inputs.items()}) | about,
        usage=_usage(inputs),
    )


def metadata(graft: Any, preprocessing: Mapping[str, Any]) -> dict[str, str]:
    """What every exported file says of its graft; what is not a word or a number is JSON."""
    return {
        "torchgraft": __version__,
        "task": graft.task,
        "method": graft.method,
        "classes": json.dumps(list(graft.classes), ensure_ascii=False),
        "temperature": str(graft.temperature),
        "backbones": json.dumps({name: dict(about) for name, about in graft.backbones.items()}, ensure_ascii=False),
        "preprocessing": json.dumps(preprocessing, ensure_ascii=False),
    }


@dataclass(frozen=True)
class _Input:
    """What one input holds: photos prepared in one way (`how`) for some sources, or rows (`how` None)."""

    sources: tuple[str, ...]
    how: ImagePreprocessing | None = None

    @property
    def resize(self) -> int:
        return max(self.how.resize, self.how.size)

    def read(self, items: Sequence[np.ndarray]) -> np.ndarray:
        """Stored samples as the input takes them."""
        if self.how is None:
            return np.stack(items).astype(np.float32)
        photos = [decode(item.tobytes(), self.how).permute(1, 2, 0).numpy() for item in items]
        return np.ascontiguousarray(np.stack(photos))

    def about(self) -> dict[str, Any]:
        if self.how is None:
            return {"outside": "none", "layout": "B x D float32"}
        how = self.how
        return {
            "outside": "upright (EXIF), RGB, the short side resized (antialiased), the centre cut out",
            "resize": self.resize,
            "size": how.size,
            "interpolation": how.interpolation,
            "layout": "B x size x size x 3 uint8",
            "inside": "(x / 255 - mean) / std",
            "mean": list(how.mean),
            "std": list(how.std),
        }

    def in_python(self) -> str:
        """How a Pillow image `photo` is made fit."""
        margin, end = (self.resize - self.how.size) // 2, (self.resize + self.how.size) // 2
        cut = f".crop(({margin}, {margin}, {end}, {end}))" if margin else ""
        how = f"Image.Resampling.{self.how.interpolation.upper()}"
        return f"ImageOps.fit(photo, ({self.resize}, {self.resize}), {how}){cut}"


def _pieces(graft: Graft, size: tuple[int, int] | None) -> tuple[list[nn.Module], nn.Module]:
    """The mappings and the head as modules. Raises `OptionError` with all that stands against it."""
    problems = []
    if graft.modality == "text":
        problems.append("it reads texts, and words become numbers outside of any network")
    if not graft.parts:
        problems.append("it reads nothing: its answer is the same for every sample")
    strange = {part.source for part in graft.parts} - {*graft.backbones, "array"}
    if strange and graft.modality == "image":
        problems.append(f"it reads {', '.join(sorted(strange))}, which is no backbone")
    if size is not None:
        problems.append("a size was given, and this model's inputs have one size of their own: leave it out")
    made: list[nn.Module] = []
    pieces = [*((mapping_module, part.mapping) for part in graft.parts), (head_module, graft.head)]
    for make, piece in pieces if graft.parts else ():
        try:
            made.append(make(piece))
        except OptionError as error:
            problems.append(str(error))
    if problems:
        raise OptionError(f"this model ({graft.method}) can't be exported: {'; '.join(dict.fromkeys(problems))}.")
    return made[:-1], made[-1]


def _inputs(graft: Graft, sources: Sequence[str]) -> dict[str, _Input]:
    """The inputs by name: one for each way in which photos are prepared."""
    if graft.modality == "array":
        return {"features": _Input(tuple(sources))}
    ways: dict[tuple[Any, ...], list[str]] = {}
    for source in sources:
        how = graft.loaded[source].preprocessing
        ways.setdefault((how.size, max(how.resize, how.size), how.interpolation), []).append(source)
    names = ["image"] if len(ways) == 1 else [f"image_{i + 1}" for i in range(len(ways))]
    return {
        name: _Input(tuple(read), graft.loaded[read[0]].preprocessing)
        for name, read in zip(names, ways.values(), strict=True)
    }


def _network(graft: Graft, source: str) -> nn.Module:
    if source not in graft.backbones:
        return nn.Identity()
    return features.compose(graft.loaded[source], graft.backbones[source]["pooling"])


def _cases(graft: Graft, inputs: Mapping[str, _Input], check: Mapping[str, np.ndarray]) -> tuple[Case, ...]:
    """All samples together, and the first one alone: batches may have any size."""
    count = sum(name.startswith("input.") for name in check)
    items = [check[f"input.{i}"] for i in range(count)] or _made_up(graft)
    with tempfile.TemporaryDirectory(prefix="torchgraft-export-") as folder:
        blocks, kept, failed = graft.blocks(
            as_samples(_as_given(items, graft.modality, Path(folder)), graft.modality),
            store=features.Store(Path(folder) / "store"),
        )
        if failed or not len(kept):
            raise ArtifactError("check.safetensors is damaged: a stored sample can't be read. Copy the folder again.")
        expected = np.exp(graft.log_probabilities(blocks))
    values = {name: one.read(items) for name, one in inputs.items()}
    alone = {name: x[:1] for name, x in values.items()}
    return (values, {"probabilities": expected}), (alone, {"probabilities": expected[:1]})


def _as_given(items: Sequence[np.ndarray], modality: str, folder: Path) -> Any:
    if modality == "array":
        return np.stack(items)
    paths = [folder / f"{i}.image" for i in range(len(items))]
    for path, item in zip(paths, items, strict=True):
        path.write_bytes(item.tobytes())
    return paths


def _made_up(graft: Graft) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    if graft.modality == "array":
        return list(rng.normal(size=(_RANDOM, _width(graft))).astype(np.float32))
    return [png(random_photo(rng, (240, 320))) for _ in range(_RANDOM)]


def _width(graft: Graft) -> int:
    """D, the numbers of a sample, from the first mapping that knows it, else from the head."""
    for part in graft.parts:
        first = (getattr(part.mapping, "mappings", None) or (part.mapping,))[0]
        if hasattr(first, "mean"):
            return len(first.mean)
    weight = getattr(graft.head, "inner", getattr(graft.head, "weight", None))
    total = sum(graft.head.widths) if weight is None else weight.shape[1]
    return total // len(graft.parts)


def random_photo(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """H x W x 3 uint8: soft patches of colour."""
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return np.asarray(coarse.resize(shape[::-1], Image.Resampling.BILINEAR))


def png(image: np.ndarray) -> np.ndarray:
    """The bytes of a PNG file."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return np.frombuffer(out.getvalue(), dtype=np.uint8)


def _usage(inputs: Mapping[str, _Input]) -> str:
    if "features" in inputs:
        return (
            "import numpy as np, onnxruntime\n"
            "session = onnxruntime.InferenceSession(MODEL)\n"
            'x = np.load("features.npy").astype(np.float32)  # N x D\n'
            'print(session.run(None, {"features": x})[0])  # N x classes'
        )
    made = "".join(f"{name} = {one.in_python()}\n" for name, one in inputs.items())
    values = ", ".join(f'"{name}": np.asarray({name})[None]' for name in inputs)
    return (
        "import numpy as np, onnxruntime\n"
        "from PIL import Image, ImageOps\n"
        'photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")\n'
        f"{made}session = onnxruntime.InferenceSession(MODEL)\n"
        f"print(session.run(None, {{{values}}})[0])  # 1 x classes"
    )
