from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import StorageError
from torchgraft.features import _plan
from torchgraft.features._plan import Plan

CUT = """
import sys, time
import numpy as np, torch
from pathlib import Path
from torchgraft.backbones import Backbone, Network
from torchgraft.core.types import ImagePreprocessing, TextPreprocessing
from torchgraft.data import Samples
from torchgraft.features import Store, extract, store
store._FLUSH_ROWS = 16
torch.manual_seed(0)
class Photos(torch.nn.Sequential):
    def forward(self, x):
        time.sleep(float(sys.argv[4]))
        return super().forward(x)
class Texts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(50, 24)
        self.linear = torch.nn.Linear(24, 24)
    def forward(self, ids, mask):
        time.sleep(float(sys.argv[4]))
        return self.linear(self.embedding(ids) * (mask / mask.sum()).unsqueeze(-1))  # differs from batch to batch
class Words:
    padding = 0
    def __call__(self, texts):
        return [[len(word) for word in text.split()] for text in texts]
root, folder, kind, _, threads = sys.argv[1:]
if kind == "image":
    x = sorted(Path(folder).glob("*.jpg"))
    layers = torch.nn.Conv2d(3, 24, 4, stride=4), torch.nn.BatchNorm2d(24), torch.nn.ReLU(), torch.nn.Conv2d(24, 24, 3)
    module, words = Photos(*layers).eval(), None
    preprocessing = ImagePreprocessing(size=32, resize=36, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
else:
    x = ["word " * (1 + i * 7 % 90) + str(i) for i in range(96)]
    module, words, preprocessing = Texts().eval(), Words(), TextPreprocessing(tokenizer="w", max_tokens=99)
backbone = Backbone(name="a", layout="map" if kind == "image" else "tokens", width=24, parameters=1, licence="",
    pooling="avg" if kind == "image" else "mean", revision="slow", preprocessing=preprocessing,
    build=lambda: Network(module=module, tokenizer=words))
n = len(x)
samples = Samples(modality=kind, ids=tuple(map(str, range(n))), x=x, y=np.full(n, -1), classes=(),
    split=np.full(n, ""), root=Path("."))
some = samples.take(np.arange(0, n, 7))  # as a pilot does it: batches of its own, which leave gaps in later ones
extract(some, backbone, store=Store(root), threads=int(threads))
found = extract(samples, backbone, store=Store(root), threads=int(threads))
sys.stdout.buffer.write(found.z.tobytes())
"""
"""Extracts 96 photos of a folder, or texts, and prints the bytes of the features."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return _plan.path(tmp_path, np.array([b"a", b"b"], dtype="S32"))


def test_a_plan_comes_back(place: Path) -> None:
    at = np.array([0, 3, 9, 18])
    _plan.write(place, Plan(at, "frozen"), 19)
    found = _plan.read(place, np.array([3, 18]), 19)
    assert found.at.tolist() == at.tolist()
    assert found.form == "frozen"
    _plan.remove(place)
    _plan.remove(place)
    assert _plan.read(place, np.array([3, 18]), 19).at.tolist() == [3, 18]


def test_a_plan_is_for_samples_in_their_order(tmp_path: Path) -> None:
    keys = np.array([b"a", b"b", b""], dtype="S32")
    names = {_plan.path(tmp_path, some).name for some in (keys, keys[::-1], keys[:2])}
    assert len(names) == 3
    assert all(name.endswith(".plan") for name in names)


def test_a_plan_that_lacks_something_is_made_anew(place: Path) -> None:
    _plan.write(place, Plan(np.array([0, 1]), "frozen"), 5)
    found = _plan.read(place, np.array([1, 4]), 5)
    assert (found.at.tolist(), found.form) == ([1, 4], "")


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"at": "xy", "form": ""}), json.dumps({"form": "eager"})])
def test_a_damaged_plan_is_made_anew(place: Path, text: str) -> None:
    place.write_text(text)
    assert _plan.read(place, np.array([2]), 5).at.tolist() == [2]


def test_where_it_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        _plan.write(tmp_path / "file" / "x.plan", Plan(np.array([0])), 1)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_a_killed_extraction_ends_with_the_same_bits(photos, tmp_path, kind) -> None:
    photos(96)
    store = tmp_path / "store"

    def start(root: Path, pause: float, threads: int) -> subprocess.Popen:
        command = [sys.executable, "-c", CUT, str(root), str(tmp_path), kind, str(pause), str(threads)]
        return subprocess.Popen(command, stdout=subprocess.PIPE)

    def shards() -> int:
        return len(list(store.glob("*/*.safetensors")))

    whole = start(store / "whole", 0, 2).communicate(timeout=120)[0]
    assert len(whole) == 96 * 24 * 4
    process = start(store, 0.1, 1)
    deadline = time.monotonic() + 60
    while process.poll() is None and shards() < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(np.random.default_rng().uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert 2 <= shards() < 96 / 16 + 1
    assert start(store, 0, 2).communicate(timeout=120)[0] == whole
    assert not list(store.glob("*/*.plan"))
