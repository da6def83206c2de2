from __future__ import annotations

import numpy as np
import pytest

from torchgraft.core.errors import DataError
from torchgraft.features import _batches as room
from torchgraft.features._batches import CUT, source, typical
from torchgraft.features.decode import decode


def test_photos_are_read_in_order(photos, photo_backbone) -> None:
    paths = photos(20)
    images = source(paths, photo_backbone)
    plan = list(images.plan(np.arange(20)))
    assert [len(at) for at in plan] == [16, 4]
    batch = images.load(plan[1])
    assert batch.at.tolist() == [16, 17, 18, 19]
    expected = decode(paths[17].read_bytes(), photo_backbone.preprocessing).permute(1, 2, 0)
    assert (batch.inputs[0][1] == expected.numpy()).all()
    assert batch.keys[1] == images.key(17)


def test_unreadable_photos_leave_the_batch(photos, photo_backbone) -> None:
    paths = photos(3)
    paths[1].write_text("no photo")
    batch = source(paths, photo_backbone).load(np.arange(3))
    assert batch.at.tolist() == [0, 2]
    assert batch.inputs[0].shape == (2, 32, 32, 3)
    assert "not an image" in batch.failed[1]


def test_keys_are_of_the_content(photos, photo_backbone, tmp_path) -> None:
    paths = photos(2)
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(paths[0].read_bytes())
    images = source([*paths, copy, tmp_path / "absent.jpg", tmp_path, "a\0b"], photo_backbone)
    assert images.key(0) == images.key(2) != images.key(1)
    for position, reason in ((3, "does not exist"), (4, "a folder"), (5, "can't be opened")):
        with pytest.raises(DataError, match=reason):
            images.key(position)


def test_texts_of_like_length_go_together(text_backbone, monkeypatch) -> None:
    monkeypatch.setattr(room, "TOKENS", 8)
    texts = ["a", "a b c d", "a b c", "", "a b c d e f g h i", "a b"]
    batches = [source(texts, text_backbone).load(pairs) for pairs in source(texts, text_backbone).plan(np.arange(6))]
    assert [batch.at.tolist() for batch in batches] == [[4], [1, 2], [5, 0, 3]]
    ids, mask = batches[1].inputs
    assert ids.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert [batch.flags.tolist() for batch in batches] == [[CUT], [0, 0], [0, 0, 0]]


def test_every_text_is_in_one_batch(text_backbone, monkeypatch) -> None:
    monkeypatch.setattr(room, "CHUNK", 7)
    texts = ["w " * (n % 9) for n in range(50)]
    texts_in = source(texts, text_backbone)
    at = [p for pairs in texts_in.plan(np.arange(50)) for p in texts_in.load(pairs).at.tolist()]
    assert sorted(at) == list(range(50))


def test_batches_stay_as_they_are_when_only_some_are_wanted(photos, photo_backbone, text_backbone, monkeypatch) -> None:
    monkeypatch.setattr(room, "CHUNK", 20)
    monkeypatch.setattr(room, "TOKENS", 16)
    texts = source(["w " * (n % 9) for n in range(50)], text_backbone)
    images = source(photos(40), photo_backbone)
    for made, n in ((texts, 50), (images, 40)):
        wanted = np.zeros(n, dtype=bool)
        wanted[[3, 33]] = True
        at = np.delete(np.arange(n), 7)
        everything = [made.load(item).at.tolist() for item in made.plan(at)]
        some = [made.load(item).at.tolist() for item in made.plan(at, wanted)]
        assert some == [batch for batch in everything if {3, 33} & set(batch)]
        assert len(some) == 2


def test_strange_texts(text_backbone) -> None:
    texts = source(["\ud800 x", None, "a\0b"], text_backbone)
    assert len(texts.key(0)) == 32
    assert texts.load(next(texts.plan(np.array([0, 2])))).at.tolist() == [0, 2]
    with pytest.raises(DataError, match="not a text but NoneType"):
        texts.key(1)


def test_typical_batches(photos, photo_backbone, text_backbone) -> None:
    paths = photos(20)
    paths[0].write_bytes(b"")
    assert [inputs[0].shape[0] for inputs in typical(source(paths, photo_backbone), np.arange(20))] == [1, 15]
    assert typical(source(paths, photo_backbone), np.arange(1)) == []
    texts = source(["a " * n for n in range(1, 70)], text_backbone)
    sizes = [inputs[0].size for inputs in typical(texts, np.arange(69))]
    assert sizes == sorted(sizes)
