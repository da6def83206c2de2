from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from torchgraft.backbones import Network
from torchgraft.core.errors import OptionError, StorageError, UnknownName
from torchgraft.core.files import digest
from torchgraft.core.progress import Bar, Progress
from torchgraft.features._network import compose
from torchgraft.features.decode import decode
from torchgraft.features.engine import choose
from torchgraft.features.extract import extract, store_key
from torchgraft.features.store import Shelf, Store

module = import_module("torchgraft.features.extract")  # the room's name for it is the function

SAME = "ImagePreprocessing(size=32, resize=36, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))"
"""The preprocessing of `photo_backbone`, for scripts."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def one_by_one(paths: list[Path], backbone, pooling: str = "avg") -> np.ndarray:
    """Every photo alone, eager."""
    network = compose(backbone, pooling)
    pixels = [decode(path.read_bytes(), backbone.preprocessing).permute(1, 2, 0)[None] for path in paths]
    with torch.inference_mode():
        return torch.cat([network(x) for x in pixels]).numpy()


class Counting(Progress):
    """Remembers what it is told; raises `error` once `stop` steps are done."""

    def __init__(self, stop: int | None = None, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.total = self.done = 0
        self.stop, self.error = stop, error

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Bar]:
        self.total = total
        owner = self

        class Advancing(Bar):
            def advance(self, n: int = 1) -> None:
                owner.done += n
                if owner.stop is not None and owner.done >= owner.stop:
                    raise owner.error

        yield Advancing()


def test_photos(photos, as_samples, photo_backbone, store) -> None:
    paths = photos(40)
    progress = Counting()
    found = extract(as_samples(paths, "image"), photo_backbone, store=store, progress=progress)
    np.testing.assert_allclose(found.z, one_by_one(paths, photo_backbone), rtol=1e-4, atol=1e-5)
    assert found.z.dtype == np.float32
    assert found.kept.tolist() == list(range(40))
    assert (found.failed, found.noted) == ((), ())
    assert (found.engine, found.computed) == ("torch", 40)
    assert found.seconds > 0
    assert (progress.done, progress.total) == (40, 40)


@pytest.mark.parametrize("pooling", ["max", "avgmax", "gem"])
def test_poolings_have_shelves_of_their_own(photos, as_samples, photo_backbone, store, pooling) -> None:
    paths = photos(3)
    extract(as_samples(paths, "image"), photo_backbone, store=store)
    found = extract(as_samples(paths, "image"), photo_backbone, pooling=pooling, store=store)
    np.testing.assert_allclose(found.z, one_by_one(paths, photo_backbone, pooling), rtol=1e-4, atol=1e-5)


def test_a_second_time_nothing_is_computed(photos, as_samples, photo_backbone, store) -> None:
    paths = photos(20)
    first = extract(as_samples(paths, "image"), photo_backbone, store=store)

    def never() -> Network:
        raise AssertionError("the network was asked for")

    lazy = replace(photo_backbone, build=never)
    again = extract(as_samples(paths[::-1], "image"), lazy, store=store)
    assert (again.engine, again.computed) == ("torch", 0)
    assert (again.z == first.z[::-1]).all()
    grown = extract(as_samples([*paths[:5], *photos(22)[20:]], "image"), photo_backbone, store=store)
    assert grown.computed == 2
    assert (grown.z[:5] == first.z[:5]).all()


def test_what_is_stored_needs_no_torch(photos, as_samples, photo_backbone, store) -> None:
    paths = photos(2)
    extract(as_samples(paths, "image"), photo_backbone, store=store)
    script = f"""
import sys
from pathlib import Path
import numpy as np
from torchgraft.backbones import Backbone
from torchgraft.core.types import ImagePreprocessing
from torchgraft.data import Samples
from torchgraft.features import Store, extract
backbone = Backbone(name="a", layout="map", width=5, pooling="avg", parameters=1, licence="", revision="photo-1",
    build=None, preprocessing={SAME})
samples = Samples(modality="image", ids=("a", "b"), x=[Path(p) for p in sys.argv[2:]], y=np.array([-1, -1]),
    classes=(), split=np.array(["", ""]), root=Path("."))
found = extract(samples, backbone, store=Store(sys.argv[1]))
assert found.z.shape == (2, 5), found
assert "torch" not in sys.modules
"""
    command = [sys.executable, "-c", script, str(store.root), *map(str, paths)]
    done = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_unreadable_photos_are_reported(photos, as_samples, photo_backbone, store, tmp_path) -> None:
    paths = photos(6)
    expected = one_by_one([paths[0], paths[3], paths[5]], photo_backbone)
    paths[1].write_bytes(paths[1].read_bytes()[:300])
    paths[2].write_text("text")
    paths[4] = tmp_path / "absent.jpg"
    found = extract(as_samples(paths, "image"), photo_backbone, store=store)
    assert found.kept.tolist() == [0, 3, 5]
    np.testing.assert_allclose(found.z, expected, rtol=1e-4, atol=1e-5)
    (finding,) = found.failed
    assert (finding.kind, finding.severity, finding.count, finding.action) == ("unreadable", "warning", 3, "left out")
    assert finding.message.startswith("3 of 6 images can't be read. First: id-1: truncated")
    assert [example.split(":")[0] for example in finding.examples] == ["id-1", "id-2", "id-4"]


def test_nothing_readable_and_nothing_at_all(photos, as_samples, photo_backbone, store) -> None:
    paths = photos(3)
    for path in paths:
        path.write_bytes(b"same text")
    found = extract(as_samples(paths, "image"), photo_backbone, store=store)
    assert found.z.shape == (0, 5)
    assert found.failed[0].count == 3
    assert extract(as_samples([], "image"), photo_backbone, store=store).z.shape == (0, 5)


def test_equal_photos_are_computed_once(photos, as_samples, photo_backbone, store) -> None:
    paths = photos(3)
    mixed = [paths[i] for i in (2, 0, 2, 1, 0, 2)]
    found = extract(as_samples(mixed, "image"), photo_backbone, store=store)
    assert found.computed == 3
    np.testing.assert_allclose(found.z, one_by_one(mixed, photo_backbone), rtol=1e-4, atol=1e-5)


def test_features_that_are_not_finite_are_reported(photos, as_samples, photo_backbone, store) -> None:
    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 0 * 0

    backbone = replace(photo_backbone, build=lambda: Network(module=Broken()), width=3, revision="broken")
    found = extract(as_samples(photos(2), "image"), backbone, store=store)
    assert found.z.shape == (0, 3)
    assert "not finite" in found.failed[0].message
    assert store.size() == 0


def test_texts(as_samples, text_backbone, store) -> None:
    texts = [f"{'word ' * (n % 7)}{'x' * (n % 11)}" for n in range(200)]
    network = compose(text_backbone, "mean")
    found = extract(as_samples(texts, "text"), text_backbone, store=store)
    for i in (0, 3, 77, 199):
        ids = torch.tensor(text_backbone.tokenizer([texts[i]]))
        with torch.inference_mode():
            expected = network(ids, torch.ones_like(ids)).numpy()[0]
        np.testing.assert_allclose(found.z[i], expected, rtol=1e-4, atol=1e-5)
    assert found.computed == len(set(texts))


def test_texts_over_the_limit_are_noted_warm_and_cold(as_samples, text_backbone, store) -> None:
    samples = as_samples(["short", "a b c d e f g h i j", "a b c d e f g h i j"], "text")
    for _ in range(2):
        (finding,) = extract(samples, text_backbone, store=store).noted
        assert (finding.kind, finding.severity, finding.count) == ("long_text", "note", 2)
        assert finding.message == "2 of 3 texts reach the 8 tokens that test/text can take"
        assert finding.examples == ("id-1", "id-2")


def test_what_is_no_text_is_reported(as_samples, text_backbone, store) -> None:
    found = extract(as_samples(["good", None, 3.5, ""], "text"), text_backbone, store=store)
    assert found.kept.tolist() == [0, 3]
    assert found.failed[0].count == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_was_finished_stays(photos, as_samples, photo_backbone, store, error) -> None:
    samples = as_samples(photos(80), "image")
    with pytest.raises(error):
        extract(samples, photo_backbone, store=store, threads=1, progress=Counting(stop=32, error=error))
    again = extract(samples, photo_backbone, store=store)
    assert again.computed == 80 - 32
    assert torch.get_num_threads() >= 1


def test_a_damaged_shard_is_computed_again(photos, as_samples, photo_backbone, store) -> None:
    samples = as_samples(photos(5), "image")
    first = extract(samples, photo_backbone, store=store)
    (shard,) = store.root.glob("*/*.safetensors")
    shard.write_bytes(b"damaged")
    again = extract(samples, photo_backbone, store=store)
    assert again.computed == 5
    assert (again.z == first.z).all()


def test_a_store_that_can_not_be_written_is_told(photos, as_samples, photo_backbone, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"a file of that name is in the way|is a file"):
        extract(as_samples(photos(1), "image"), photo_backbone, store=Store(tmp_path / "file"))


def test_a_full_disk_in_the_middle_keeps_what_was_written(
    photos, as_samples, photo_backbone, store, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = as_samples(photos(64), "image")
    add: Callable = Shelf.add
    calls = []

    def full(self: Shelf, *rest: np.ndarray) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise StorageError("the disk is full")
        add(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Shelf, "add", full)
        with pytest.raises(StorageError):
            extract(samples, photo_backbone, store=store, threads=1)
    assert extract(samples, photo_backbone, store=store).computed == 64 - 32


def test_wrong_calls(photos, as_samples, photo_backbone, text_backbone, store) -> None:
    samples = as_samples(photos(1), "image")
    with pytest.raises(OptionError, match="test/text takes text samples, got image samples"):
        extract(samples, text_backbone, store=store)
    with pytest.raises(OptionError, match="Arrays are features already"):
        extract(replace(samples, modality="array"), photo_backbone, store=store)
    with pytest.raises(OptionError, match="no pooling 'meen'"):
        extract(samples, photo_backbone, pooling="meen", store=store)
    with pytest.raises(UnknownName, match="engines has no 'tensorrt'"):
        extract(samples, photo_backbone, engine="tensorrt", store=store)
    with pytest.raises(OptionError, match="threads expects"):
        extract(samples, photo_backbone, threads=0, store=store)


def test_threads_and_torch_settings(photos, as_samples, photo_backbone, store) -> None:
    before = torch.get_num_threads()
    samples = as_samples(photos(40), "image")
    one = extract(samples, photo_backbone, store=Store(store.root / "1"), threads=1)
    many = extract(samples, photo_backbone, store=Store(store.root / "4"), threads=4)
    np.testing.assert_allclose(one.z, many.z, rtol=1e-5, atol=1e-6)
    assert torch.get_num_threads() == before


def test_the_key_names_what_features_depend_on(photo_backbone) -> None:
    base = store_key(photo_backbone, "avg")
    bilinear = replace(photo_backbone.preprocessing, interpolation="bilinear")
    others = [
        store_key(photo_backbone, "max"),
        store_key(replace(photo_backbone, revision="2"), "avg"),
        store_key(replace(photo_backbone, preprocessing=bilinear), "avg"),
    ]
    assert len({base, *others}) == 4
    assert store_key(replace(photo_backbone, name="another/name"), "avg") == base


def test_a_cut_extraction_goes_on_with_its_engine_and_its_batches(
    photos, as_samples, photo_backbone, store, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = as_samples(photos(80), "image")
    forms, sizes = [], []

    def noted(*rest: Any, form: str, **named: Any) -> Any:
        forms.append(form)
        made = choose(*rest, form=form or "frozen", **named)

        class Watched:
            name, form = made.name, made.form

            def __call__(self, x: np.ndarray) -> np.ndarray:
                sizes.append(len(x))
                return made(x)

        return Watched()

    monkeypatch.setattr(module, "choose", noted)
    extract(samples.take(np.arange(3, 80, 16)), photo_backbone, store=store, threads=1)
    with pytest.raises(KeyboardInterrupt):
        extract(samples, photo_backbone, store=store, threads=1, progress=Counting(stop=20))
    sizes.clear()
    again = extract(samples, photo_backbone, store=store, threads=1)
    assert forms == ["", "", "frozen"]
    assert sizes == [16, 16, 11]  # of the 75 that the pilot left, in batches of 16; two were there
    assert again.computed == 75 - 32
    assert not list(store.root.glob("*/*.plan"))


def test_what_the_store_holds_keeps_its_values(photos, as_samples, photo_backbone, store) -> None:
    samples = as_samples(photos(32), "image")
    with pytest.raises(KeyboardInterrupt):
        extract(samples, photo_backbone, store=store, threads=1, progress=Counting(stop=16))
    shelf = store.shelf(store_key(photo_backbone, "avg"), 5)
    keys = np.array([digest([path.read_bytes()]) for path in samples.x[20:22]], dtype="S32")
    shelf.add(keys, np.full((2, 5), 7, np.float32), np.zeros(2, np.uint8))  # as another process may have put it there
    shelf.flush()
    found = extract(samples, photo_backbone, store=store)
    assert (found.z[20:22] == 7).all()
    assert found.computed == 14


@pytest.mark.shared
def test_real_photos_with_every_engine(shared_data: Path, as_samples, store) -> None:
    from torchgraft import backbones
    from torchgraft.features.engine import others

    backbone = backbones.load("packaged/efficientnet_lite0")
    paths = sorted((shared_data / "imagenet_200").glob("*.jpg"))[:8]
    reference = one_by_one(paths, backbone)
    for name in ("torch", *others()):
        found = extract(as_samples(paths, "image"), backbone, engine=name, store=Store(store.root / name))
        cosine = (found.z * reference).sum(1) / np.linalg.norm(found.z, axis=1) / np.linalg.norm(reference, axis=1)
        assert found.engine == name
        assert cosine.min() > 0.99999
