"""Does memory stay flat from 1 to 64 megapixels, and are tiles equal to the whole image?

One photo of CamVid, enlarged; EfficientNet-Lite0. The linear decoder is a probe fitted here on a few photos, so that
its probabilities are as sure as real ones; the other decoders have random weights. Each size runs in a process of its
own, image and results in mapped files; the peak is of the whole process, torch included. For sizes up to `--whole` a
process more gives the largest difference of a probability between the tiles (smaller ones, so that there are some) and
the whole image at once.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from torchgraft import backbones
from torchgraft.core.runtime import peak_memory
from torchgraft.model.decoders import pixel_features
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.model.softmax import Block, Softmax
from torchgraft.model.tiles import TILE, needed_halo, predict_map, tiled

_CLASSES, _PIXELS = 11, 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/camvid"))
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 4, 16, 64], help="the images' sizes")
    parser.add_argument("--decoder", default="linear", choices=["linear", "deeplabv3plus", "unet"])
    parser.add_argument("--tile", type=int, default=TILE)
    parser.add_argument("--small-tile", type=int, default=256, help="for the comparison with the whole")
    parser.add_argument("--whole", type=float, default=4, help="megapixels up to which the whole is computed as well")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(_cell(json.loads(arguments.cell))))
        return
    with tempfile.TemporaryDirectory() as folder:
        _all(arguments, Path(folder))


def _all(arguments: argparse.Namespace, folder: Path) -> None:
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    network = _network(arguments.decoder)
    if arguments.decoder == "linear":
        _fit(network, arguments.data)
    save_file({k: z.contiguous() for k, z in network.decoder.state_dict().items()}, folder / "decoder.safetensors")
    print(f"{arguments.decoder}: tiles of {arguments.tile}, a halo of {needed_halo(network)} pixels")
    print("| megapixels | image | peak memory, MB | seconds | largest difference to the whole | with half the halo |")
    print("|---|---|---|---|---|---|")
    for size in arguments.megapixels:
        shape = (round(math.sqrt(size * 0.75e6)), round(math.sqrt(size * 0.75e6) / 0.75))
        _enlarge(arguments.data, shape, folder / "image")
        job = {"folder": str(folder), "shape": shape, "decoder": arguments.decoder, "threads": arguments.threads}
        run = _child({**job, "kind": "map", "tile": arguments.tile})
        gaps = ("not computed",) * 2
        if size <= arguments.whole:
            found = _child({**job, "kind": "whole", "tile": arguments.small_tile})
            gaps = (f"{found['full']:.1e}", f"{found['half']:.1e}")
        row = (f"{size:g}", f"{shape[1]} x {shape[0]}", f"{run['peak'] / 1e6:.0f}", f"{run['seconds']:.0f}", *gaps)
        print(f"| {' | '.join(row)} |", flush=True)


def _child(job: dict) -> dict:
    done = subprocess.run(
        [sys.executable, __file__, "--cell", json.dumps(job)], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


def _cell(job: dict) -> dict:
    torch.set_num_threads(job["threads"])
    folder, shape = Path(job["folder"]), tuple(job["shape"])
    network = _network(job["decoder"])
    network.decoder.load_state_dict(load_file(folder / "decoder.safetensors"))
    image = np.memmap(folder / "image", np.uint8, "r", shape=(*shape, 3))
    return _map(network, image, folder, job["tile"]) if job["kind"] == "map" else _gap(network, image, job["tile"])


def _map(network: SceneNetwork, image: np.memmap, folder: Path, tile: int) -> dict:
    shape = image.shape[:2]
    classes = np.memmap(folder / "classes", np.uint8, "w+", shape=shape)
    confidence = np.memmap(folder / "confidence", np.uint8, "w+", shape=shape)
    start = time.perf_counter()
    predict_map(network, image, tile=tile, classes=classes, confidence=confidence)
    return {"peak": peak_memory(), "seconds": time.perf_counter() - start}


def _gap(network: SceneNetwork, image: np.memmap, tile: int) -> dict:
    with torch.inference_mode():
        whole = network(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None])[0].softmax(0)
    half = needed_halo(network) // 2 // network.multiple * network.multiple
    return {name: _largest(network, image, whole, tile, halo) for name, halo in (("full", None), ("half", half))}


def _largest(network: SceneNetwork, image: np.memmap, whole: torch.Tensor, tile: int, halo: int | None) -> float:
    pieces = tiled(network, image, tile=tile, halo=halo)
    return max(float((logits.softmax(0) - whole[:, rows, columns]).abs().max()) for rows, columns, logits in pieces)


def _network(decoder: str) -> SceneNetwork:
    return SceneNetwork.of(backbones.load("packaged/efficientnet_lite0"), decoder, _CLASSES)


def _fit(network: SceneNetwork, data: Path, photos: int = 40) -> None:
    """A logistic regression on a few hundred pixels of every few photos, rare classes drawn more often."""
    paths = sorted((data / "train" / "images").glob("*.jpg"))
    paths = paths[:: max(1, len(paths) // photos)]
    found = [_sampled(network, path) for path in paths]
    z, y = np.concatenate([z for z, _ in found]), np.concatenate([y for _, y in found])
    mean, std = z.mean(0), z.std(0) + 1e-6
    head = Softmax([Block((z - mean) / std)], [1.0], y, np.ones(len(y)), _CLASSES).solve(
        1e-3, tolerance=1e-6, limit=100
    )
    weight = head.weight / std
    network.decoder.from_head(weight, head.bias - weight @ mean)


def _sampled(network: SceneNetwork, path: Path) -> tuple[Any, Any]:
    with Image.open(path) as photo, Image.open(str(path).replace("images", "masks").replace(".jpg", ".png")) as mask:
        x, labels = np.array(photo.convert("RGB")), np.array(mask)
    counts = np.bincount(labels.ravel(), minlength=256).astype(float)
    odds = np.where(labels.ravel() < _CLASSES, 1 / np.sqrt(counts)[labels.ravel()], 0)
    at = np.random.default_rng(len(counts)).choice(labels.size, _PIXELS, replace=False, p=odds / odds.sum())
    full = network.full_size(*labels.shape)
    places = torch.from_numpy(at // labels.shape[1] * full[1] + at % labels.shape[1])[None]
    with torch.inference_mode():
        maps = network.features(torch.from_numpy(x).permute(2, 0, 1)[None])
        z = pixel_features(maps, network.levels.strides, full, places)
    return z[0].numpy(), labels.ravel()[at].astype(np.int64)


def _enlarge(data: Path, shape: tuple[int, int], path: Path) -> None:
    with Image.open(sorted((data / "val" / "images").glob("*.jpg"))[10]) as photo:
        large = photo.convert("RGB").resize(shape[::-1], Image.Resampling.BICUBIC)
    np.asarray(large).tofile(path)


if __name__ == "__main__":
    main()
