"""Which scenes a report shows, and how mistakes are painted."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from torchgraft.data import Samples
from torchgraft.model import SceneGraft
from torchgraft.tasks._scene_pictures import decoded, errors, gallery
from torchgraft.train.dense_counts import confusions


def _answers(samples: Samples, wrong: list[int]) -> tuple[list[np.ndarray], np.ndarray]:
    """The truth, but for some rows at the bottom that are called sky."""
    truths = [samples.masks.read(i) for i in range(len(samples))]
    answers = [np.where(y == 255, 0, y).astype(np.uint8) for y in truths]
    for answer, rows in zip(answers, wrong, strict=True):
        answer[len(answer) - rows :] = 0
    counts = [confusions(y, answer, 3) for y, answer in zip(truths, answers, strict=True)]
    return answers, np.stack(counts)


def _picture(shown: dict, title: str) -> np.ndarray:
    [uri] = [one["thumbnail"] for one in shown["pictures"] if one["title"] == title]
    data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image).astype(int)


def test_the_worst_the_middle_and_the_best(streets: Callable[..., Samples], always: Callable[..., SceneGraft]) -> None:
    samples = streets(8)
    answers, counts = _answers(samples, [5, 0, 7, 1, 6, 2, 4, 3])
    shown = gallery(samples, answers, counts, always("road"))
    assert [one["id"] for one in shown] == [samples.ids[i] for i in (2, 4, 6, 7, 1, 3)]
    assert [one["note"].split(":")[0] for one in shown] == ["worst"] * 2 + ["median"] * 2 + ["best"] * 2
    assert shown[4]["note"] == "best: mIoU 100.0 %"
    assert [one["title"] for one in shown[0]["pictures"]] == ["image", "truth", "answer", "wrong"]
    truth = always("road").coloured(samples.masks.read(2))
    assert np.abs(_picture(shown[0], "truth") - truth).mean() < 12
    assert np.abs(_picture(shown[0], "answer") - always("road").coloured(answers[2])).mean() < 12


def test_few_scenes_are_shown_once_and_those_without_a_label_not_at_all(streets, always) -> None:
    samples = streets(3)
    answers, counts = _answers(samples, [0, 1, 2])
    counts[1] = 0
    shown = gallery(samples, answers, counts, always("road"))
    assert [one["id"] for one in shown] == [samples.ids[2], samples.ids[0]]


def test_mistakes_are_orange_what_is_right_grey_and_void_white() -> None:
    image = np.full((1, 3, 3), (30, 60, 90), dtype=np.uint8)
    found = errors(image, np.array([[0, 1, 255]]), np.array([[0, 0, 0]]))
    assert found.tolist() == [[[94, 94, 94], [213, 94, 0], [255, 255, 255]]]
    assert found.dtype == np.uint8


def test_packed_answers_are_unpacked() -> None:
    answer = np.random.default_rng(0).integers(0, 11, (7, 9), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(answer).save(out, "PNG")
    np.testing.assert_array_equal(decoded(out.getvalue()), answer)
