from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from torchgraft.core.errors import DataError
from torchgraft.core.types import ImagePreprocessing
from torchgraft.features.decode import decode
from torchgraft.train.augment import AugmentOptions
from torchgraft.train.loader import ArrayLoader, ImageLoader, Subset, TextLoader, outputs
from torchgraft.train.mix import MixOptions
from torchgraft.train.tokens import TokenOptions

HOW = ImagePreprocessing(size=16, resize=20, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    paths = []
    for i, (height, width) in enumerate([(40, 50), (33, 61), (57, 31), (20, 20), (101, 40), (25, 26)]):
        paths.append(folder / f"{i}.{'jpg' if i % 2 else 'png'}")
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def _texts(n: int = 500) -> tuple[list[str], SimpleNamespace]:
    class Words:
        padding = 0

        def __call__(self, texts):
            return [[len(word) for word in text.split()] for text in texts]

    rng = np.random.default_rng(0)
    texts = [" ".join("x" * int(k) for k in rng.integers(1, 9, rng.integers(1, 30))) for _ in range(n)]
    return texts, SimpleNamespace(tokenizer=Words())


def _loaders(photos) -> list:
    texts, backbone = _texts(53)
    return [
        ArrayLoader(np.zeros((53, 2), dtype=np.float32), np.arange(53) % 2),
        TextLoader(texts, np.arange(53) % 2, backbone),
        ImageLoader(photos, np.arange(6) % 2, HOW),
    ]


@pytest.mark.parametrize("batch", [1, 4, 16, 1000])
def test_every_position_comes_once_an_epoch_in_even_batches(photos, batch: int) -> None:
    for loader in _loaders(photos):
        for seed in (None, 0, 5):
            plan = loader.plan(batch, seed)
            assert sorted(np.concatenate(plan).tolist()) == list(range(len(loader)))
            sizes = {len(rows) for rows in plan}
            assert max(sizes) <= batch and max(sizes) - min(sizes) <= 1


def test_the_same_seed_gives_the_same_plan_and_another_seed_another_one(photos) -> None:
    for loader in _loaders(photos):
        one, again, other = (np.concatenate(loader.plan(2, seed)).tolist() for seed in (1, 1, 2))
        assert one == again != other
        assert np.concatenate(loader.plan(2, None)).tolist() == np.concatenate(loader.plan(2, None)).tolist()


def test_texts_meet_texts_of_their_length_and_the_order_stays_random() -> None:
    texts, backbone = _texts(2000)
    loader = TextLoader(texts, None, backbone)
    plan = loader.plan(8, 3)
    spread = [np.ptp(loader.lengths[rows]) for rows in plan]
    assert np.mean(spread) < 2
    first = [loader.lengths[rows].max() for rows in plan]
    assert abs(np.corrcoef(first, np.arange(len(first)))[0, 1]) < 0.2
    measured = [int(loader.lengths[rows].max()) for rows in loader.plan(8, None)]
    assert measured == sorted(measured, reverse=True)


def test_a_text_batch_is_as_long_as_its_longest_text() -> None:
    _, backbone = _texts(1)
    loader = TextLoader(["a bb ccc", "dddd", ""], np.array([0, 1, 1]), backbone)
    batch = loader.load(np.array([1, 0, 2]), None)
    ids, mask = batch.inputs
    assert ids.tolist() == [[4, 0, 0], [1, 2, 3], [0, 0, 0]]
    assert mask.tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert batch.y.tolist() == [1, 0, 1]
    assert loader.load(np.array([2]), None).inputs[0].shape == (1, 1)


def test_tokens_are_dropped_in_training_only() -> None:
    texts, backbone = _texts(20)
    loader = TextLoader(texts, None, backbone, tokens=TokenOptions(dropout=0.5))
    rows = np.arange(20)
    plain, changed = loader.load(rows, None), loader.load(rows, torch.Generator().manual_seed(0))
    mask, padding = plain.inputs[1].bool(), loader.padding
    assert not (plain.inputs[0][mask] == padding).any()
    assert (changed.inputs[0][mask] == padding).any()
    again = loader.load(rows, torch.Generator().manual_seed(0))
    assert torch.equal(changed.inputs[0], again.inputs[0])
    assert plain.y is None


@pytest.mark.parametrize("resize", range(16, 27))
def test_plain_photos_are_those_that_features_see(photos, resize: int) -> None:
    how = ImagePreprocessing(size=16, resize=resize, mean=HOW.mean, std=HOW.std)
    for keep in (1 << 20, 0):
        loader = ImageLoader(photos, None, how, keep=keep)
        x = loader.load(np.arange(6), None).inputs[0]
        for path, found in zip(photos, x, strict=True):
            assert torch.equal(found, decode(path.read_bytes(), how).permute(1, 2, 0))


def test_photos_that_do_not_fit_into_memory_are_decoded_anew(photos) -> None:
    options = AugmentOptions(crop="random", flip=0.5, colour=0.2)
    kept, anew = (ImageLoader(photos, np.arange(6) % 2, HOW, keep=keep).augmented(options) for keep in (1 << 20, 100))
    assert kept.kept is not None and anew.kept is None
    rows = np.array([4, 0, 3])
    one, other = (loader.load(rows, torch.Generator().manual_seed(1)) for loader in (kept, anew))
    assert torch.equal(one.inputs[0], other.inputs[0])
    assert one.y.tolist() == [0, 0, 1]


def test_augmentation_needs_a_generator_and_repeats_with_it(photos) -> None:
    loader = ImageLoader(photos, None, HOW).augmented(AugmentOptions(crop="random", flip=0.5))
    rows = np.arange(6)
    one, again, other = (loader.load(rows, torch.Generator().manual_seed(seed)).inputs[0] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_mixing_gives_soft_targets_in_training_only(photos) -> None:
    loader = ImageLoader(photos, np.arange(6) % 3, HOW, classes=3, mixing=MixOptions(mixup=0.4))
    rows = np.arange(6)
    batch = loader.load(rows, torch.Generator().manual_seed(0))
    assert batch.y.shape == (6, 3)
    assert torch.allclose(batch.y.sum(1), torch.ones(6))
    assert loader.load(rows, None).y.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("keep", [1 << 20, 0])
def test_a_photo_that_became_unreadable_is_named(photos, tmp_path, keep: int) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photos[1].read_bytes()[:200])
    for path in (broken, tmp_path / "gone.jpg"):
        with pytest.raises(DataError, match=rf"{path.name} can't be read any more.*changed during the run"):
            ImageLoader([photos[0], path], None, HOW, keep=keep).load(np.arange(2), None)


def test_a_subset_keeps_the_positions_of_the_whole() -> None:
    whole = ArrayLoader(np.arange(20, dtype=np.float32)[:, None], np.arange(20))
    some = Subset(whole, np.array([3, 5, 8, 13]))
    inner = Subset(some, np.array([5, 13]))
    assert len(some) == 4
    assert sorted(np.concatenate(some.plan(3, 0)).tolist()) == [3, 5, 8, 13]
    assert sorted(np.concatenate(inner.plan(3, 0)).tolist()) == [5, 13]
    assert some.load(np.array([8]), None).y.tolist() == [8]


def test_nothing_makes_no_batch(photos) -> None:
    _, backbone = _texts(1)
    empty = [
        ArrayLoader(np.zeros((0, 2), dtype=np.float32), None),
        TextLoader([], None, backbone),
        ImageLoader([], None, HOW),
    ]
    for loader in empty:
        assert (len(loader), loader.plan(8, 0), loader.plan(8, None)) == (0, [], [])


def test_outputs_come_in_the_order_asked_whatever_the_plan() -> None:
    texts, backbone = _texts(60)
    loader = TextLoader(texts, None, backbone)
    rows = np.array([40, 2, 2, 59, 17, 40])
    found = outputs(
        loader, rows, lambda batch: batch.inputs[1].sum(1, keepdim=True), batch=2, device=torch.device("cpu")
    )
    assert found.dtype == np.float32
    assert found[:, 0].tolist() == loader.lengths[rows].tolist()
    with pytest.raises(DataError, match="nothing to compute"):
        outputs(loader, rows[:0], lambda batch: batch.inputs[0], batch=2, device=torch.device("cpu"))
