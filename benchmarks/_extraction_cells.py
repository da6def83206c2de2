"""What one process of `extraction.py` does. Heavy imports stand inside: a cell loads only what it needs."""

from __future__ import annotations

import csv
import io
import itertools
import resource
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np


def run(job: dict) -> dict:
    """Run one cell by name; what it returns is JSON."""
    kinds = {f.__name__: f for f in (plain, plain_text, ours, in_memory, prepare, peak, copy_photos)}
    return kinds[job["cell"]](job)


def plain(job: dict) -> dict:
    """The loop one would write: Pillow, antialiased resize, eager network, batches of 32."""
    import torch

    backbone = load(job["backbone"])
    paths = photos(job)
    how = backbone.preprocessing
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (how.mean, how.std))

    def loop() -> torch.Tensor:
        found = []
        for start in range(0, len(paths), 32):
            x = np.stack([by_pillow(path, how) for path in paths[start : start + 32]])
            x = torch.from_numpy(x).permute(0, 3, 1, 2).float().div(255).sub(mean).div(std)
            found.append(backbone.module(x).mean((2, 3)))
        return torch.cat(found)

    with torch.inference_mode():
        return measured(loop, len(paths), job["folder"])


def plain_text(job: dict) -> dict:
    """The loop one would write: batches of 32 in the order given, padded to `padding` (0: to the longest)."""
    import torch

    backbone = load(job["backbone"])
    rows = texts(job)

    def loop() -> torch.Tensor:
        found = []
        for start in range(0, len(rows), 32):
            ids = [row[: job["padding"] or None] for row in backbone.tokenizer(rows[start : start + 32])]
            longest = job["padding"] or max(map(len, ids))
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
            padded = torch.tensor([row + [backbone.tokenizer.padding] * (longest - len(row)) for row in ids])
            z = backbone.module(padded, mask)
            found.append((z * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        return torch.cat(found)

    with torch.inference_mode():
        return measured(loop, len(rows), job["folder"])


def ours(job: dict) -> dict:
    """`extract` into an empty store."""
    from torchgraft.features import Store, extract

    backbone, samples = load(job["backbone"]), sampled(job)
    used = []

    def loop() -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            found = extract(samples, backbone, engine=job["engine"], store=Store(folder))
            used.append(found.engine)
            return np.array(found.z)

    return {**measured(loop, len(samples), job["folder"]), "engine": used[0]}


def in_memory(job: dict) -> dict:
    """The engine of `extract` in as many threads, on pixels decoded before."""
    import torch

    from torchgraft.core.runtime import keep_memory
    from torchgraft.features._batches import source, typical
    from torchgraft.features.engine import choose
    from torchgraft.features.extract import _cores

    keep_memory()
    backbone, samples, threads = load(job["backbone"]), sampled(job), _cores()
    torch.set_num_threads(1)
    images, everything = source(samples.x, backbone), np.arange(len(samples))
    batches = [images.load(at).inputs for at in images.plan(everything)]

    def loop() -> np.ndarray:
        engine = choose(
            backbone,
            backbone.pooling,
            typical(images, everything),
            samples=len(samples),
            engine=job["engine"],
            threads=threads,
        )
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(lambda batch: engine(*batch), batches)))

    return measured(loop, len(samples), job["folder"])


def prepare(job: dict) -> dict:
    """Export the engine; for auto, measure which is fastest, as a long job would."""
    from torchgraft.core.runtime import keep_memory
    from torchgraft.features._batches import source, typical
    from torchgraft.features.engine import choose

    keep_memory()
    backbone, samples = load(job["backbone"]), sampled(job)
    batches = typical(source(samples.x, backbone), np.arange(len(samples)))
    return {"engine": choose(backbone, backbone.pooling, batches, samples=10**9, engine=job["engine"]).name}


def peak(job: dict) -> dict:
    """Peak memory of an extraction, features read once."""
    from torchgraft.features import Store, extract

    backbone = load(job["backbone"])
    samples = as_samples(sorted((Path(job["folder"]) / "copies").glob("*.jpg"))[: job["n"]], "image")
    with tempfile.TemporaryDirectory(dir=job["folder"]) as folder:
        found = extract(samples, backbone, store=Store(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak": peak, "rate": len(samples) / found.seconds, "engine": found.engine}


def copy_photos(job: dict) -> dict:
    """Real photos again and again, each with other bytes after its end, so that no two are equal."""
    folder = Path(job["folder"]) / "copies"
    folder.mkdir(exist_ok=True)
    data = [path.read_bytes() for path in sorted(photos({**job, "n": None}), key=lambda p: p.stat().st_size)[:50]]
    for i, content in zip(range(job["copies"]), itertools.cycle(data)):
        (folder / f"{i:06}.jpg").write_bytes(content + i.to_bytes(4, "little"))
    return {}


def measured(loop: Any, n: int, folder: str) -> dict:
    """Wall and CPU rate of one call; the features go to a file in `folder`."""
    start, cpu = time.perf_counter(), time.process_time()
    z = np.asarray(loop())
    wall, work = time.perf_counter() - start, time.process_time() - cpu
    path = Path(folder) / f"{uuid.uuid4().hex}.npy"
    np.save(path, z)
    return {"rate": n / wall, "per_cpu": n / work, "z": str(path), "engine": "eager torch"}


def least_cosine(a: str, b: str) -> float:
    """Least cosine between the rows of two saved arrays."""
    x, y = (np.load(path).astype(np.float64) for path in (a, b))
    return float(((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).min())


def by_pillow(path: Path, how: Any) -> np.ndarray:
    """Decode, resize the short side antialiased, cut the centre: H x W x 3 uint8."""
    from PIL import Image

    with Image.open(io.BytesIO(path.read_bytes())) as image:
        image = image.convert("RGB")
    short = min(image.size)
    width, height = (int(how.resize * side / short) for side in image.size)
    left, top = round((width - how.size) / 2), round((height - how.size) / 2)
    resized = image.resize((width, height), Image.Resampling[how.interpolation.upper()])
    return np.asarray(resized.crop((left, top, left + how.size, top + how.size)))


def load(name: str) -> Any:
    """A backbone; `random/NAME` is timm's NAME with random weights, the same in every process."""
    from torchgraft import backbones

    backbone = _random(name.removeprefix("random/")) if name.startswith("random/") else backbones.load(name)
    backbone.network  # noqa: B018 - building the network and loading its weights is not what is measured
    return backbone


def _random(name: str) -> Any:
    import torch

    from torchgraft.backbones import Backbone, timm

    torch.manual_seed(0)
    model = timm.build(name)
    steps = timm.preprocessing(model)
    return Backbone(
        name=f"random/{name}",
        **timm.cut(model, steps.size).fields(),
        preprocessing=steps,
        licence="none",
        revision=f"random-{name}",
    )


def photos(job: dict) -> list[Path]:
    """The first `n` photos of the data folder (None: all)."""
    return sorted(Path(job["data"]).rglob("*.jpg"))[: job["n"]]


def texts(job: dict) -> list[str]:
    """The first `n` texts of a CSV file."""
    with Path(job["texts"]).open(encoding="utf-8", newline="") as stream:
        return [row["text"] for row in itertools.islice(csv.DictReader(stream), job["n"])]


def sampled(job: dict) -> Any:
    """The photos or texts of a job as samples."""
    return as_samples(texts(job), "text") if "texts" in job else as_samples(photos(job), "image")


def as_samples(x: list, modality: str) -> Any:
    """Plain values as unlabelled samples."""
    from torchgraft.data import Samples

    n = len(x)
    return Samples(
        modality=modality,
        ids=tuple(map(str, range(n))),
        x=x,
        y=np.full(n, -1),
        classes=(),
        split=np.full(n, ""),
        root=Path(),
    )
