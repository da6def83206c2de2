"""The task of scenes from samples to scores: with the majority, whose every number is known by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from torchgraft.core.errors import DataError
from torchgraft.core.progress import Progress
from torchgraft.data import Samples
from torchgraft.evaluate import boundary_counts, boundary_score, overlap_score, paired_overlap
from torchgraft.model import Decoder, SceneGraft, Tuned
from torchgraft.tasks import segmentation
from torchgraft.train.dense_counts import confusions
from torchgraft.tune import pixel_majority
from torchgraft.tune.base import DenseCandidate, Problem


def _counts(samples: Samples, answer: int) -> np.ndarray:
    truths = [samples.masks.read(i) for i in range(len(samples))]
    return np.stack([confusions(y, np.full_like(y, answer), 3) for y in truths])


def _sources(samples: Samples, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(samples=samples, about={}, **more)


def _entry(problem: Problem) -> SimpleNamespace:
    candidate = pixel_majority.fit(problem, pixel_majority.Options())
    measured = segmentation.measure(problem, candidate)
    return SimpleNamespace(candidate=candidate, measured=measured, rung=SimpleNamespace(method="pixel_majority"))


def test_scenes_are_given_a_split_only_where_there_are_two_classes(streets: Callable[..., Samples]) -> None:
    samples = segmentation.prepare(streets(8), seed=0, test=False)
    assert not (samples.split == "test").any()
    masks = replace(samples.masks, counts=np.array([[9, 0, 0]] * 8))
    with pytest.raises(DataError, match="pixels of one class only to learn from"):
        segmentation.prepare(replace(samples, masks=masks), seed=0, test=False)


def test_the_problem_holds_all_but_the_test_part(streets: Callable[..., Samples]) -> None:
    samples = segmentation.prepare(streets(train=4, val=2, test=2), seed=0, test=True)
    problem, rows = segmentation.make_problem(_sources(samples), 5)
    assert samples.split[rows].tolist() == ["train"] * 4 + ["val"] * 2
    assert (problem.task, problem.seed, problem.classes) == ("segmentation", 5, ("sky", "road", "car"))
    assert problem.blocks["image"] == [samples.x[i] for i in rows]
    [(fit, held)] = problem.folds
    assert (fit.tolist(), held.tolist()) == ([0, 1, 2, 3], [4, 5])
    np.testing.assert_array_equal(problem.masks.read(5), samples.masks.read(int(rows[5])))


def test_a_rung_is_measured_by_its_counts(streets: Callable[..., Samples]) -> None:
    samples = segmentation.prepare(streets(train=5, val=3), seed=0, test=False)
    problem, rows = segmentation.make_problem(_sources(samples), 0)
    entry = _entry(problem)
    held = samples.take(rows[problem.held_out])
    np.testing.assert_array_equal(entry.measured.counts, _counts(held, 1))
    assert entry.measured.metrics[segmentation.PRIMARY].value == pytest.approx(
        overlap_score(entry.measured.counts, samples.classes)["miou"]["value"]
    )
    graft = segmentation.make_graft(entry, problem, _sources(samples))
    assert (graft.source, graft.method, graft.temperature) == (None, "pixel_majority", entry.measured.temperature)
    assert (graft.classes, graft.colours) == (samples.classes, samples.masks.colours)
    assert dict(graft.backbones) == {}


@pytest.mark.parametrize("trained", [False, True])
def test_a_graft_names_the_backbone_it_stands_on(streets: Callable[..., Samples], trained: bool) -> None:
    samples = streets(4)
    problem, _ = segmentation.make_problem(_sources(samples), 0)
    own = Tuned(base="some/net", revision="1", arrays={"w": np.ones(2, dtype=np.float32)})
    candidate = DenseCandidate(
        source=own.name if trained else "some/net",
        decoder=Decoder(name="linear", arrays={}),
        scale=0.5,
        rows=np.arange(4),
        counts=np.zeros((4, 3, 3), dtype=int),
        logits=np.zeros((1, 3)),
        labels=np.zeros(1),
        tuned={own.name: own} if trained else {},
    )
    entry = SimpleNamespace(
        candidate=candidate, measured=SimpleNamespace(temperature=2.0), rung=SimpleNamespace(method="x")
    )
    about = {"name": "some/net", "revision": "1", "licence": "MIT"}
    graft = segmentation.make_graft(entry, problem, SimpleNamespace(samples=samples, about={"some/net": about}))
    expected = {own.name: {**about, "name": own.name, "base": "some/net", "revision": own.digest}}
    assert graft.backbones == (expected if trained else {"some/net": about})
    assert (graft.source, graft.scale, graft.temperature, set(graft.tuned)) == (
        candidate.source,
        0.5,
        2.0,
        {own.name} if trained else set(),
    )


def test_scores_are_those_of_the_maps(streets: Callable[..., Samples], always: Callable[..., SceneGraft]) -> None:
    samples, told = streets(4), []

    class Told(Progress):
        def bar(self, what: str, total: int):
            told.append((what, total))
            return super().bar(what, total)

    scores, failed = segmentation.evaluate(always("road"), samples, progress=Told())
    expected = overlap_score(_counts(samples, 1), samples.classes)
    truths = [samples.masks.read(i) for i in range(4)]
    lines = np.stack([boundary_counts(y, np.ones_like(y), 3) for y in truths])
    outlines = boundary_score(lines, samples.classes)
    assert {key: scores[key] for key in expected if key != "per_class"} == {
        key: value for key, value in expected.items() if key != "per_class"
    }
    assert scores["boundary_f1"] == outlines["boundary_f1"]
    assert scores["per_class"] == [
        {**row, "boundary_f1": line["f1"]}
        for row, line in zip(expected["per_class"], outlines["per_class"], strict=True)
    ]
    assert (scores["images"], failed, told) == (4, (), [("checking images and masks", 4), ("4 scenes", 4)])


def test_two_are_compared_scene_by_scene(streets: Callable[..., Samples], always: Callable[..., SceneGraft]) -> None:
    samples = streets(6)
    report, _ = segmentation.compare(always("car"), always("road"), samples)
    for key, name in (("a", "car"), ("b", "road")):
        assert report[key] == segmentation.evaluate(always(name), samples)[0]
    assert report["paired"] == paired_overlap(_counts(samples, 2), _counts(samples, 1), samples.classes)
    assert report["paired"]["beats"]
    with pytest.raises(DataError, match="where they know the same classes: sky, road, car"):
        segmentation.compare(always("car"), always("road", classes=("sky", "road", "bus")), samples)


def test_scenes_without_a_mask_are_left_out(streets: Callable[..., Samples], always: Callable[..., SceneGraft]) -> None:
    samples = streets(4)
    hidden = replace(samples, y=np.array([0, -1, 0, -1]))
    scores, _ = segmentation.evaluate(always("road"), hidden)
    assert scores == segmentation.evaluate(always("road"), samples.take([0, 2]))[0]
    with pytest.raises(DataError, match="has no mask"):
        segmentation.evaluate(always("road"), replace(samples, y=np.full(4, -1)))


def test_what_cannot_be_measured_is_said(streets: Callable[..., Samples], always: Callable[..., SceneGraft]) -> None:
    samples = streets(4)
    with pytest.raises(DataError, match=r"holds no masks\. Expected images/ and masks/"):
        segmentation.evaluate(always("road"), replace(samples, task="single_label", masks=None))
    with pytest.raises(DataError, match="has the classes sky, road, car; this graft knows sky, road, bus"):
        segmentation.evaluate(always("road", classes=("sky", "road", "bus")), samples)
    samples.x[2].write_bytes(b"no image")
    scores, findings = segmentation.evaluate(always("road"), samples)
    assert scores["images"] == 3, "what can't be read is left out and said"
    assert [(one.kind, one.count) for one in findings] == [("unreadable", 1)]


def test_classes_in_another_order_are_the_same_classes(streets: Callable[..., Samples], always) -> None:
    samples = streets(4)
    graft = always("road")
    turned = replace(graft, classes=("car", "road", "sky"), colours=graft.colours)
    one, two = (segmentation.evaluate(g, samples)[0] for g in (graft, turned))
    by_class = [{row["class"]: row["support"] for row in scores["per_class"]} for scores in (one, two)]
    assert by_class[0] == by_class[1]


def _outcome(samples: Samples, problem: Problem, rows: np.ndarray, graft: SceneGraft, entry: Any) -> SimpleNamespace:
    return SimpleNamespace(
        sources=_sources(samples),
        graft=graft,
        entries=[entry],
        verdict=SimpleNamespace(index=0),
        options=SimpleNamespace(seed=0),
        rows=rows,
    )


def test_a_report_measures_the_test_part_once(streets: Callable[..., Samples]) -> None:
    samples = segmentation.prepare(streets(train=4, val=2, test=2), seed=0, test=True)
    problem, rows = segmentation.make_problem(_sources(samples), 0)
    entry = _entry(problem)
    graft = segmentation.make_graft(entry, problem, _sources(samples))
    report = segmentation.report(_outcome(samples, problem, rows, graft, entry))
    assert report["test"] == segmentation.evaluate(graft, samples.of("test"))[0]
    assert report["held_out"] == overlap_score(entry.measured.counts, samples.classes)
    assert {one["id"] for one in report["pictures"]} == set(samples.of("test").ids)
    assert report["legend"][1] == {"class": "road", "colour": [128, 64, 128]}


def test_without_a_test_part_held_out_scenes_are_shown(streets: Callable[..., Samples]) -> None:
    samples = segmentation.prepare(streets(train=4, val=3), seed=0, test=False)
    problem, rows = segmentation.make_problem(_sources(samples), 0)
    entry = _entry(problem)
    packed = []
    for i in rows[problem.held_out]:
        path = samples.root / f"answer{i}.png"
        Image.fromarray(np.ones_like(samples.masks.read(int(i)))).save(path)
        packed.append(path.read_bytes())
    entry.candidate = replace(entry.candidate, answers=tuple(packed))
    graft = segmentation.make_graft(entry, problem, _sources(samples))
    report = segmentation.report(_outcome(samples, problem, rows, graft, entry))
    assert report["test"] is None
    assert {one["id"] for one in report["pictures"]} == set(samples.of("val").ids)
