from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft.backbones import Network, timm
from torchgraft.core.errors import MissingExtra, UnknownName, UserError
from torchgraft.core.progress import Progress
from torchgraft.core.types import ImagePreprocessing
from torchgraft.features import _torch
from torchgraft.features import engine as room
from torchgraft.features._network import ImageNetwork, compose
from torchgraft.features._pool_modules import MapPool
from torchgraft.features.engine import agreement, choose, others
from torchgraft.features.pooling import pool

PREPROCESSING = ImagePreprocessing(size=32, resize=36, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
INSTALLED = [name for name in room.ENGINES if name == "torch" or name in others()]


class Lines(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCHGRAFT_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def photos_in() -> list[tuple[np.ndarray]]:
    rng = np.random.default_rng(0)
    return [(rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8),) for n in (1, 4)]


@pytest.fixture
def texts_in() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    shapes = ((2, 3), (5, 7))
    made = [(rng.integers(1, 50, shape), np.ones(shape, dtype=np.int64)) for shape in shapes]
    made[1][1][:3, 4:] = 0
    return made


def by_hand(backbone, x: np.ndarray) -> np.ndarray:
    """Normalise, run, pool, as the words say it."""
    preprocessing = backbone.preprocessing
    scaled = (torch.from_numpy(x).double() / 255).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(v, dtype=torch.double).view(1, 3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    with torch.inference_mode():
        return pool(backbone)(backbone.module(((scaled - mean) / std).float())).numpy()


@pytest.mark.parametrize("name", INSTALLED)
def test_photos_agree_with_the_words(photo_backbone, photos_in, name) -> None:
    engine = choose(photo_backbone, "avg", photos_in, samples=10**6, engine=name)
    assert engine.name == name
    for n in (4, 1, 3):
        z = engine(photos_in[1][0][:n])
        assert z.dtype == np.float32
        np.testing.assert_allclose(z, by_hand(photo_backbone, photos_in[1][0][:n]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", INSTALLED)
def test_texts_of_any_shape(text_backbone, texts_in, name) -> None:
    engine = choose(text_backbone, "mean", texts_in, samples=10**6, engine=name, threads=2)
    network = compose(text_backbone, "mean")
    for shape in ((1, 1), (3, 8), (5, 2)):
        ids, mask = np.full(shape, 3), np.ones(shape, dtype=np.int64)
        mask[0, 1:] = 0
        with torch.inference_mode():
            expected = network(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        np.testing.assert_allclose(engine(ids, mask), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in INSTALLED if name != "torch"])
def test_exports_are_kept_and_mended(photo_backbone, photos_in, own_cache, monkeypatch, name) -> None:
    first = choose(photo_backbone, "gem", photos_in, samples=10, engine=name)(*photos_in[1])
    module = importlib.import_module(f"torchgraft.features._{name}")
    (model,) = [path for path in own_cache.glob(f"engines/*/{name}/*") if path.suffix in (".onnx", ".xml")]
    written = model.stat().st_mtime_ns
    assert (choose(photo_backbone, "gem", photos_in, samples=10, engine=name)(*photos_in[1]) == first).all()
    assert model.stat().st_mtime_ns == written
    model.write_bytes(b"damaged")
    built = module.build(compose(photo_backbone, "gem"), photos_in[1], model.parent.parent, 1)
    np.testing.assert_allclose(built(*photos_in[1]), first, rtol=1e-5)


def test_folded_batch_norm(photos_in) -> None:
    """Two folds (the second convolution has no bias), one norm with nothing before it, one after another module."""
    torch.manual_seed(0)
    conv, other = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, bias=False)
    layers = nn.BatchNorm2d(3), conv, nn.BatchNorm2d(4), other, nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)
    for norm in layers:
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
    network = ImageNetwork(nn.Sequential(*layers), MapPool("avg"), PREPROCESSING).eval()
    plain = _torch.eager(network)
    built = _torch.folded(plain)
    assert (plain.form, built.form) == ("eager", "folded")
    assert [type(layer).__name__ for layer in built.module.module] == [
        "BatchNorm2d", "Conv2d", "Identity", "Conv2d", "Identity", "ReLU", "BatchNorm2d",
    ]  # fmt: skip
    np.testing.assert_allclose(built(*photos_in[1]), plain(*photos_in[1]), rtol=1e-4, atol=1e-5)
    assert isinstance(network.module[2], nn.BatchNorm2d)


def test_folded_batch_norm_of_timm(photos_in) -> None:
    """Its batch norm activates too: that stays, and a network without it would give other features."""
    torch.manual_seed(0)
    trunk = timm.cut(timm.build("mobilenetv2_100"), 32).module.eval()
    for norm in (part for part in trunk.modules() if isinstance(part, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.1, 0.1)
        norm.running_var.uniform_(0.5, 2)
    plain = _torch.eager(ImageNetwork(trunk, MapPool("avg"), PREPROCESSING))
    built = _torch.folded(plain)
    assert built.form == "folded"
    assert not any(isinstance(part, nn.BatchNorm2d) for part in built.module.modules())
    np.testing.assert_allclose(built(*photos_in[1]), plain(*photos_in[1]), rtol=1e-3, atol=1e-5)


def test_a_fold_that_changes_features_is_not_used(photo_backbone, photos_in) -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)
            self.norm.running_mean.copy_(torch.tensor([1.0, -2.0, 3.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(self.norm(x))

    torch.manual_seed(0)
    network = Network(module=Backwards().eval())
    backbone = replace(photo_backbone, build=lambda: network, width=3, revision="backwards")
    assert choose(backbone, "avg", photos_in, samples=1).form == "eager"
    assert choose(photo_backbone, "avg", photos_in, samples=1).form == "folded"


@pytest.mark.parametrize("form", ["folded", "frozen", *INSTALLED[1:]])
def test_a_form_is_taken_up_again(photo_backbone, photos_in, form) -> None:
    name = "torch" if form in ("folded", "frozen") else form
    for wanted in ("auto", name):
        built = choose(photo_backbone, "avg", photos_in, samples=1, engine=wanted, form=form)
        assert (built.name, built.form) == (name, form)
    for bad in ("eager", "strange", ""):  # this network folds; and whatever a file may say
        assert choose(photo_backbone, "avg", photos_in, samples=1, form=bad).form in ("eager", "folded")
    if "onnxruntime" in INSTALLED and form != "onnxruntime":
        assert (
            choose(photo_backbone, "avg", photos_in, samples=1, engine="onnxruntime", form=form).name == "onnxruntime"
        )


def test_the_backbone_stays_as_it_is(photo_backbone, photos_in) -> None:
    before = {name: (value.clone(), value.stride()) for name, value in photo_backbone.module.state_dict().items()}
    choose(photo_backbone, "avg", photos_in, samples=10**6, engine="torch")
    for name, value in photo_backbone.module.state_dict().items():
        assert torch.equal(value, before[name][0])
        assert value.stride() == before[name][1]


def test_small_jobs_stay_eager(photo_backbone, photos_in, own_cache, monkeypatch) -> None:
    monkeypatch.setattr(room, "_roughly", lambda *_: 1e-4)
    monkeypatch.setattr(room, "_seconds_per_sample", lambda *_: 1e-4)
    for samples in (1, 1000, 35_000):
        engine = choose(photo_backbone, "avg", photos_in, samples=samples)
        assert (engine.name, engine.form) == ("torch", "folded")
    built = choose(photo_backbone, "avg", photos_in, samples=10**5)
    assert built.form == "frozen"
    assert isinstance(built.module, torch.jit.ScriptModule)
    assert not (own_cache / "engines").exists()


def test_jobs_of_few_samples_are_not_measured(photo_backbone, photos_in, monkeypatch) -> None:
    """One sample is run; a job of a hundred would spend a third of its time on more."""
    ran: list[int] = []
    plain = _torch.TorchEngine.__call__

    def counted(engine, *inputs) -> np.ndarray:
        ran.append(len(inputs[0]))
        return plain(engine, *inputs)

    monkeypatch.setattr(_torch.TorchEngine, "__call__", counted)
    assert choose(photo_backbone, "avg", photos_in, samples=100).form == "folded"
    assert ran == [1, 1, 1]  # folded, what it must agree with, and the clock


def test_rough_seconds_go_by_elements(monkeypatch) -> None:
    """0.2 s for 2 texts of 3 tokens; 7 texts in all, of 41 tokens: 0.2 / 6 * 41 / 7 s each."""
    clock = iter((1.0, 1.2))
    monkeypatch.setattr(room.time, "process_time", lambda: next(clock))
    batches = [(np.zeros((2, 3)), np.zeros((2, 3))), (np.zeros((5, 7)), np.zeros((5, 7)))]
    assert room._roughly(lambda *_: None, batches) == pytest.approx(0.2 / 6 * 41 / 7)


def test_long_jobs_measure_once_and_remember(photo_backbone, photos_in, own_cache, monkeypatch) -> None:
    if not others():
        pytest.skip("no engine beside torch is installed")
    cost = {"torch": 3.0, "onnxruntime": 2.0, "openvino": 1.0}
    timed: list[str] = []

    def seconds(engine, batches, repeats=1) -> float:
        timed.append(engine.name)
        return cost[engine.name]

    monkeypatch.setattr(room, "_seconds_per_sample", seconds)
    monkeypatch.setattr(room, "_roughly", lambda *_: 1.0)
    progress = Lines()
    best = min(("torch", *others()), key=cost.__getitem__)
    assert choose(photo_backbone, "avg", photos_in, samples=100, progress=progress).name == best
    assert timed == ["torch", "torch", *others()]
    assert "measuring which engine runs test/photo" in progress.lines[0]
    (path,) = own_cache.glob("engines/*/choice.json")
    assert json.loads(path.read_text())["engine"] == best
    assert [found.name for found in path.parent.iterdir() if found.is_dir()] == [best]
    assert choose(photo_backbone, "avg", photos_in, samples=100, progress=progress).name == best
    assert timed == ["torch", "torch", *others(), "torch"]  # only the estimate
    path.write_text("{")
    choose(photo_backbone, "avg", photos_in, samples=100)
    assert len(timed) > 6


def test_an_engine_that_fails_is_passed_over(photo_backbone, photos_in, own_cache, monkeypatch) -> None:
    monkeypatch.setattr(room, "others", lambda: ("onnxruntime",))
    monkeypatch.setattr(room, "_seconds_per_sample", lambda *_: 1.0)
    monkeypatch.setattr(room, "_roughly", lambda *_: 1.0)
    from torchgraft.features import _onnxruntime

    def broken(*_: object) -> None:
        raise ImportError("libsomething.so: cannot open shared object file")

    monkeypatch.setattr(_onnxruntime, "build", broken)
    progress = Lines()
    assert choose(photo_backbone, "avg", photos_in, samples=100, progress=progress).name == "torch"
    assert "onnxruntime is passed over: ImportError: libsomething.so" in progress.lines[1]
    (path,) = own_cache.glob("engines/*/choice.json")
    assert "libsomething" in json.loads(path.read_text())["skipped"]["onnxruntime"]


def test_other_features_are_refused(photo_backbone, photos_in, monkeypatch) -> None:
    class Other:
        name = form = "torch"

        def __call__(self, x: np.ndarray) -> np.ndarray:
            return np.random.default_rng(len(x)).normal(size=(len(x), 5)).astype(np.float32)

    pytest.importorskip("onnxruntime")
    from torchgraft.features import _onnxruntime

    monkeypatch.setattr(_onnxruntime, "build", lambda *_: Other())
    with pytest.raises(UserError, match=r"engine 'onnxruntime' can't run test/photo: its features differ"):
        choose(photo_backbone, "avg", photos_in, samples=100, engine="onnxruntime")


def test_what_can_not_be_traced_runs_eagerly(photo_backbone, photos_in) -> None:
    class Stubborn(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.jit.is_tracing():
                raise RuntimeError("no")
            return x[:, :, ::8, ::8]

    backbone = replace(photo_backbone, build=lambda: Network(module=Stubborn()), width=3, revision="stubborn")
    assert choose(backbone, "avg", photos_in, samples=10**9, engine="torch")(*photos_in[1]).shape == (4, 3)


def test_names(photo_backbone, photos_in, monkeypatch) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'onnxruntime'"):
        choose(photo_backbone, "avg", photos_in, samples=1, engine="onnxruntme")
    monkeypatch.setattr(room, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"pip install 'torchgraft\[onnx\]'"):
        choose(photo_backbone, "avg", photos_in, samples=1, engine="onnxruntime")
    with pytest.raises(MissingExtra, match=r"pip install 'torchgraft\[openvino\]'"):
        choose(photo_backbone, "avg", photos_in, samples=1, engine="openvino")


def test_agreement_by_hand() -> None:
    a = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    assert agreement(a, a) == pytest.approx(1)
    assert agreement(a[:2], np.array([[2.0, 0.0], [1.0, 0.0]])) == pytest.approx(0.5**0.5)
    assert not agreement(a, np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])) > 0
    assert not agreement(np.array([[np.nan, 1.0]]), a[:1]) > 0


def test_tracing_leaves_warnings_as_they_were(photo_backbone, photos_in) -> None:
    import logging
    import warnings

    before = list(warnings.filters), logging.getLogger("torch.onnx").level
    _torch.trace(compose(photo_backbone, "avg"), photos_in[1])
    assert (list(warnings.filters), logging.getLogger("torch.onnx").level) == before
