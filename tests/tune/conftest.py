"""Small problems with a known answer."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from torchgraft import features
from torchgraft.backbones import Backbone, Network
from torchgraft.core.types import ImagePreprocessing, TextPreprocessing
from torchgraft.data import Masks
from torchgraft.features.mapping import Identity
from torchgraft.train.loader import TextLoader
from torchgraft.train.loss import ClassLoss, LossOptions
from torchgraft.train.step import Batch
from torchgraft.tune import Candidate, Problem
from torchgraft.tune._classifier import Classifier
from torchgraft.tune.base import Resources


def stratified(y: np.ndarray, k: int, seed: int = 0) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """k folds, each holding out every k-th sample of every class."""
    part = np.zeros(len(y), dtype=int)
    order = np.random.default_rng(seed).permutation(len(y))
    for c in np.unique(y):
        members = order[y[order] == c]
        part[members] = np.arange(len(members)) % k
    return tuple((np.flatnonzero(part != i), np.flatnonzero(part == i)) for i in range(k))


@pytest.fixture
def make_problem() -> Callable[..., Problem]:
    """A problem from its blocks and labels, with stratified folds unless given."""

    def make(blocks: dict, y: np.ndarray, *, k: int = 3, classes: int | None = None, folds: tuple = ()) -> Problem:
        names = tuple(f"class {i}" for i in range(classes or int(y.max()) + 1))
        return Problem(blocks=blocks, y=np.asarray(y, dtype=np.int64), classes=names, folds=folds or stratified(y, k))

    return make


@pytest.fixture
def dense_problem(make_problem, blobs) -> Problem:
    """120 samples of 4 classes under one backbone."""
    z, y = blobs(120, 12, 4)
    return make_problem({"packaged/net": z}, y)


@pytest.fixture
def text_problem(make_problem) -> Problem:
    """90 short texts of 3 classes whose words give them away, with weak features beside them."""
    rng = np.random.default_rng(0)
    words = (("apple", "pear"), ("train", "bus"), ("cat", "dog"))
    y = np.arange(90) % 3
    texts = [f"the {rng.choice(words[c])} is {rng.choice(['red', 'big', 'new'])}" for c in y]
    z = rng.normal(size=(90, 6)) + np.eye(6)[y]
    return make_problem({"packaged/net": z.astype(np.float32), "text": texts}, y)


class TinyAttention(nn.Module):
    """One head of attention under a mask."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.value = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:
        scores = (self.query(z) @ z.transpose(1, 2)).masked_fill(mask[:, None] == 0, -1e9)
        return scores.softmax(2) @ self.value(z)


class TinyBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention, self.dense = TinyAttention(width), nn.Linear(width, width)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(0.1)

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:
        return self.norm(z + self.dropout(torch.tanh(self.dense(z + self.attention(z, mask)))))


class TinyText(nn.Module):
    """Three layers: embeddings and two blocks."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, width)
        self.blocks = nn.ModuleList([TinyBlock(width), TinyBlock(width)])

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        z = self.embedding(ids)
        for block in self.blocks:
            z = block(z, mask)
        return z


class Words:
    """A token for each word: its number (w0 to w38), or one made of its letters."""

    padding = 0

    def __call__(self, texts: list[str]) -> list[list[int]]:
        return [[self.token(word) for word in text.split()] for text in texts]

    @staticmethod
    def token(word: str) -> int:
        return int(word[1:]) + 1 if word[1:].isdigit() else sum(map(ord, word)) % 39 + 1


def text_backbone() -> Backbone:
    """Eight values for each token, and a classifier of five classes of pretraining."""
    torch.manual_seed(0)
    network = Network(module=TinyText().eval(), tokenizer=Words(), classifier=nn.Linear(8, 5).eval())
    return _backbone("test/text", network, "tokens", 8, "mean", TextPreprocessing(tokenizer="words", max_tokens=8))


def photo_backbone() -> Backbone:
    """Three convolutions with BatchNorm, the second one 1 x 1: B x 3 x 16 x 16 -> B x 6 x 4 x 4."""
    torch.manual_seed(0)
    chain = [
        nn.Sequential(nn.Conv2d(3, 6, 4, stride=4, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
        nn.Sequential(nn.Conv2d(6, 6, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
        nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
    ]
    network = Network(module=nn.Sequential(*chain).eval())
    steps = ImagePreprocessing(size=16, resize=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return _backbone("test/photo", network, "map", 6, "avg", steps)


def scene_backbone() -> Backbone:
    """Three strided convolutions with BatchNorm: maps of 6, 8 and 10 channels at strides 2, 4 and 8."""
    torch.manual_seed(0)
    chain = [
        nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
        for a, b in ((3, 6), (6, 8), (8, 10))
    ]
    network = Network(module=nn.Sequential(*chain).eval())
    steps = ImagePreprocessing(size=64, resize=64, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return _backbone("test/scene", network, "map", 10, "avg", steps)


def _backbone(name: str, network: Network, layout: str, width: int, pooling: str, preprocessing) -> Backbone:
    network.module.requires_grad_(False)
    return Backbone(
        name=name, layout=layout, width=width, pooling=pooling, parameters=0, preprocessing=preprocessing,
        licence="none", revision="1", build=lambda: network,
    )  # fmt: skip


def _with_resources(problem: Problem, backbone: Backbone, z: Tensor, **more) -> Problem:
    resources = Resources(backbones={backbone.name: backbone}, poolings={backbone.name: backbone.pooling}, **more)
    return replace(problem, blocks={backbone.name: z.numpy(), **problem.blocks}, resources=resources)


@pytest.fixture(scope="session")
def quick_collection() -> None:
    """What is imported by now is passed over by the garbage collector, which runs after every training."""
    import accelerate  # noqa: F401

    gc.collect()
    gc.freeze()


def _trained(problem: Problem, **more) -> Problem:
    """A problem of texts with the tiny transformer to train beside it."""
    backbone = text_backbone()
    ids = torch.tensor(backbone.tokenizer(problem.blocks["text"]))
    with torch.inference_mode():
        z = features.compose(backbone, "mean")(ids, torch.ones_like(ids))
    return _with_resources(problem, backbone, z.clone(), **more)


@pytest.fixture
def trained_text(quick_collection, make_problem, text_problem) -> Callable[..., Problem]:
    """60 texts of 3 classes with a tiny transformer to train; what is given goes to its `Resources`."""

    def make(k: int = 2, **more) -> Problem:
        texts, y = text_problem.blocks["text"][:60], text_problem.y[:60]
        return _trained(make_problem({"text": texts}, y, k=k), **more)

    return make


@pytest.fixture
def hard_text(quick_collection, make_problem) -> Callable[..., Problem]:
    """As `trained_text`, but each class has 13 words, too many for eight random features to tell apart."""

    def make(k: int = 2, **more) -> Problem:
        rng, y = np.random.default_rng(0), np.arange(60) % 3
        texts = [" ".join(f"w{13 * c + i}" for i in rng.integers(0, 13, 3)) for c in y]
        return _trained(make_problem({"text": texts}, y, k=k), **more)

    return make


@pytest.fixture
def trained_photos(quick_collection, tmp_path: Path, make_problem) -> Callable[..., Problem]:
    """24 pictures of 2 classes, reddish and bluish, with a tiny network to train."""

    def make(k: int = 2, **more) -> Problem:
        rng, y, paths = np.random.default_rng(0), np.arange(24) % 2, []
        for i, c in enumerate(y):
            pixels = rng.integers(0, 120, (16, 16, 3))
            pixels[..., 2 * c] += 100
            paths.append(str(tmp_path / f"{i}.png"))
            Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
        backbone = photo_backbone()
        x = torch.from_numpy(np.stack([np.asarray(Image.open(path)) for path in paths]))
        with torch.inference_mode():
            z = features.compose(backbone, "avg")(x)
        return _with_resources(make_problem({"image": paths}, y, k=k), backbone, z.clone(), **more)

    return make


@pytest.fixture
def alone() -> Callable[[Problem], Problem]:
    """A problem whose one fold is fitted and measured on all rows: what is measured is then what is shipped."""

    def make(problem: Problem) -> Problem:
        rows = np.arange(len(problem.y))
        return replace(problem, folds=((rows, rows),))

    return make


@pytest.fixture
def shipped() -> Callable[[Problem, Candidate], np.ndarray]:
    """Logits of all texts by the tuned backbone and the head of a candidate, as a saved graft computes them."""

    def logits(problem: Problem, candidate: Candidate) -> np.ndarray:
        (tuned,), (part,) = candidate.tuned.values(), candidate.parts
        backbone = tuned.backbone(text_backbone())
        ids = torch.tensor(backbone.tokenizer(problem.blocks["text"]))
        with torch.inference_mode():
            z = features.compose(backbone, "mean")(ids, torch.ones_like(ids)).numpy()
        return candidate.head.logits(part.mapping.transform(z))

    return logits


@pytest.fixture
def make_step(hard_text) -> Callable[..., tuple[Classifier, Batch]]:
    """A classifier of 3 classes on the tiny text network, at its start, and a batch of 8 texts."""

    def make(mapping=None) -> tuple[Classifier, Batch]:
        problem, backbone = hard_text(), text_backbone()
        torch.manual_seed(0)
        step = Classifier(backbone, "mean", mapping or Identity(), 3).eval()
        step.loss = ClassLoss(LossOptions(), np.bincount(problem.y))
        rows = np.arange(8)
        return step, TextLoader(problem.blocks["text"], problem.y, backbone).load(rows, None)

    return make


@pytest.fixture
def scene_problem(quick_collection, tmp_path: Path) -> Callable[..., Problem]:
    """12 scenes 40 x 48 of a dark ground and a thing, with masks; what is given goes to its `Resources`.

    The thing's colour says its class; class 0 is the ground, and the top row of each mask is unlabelled (255).
    """

    def make(k: int = 2, n: int = 12, **more) -> Problem:
        rng, images, files = np.random.default_rng(0), [], []
        for i in range(n):
            labels = np.zeros((40, 48), dtype=np.uint8)
            top, left = rng.integers(2, 18, 2)
            labels[top : top + 20, left : left + 20] = 1 + i % 2
            pixels = np.where(
                labels[..., None] == 0, 40, np.where(labels[..., None] == 1, [200, 60, 60], [60, 60, 200])
            )
            pixels = np.clip(pixels + rng.integers(-30, 30, pixels.shape), 0, 255).astype(np.uint8)
            labels[0] = 255
            images.append(tmp_path / f"{i}.png")
            files.append(tmp_path / f"{i}_mask.png")
            Image.fromarray(pixels).save(images[-1])
            Image.fromarray(labels).save(files[-1])
        masks = Masks(paths=tuple(files), values=(0, 1, 2), colours=((0, 0, 0), (255, 0, 0), (0, 0, 255)))
        counts = np.stack([np.bincount(masks.read(i).ravel(), minlength=256)[:3] for i in range(n)])
        backbone = scene_backbone()
        return Problem(
            blocks={"image": images},
            y=np.zeros(n, dtype=np.int64),
            classes=("ground", "red", "blue"),
            folds=stratified(np.arange(n) % 2, k),
            task="segmentation",
            masks=replace(masks, counts=counts),
            resources=Resources(backbones={backbone.name: backbone}, poolings={backbone.name: "avg"}, **more),
        )

    return make
