"""Photos damaged after the model was fitted: what does `graft predict --adapt` bring, and cost on clean ones?

Hymenoptera's train photos, EfficientNet-Lite0: a linear probe on the frozen network, whose BatchNorm has ImageNet's
statistics, and the network fine-tuned with those of its batches. The 153 val photos are predicted clean, damaged in
ways of ImageNet-C (Hendrycks and Dietterich, ICLR 2019) at one strength each, and the bees alone. Photos are damaged at
256 pixels (short side) and saved without loss. Labels are used to print accuracies, and for nothing else.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image, ImageFilter

from torchgraft.adapt.tent import Options
from torchgraft.core import registry
from torchgraft.core.journal import Journal
from torchgraft.core.progress import SILENT
from torchgraft.fit._inputs import load_data
from torchgraft.fit._sources import gather
from torchgraft.fit.options import FitOptions
from torchgraft.fit.run import make_resources
from torchgraft.model import Graft
from torchgraft.serve.adaptive import answers, fault, own_statistics, stream_of
from torchgraft.tasks.single_label import make_graft, make_problem, measure
from torchgraft.train.loader import ImageLoader

METHODS = {
    "linear_probe": {},
    "full": {"rate": 1e-3, "epochs": 3, "batch": 32, "norm": "train"},
}
"""What is fitted, and its options."""

SIDE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/hymenoptera"))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    arguments = parser.parse_args()
    print(
        f"Batches of {arguments.batch}, rate {arguments.rate:g}. In brackets: what adapting gives without its guard.\n"
    )
    print("| model | photos | as it is | adapted | --adapt | said | seconds |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        photos = {
            name: _damaged(arguments.data / "val", Path(folder) / str(i), damage)
            for i, (name, damage) in enumerate(DAMAGES.items())
        }
        photos["clean, bees alone"] = [path for path in photos["clean"] if path.parent.name == "bees"]
        for method in arguments.methods:
            graft = fitted(arguments.data / "train", method)
            for name, paths in photos.items():
                _print_row(f"{method} | {name}", graft, paths, arguments)


def fitted(train: Path, method: str) -> Graft:
    """What the method gives on `train` (four fifths of it, as in a run), shipped or not."""
    options = FitOptions(target=str(train), backbone="packaged/efficientnet_lite0")
    samples, _ = load_data(options, SILENT)
    sources = gather(samples, (options.backbone,), engine="auto", deadline=float("inf"), progress=SILENT)
    problem, _ = make_problem(sources, options.seed)
    resources = replace(make_resources(sources, None, Journal()), deadline=time.monotonic() + 3600)
    problem = replace(problem, folds=problem.folds[:1], resources=resources)
    entry = registry.get("tune", method)
    chosen = entry.Options(**METHODS[method])
    candidate = entry.fit(problem, chosen)
    rung = SimpleNamespace(method=method, options=chosen)
    found = SimpleNamespace(candidate=candidate, rung=rung, measured=measure(problem, candidate))
    return make_graft(found, problem, sources)


def _print_row(name: str, graft: Graft, photos: list[Path], arguments: argparse.Namespace) -> None:
    y = np.array([graft.classes.index(path.parent.name) for path in photos])
    plain = graft.predict(photos).probabilities
    start = time.process_time()
    stream, backbone = stream_of(graft, Options(batch=arguments.batch, rate=arguments.rate))
    found, _ = answers(stream, ImageLoader(photos, None, backbone.preprocessing, keep=0), SILENT)
    seconds = time.process_time() - start
    few = "too few photos" if len(photos) < 2 * arguments.batch else ""
    reason = few or fault(plain, found, graft.prior, own=own_statistics(graft))
    right = [f"{100 * (p.argmax(axis=1) == y).mean():.1f}" for p in (plain, found, plain if reason else found)]
    print(
        f"| {name} | {' | '.join(right)} | {reason.partition(' (it was')[0] or 'adapted'} | {seconds:.0f} |", flush=True
    )


def _damaged(source: Path, folder: Path, damage: Callable[[Image.Image], Image.Image]) -> list[Path]:
    """Damaged copies of all photos in class folders, as PNG."""
    made = []
    for path in sorted(source.glob("*/*.jpg")):
        with Image.open(path) as image:
            image = image.convert("RGB")
        scale = SIDE / min(image.size)
        image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
        made.append(folder / path.parent.name / f"{path.stem}.png")
        made[-1].parent.mkdir(parents=True, exist_ok=True)
        damage(image).save(made[-1], compress_level=1)
    return made


def _noise(image: Image.Image) -> Image.Image:
    """Standard deviation 0.26 of the range, drawn for each photo from its own size and first pixels."""
    x = np.asarray(image, dtype=np.float64) / 255
    rng = np.random.default_rng([x.shape[1], *np.asarray(image)[0, :4].ravel().tolist()])
    return Image.fromarray((255 * np.clip(x + rng.normal(scale=0.26, size=x.shape), 0, 1)).astype(np.uint8))


def _jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=10)
    return Image.open(stream).convert("RGB")


def _pale(image: Image.Image) -> Image.Image:
    """A fifth of the contrast, about the mean."""
    x = np.asarray(image, dtype=np.float64)
    mean = x.mean(axis=(0, 1))
    return Image.fromarray(np.clip((x - mean) * 0.2 + mean, 0, 255).astype(np.uint8))


DAMAGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "clean": lambda image: image,
    "gaussian noise, sd 0.26": _noise,
    "gaussian blur, 4 pixels": lambda image: image.filter(ImageFilter.GaussianBlur(4)),
    "contrast 0.2": _pale,
    "JPEG quality 10": _jpeg,
}


if __name__ == "__main__":
    main()
