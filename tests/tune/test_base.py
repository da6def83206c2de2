from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from torchgraft.core import registry
from torchgraft.core.options import build
from torchgraft.features.mapping import mapping_from_state
from torchgraft.model.graft import assemble
from torchgraft.model.heads import head_from_state
from torchgraft.tune import Problem
from torchgraft.tune._path import take

METHODS = registry.names("tune")
DENSE = tuple(name for name in METHODS if getattr(registry.get("tune", name), "TASK", "") == "segmentation")
TRAINED = tuple(n for n in METHODS if n not in DENSE and getattr(registry.get("tune", n), "TRAINS", False))
LOOKING = tuple(name for name in METHODS if getattr(registry.get("tune", name), "LOOKS", False))
FITTED = tuple(name for name in METHODS if name not in (*TRAINED, *DENSE, *LOOKING))


def test_every_method_has_a_test():
    assert [name for name in METHODS if not (Path(__file__).parent / f"test_{name}.py").is_file()] == []


def test_held_out_rows_follow_the_folds():
    folds = ((np.array([0, 1]), np.array([2])), (np.array([1, 2]), np.array([0])))
    problem = Problem(blocks={"text": ["a", "b", "c"]}, y=np.array([0, 1, 0]), classes=("p", "q"), folds=folds)
    assert problem.held_out.tolist() == [2, 0]
    assert problem.dense == ()


@pytest.mark.parametrize("name", METHODS)
def test_offers_what_the_room_asks_for(name):
    method = registry.get("tune", name)
    assert dataclasses.fields(method.Options) is not None
    assert method.Options.__dataclass_params__.frozen
    assert build(method.Options, {}) == method.Options()
    assert isinstance(method.TRANSFER, bool)
    assert method.__doc__.partition("\n")[0].endswith(".")


@pytest.mark.parametrize("name", FITTED)
class TestContract:
    def test_says_what_it_saw(self, name, text_problem):
        method = registry.get("tune", name)
        assert method.applies(text_problem) == ""
        candidate = method.fit(text_problem, method.Options())
        assert candidate.rows.tolist() == text_problem.held_out.tolist()
        assert candidate.logits.shape == (len(candidate.rows), 3)
        assert candidate.logits.dtype == np.float64
        assert np.isfinite(candidate.logits).all()
        assert candidate.note

    def test_is_the_same_each_time(self, name, text_problem):
        method = registry.get("tune", name)
        one, two = (method.fit(text_problem, method.Options()) for _ in range(2))
        np.testing.assert_array_equal(one.logits, two.logits)
        for key, value in one.head.state()[1].items():
            np.testing.assert_array_equal(value, two.head.state()[1][key])

    def test_never_looks_at_held_out_rows(self, name, make_problem, text_problem):
        """The logits of a held-out row don't change, but in scale, with what else is held out."""
        method = registry.get("tune", name)
        fit, held = text_problem.folds[0]
        one = make_problem(text_problem.blocks, text_problem.y, folds=((fit, held),))
        kept = held[: len(held) // 2]
        rows = np.concatenate([fit, kept])
        blocks = {source: take(values, rows) for source, values in text_problem.blocks.items()}
        folds = ((np.arange(len(fit)), np.arange(len(fit), len(rows))),)
        two = make_problem(blocks, text_problem.y[rows], folds=folds)
        options = _one_setting(method)
        ours, others = method.fit(one, options).logits[: len(kept)], method.fit(two, options).logits
        fold, other = (m / max(m.std(), 1e-9) for m in (ours, others))  # a temperature may have been fitted
        assert np.abs(fold - other).max() < 0.1

    def test_survives_saving(self, name, text_problem):
        method = registry.get("tune", name)
        candidate = method.fit(text_problem, method.Options())
        parts = [
            type(part)(part.source, mapping_from_state(part.mapping.kind, *part.mapping.state()))
            for part in candidate.parts
        ]
        head = head_from_state(candidate.head.kind, *candidate.head.state())
        expected = candidate.head.logits(assemble(candidate.parts, text_problem.blocks))
        np.testing.assert_allclose(head.logits(assemble(parts, text_problem.blocks)), expected, atol=1e-4)

    def test_a_class_of_one_sample_and_a_class_of_none(self, name, make_problem, text_problem):
        method = registry.get("tune", name)
        y = text_problem.y.copy()
        y[0] = 3
        fit = np.arange(30, 90)  # the only sample of class 3 is held out; class 4 has none at all
        problem = make_problem(text_problem.blocks, y, classes=5, folds=((fit, np.arange(30)),))
        candidate = method.fit(problem, method.Options())
        p = np.exp(candidate.logits - np.logaddexp.reduce(candidate.logits, axis=1, keepdims=True))
        assert np.isfinite(candidate.logits).all()
        assert (p[:, 3:] <= 1 / len(np.unique(y))).all()
        assert (candidate.logits.argmax(axis=1) < 3).all()
        assert (candidate.head.logits(assemble(candidate.parts, problem.blocks)).argmax(axis=1) < 4).all()


@pytest.mark.parametrize("name", TRAINED)
class TestContractOfTraining:
    def test_says_why_it_can_not_run(self, name, text_problem):
        assert registry.get("tune", name).applies(text_problem) == "there is no backbone to train"

    def test_says_what_it_saw_is_the_same_each_time_and_survives_saving(self, name, hard_text):
        one, two = (_trained(name, hard_text()) for _ in range(2))
        assert one.rows.tolist() == hard_text().held_out.tolist()
        assert one.logits.shape == (60, 3)
        assert one.logits.dtype == np.float64
        assert np.isfinite(one.logits).all()
        assert one.note
        assert one.history
        np.testing.assert_array_equal(one.logits, two.logits)
        (tuned,), (again,) = one.tuned.values(), two.tuned.values()
        assert tuned.digest == again.digest
        assert one.parts[0].source == tuned.name == "tuned/test/text"
        head = head_from_state(one.head.kind, *one.head.state())
        z = np.random.default_rng(0).normal(size=(5, 8))
        np.testing.assert_allclose(head.logits(z), two.head.logits(z), atol=1e-4)

    def test_a_class_of_one_sample_and_a_class_of_none(self, name, hard_text):
        problem = hard_text()
        y = problem.y.copy()
        y[0] = 3  # held out, so that no sample of class 3 is fitted on; class 4 has none at all
        names = tuple(f"class {i}" for i in range(5))
        folds = ((np.arange(20, 60), np.arange(20)),)
        candidate = _trained(name, dataclasses.replace(problem, y=y, classes=names, folds=folds))
        assert np.isfinite(candidate.logits).all()
        assert (candidate.logits.argmax(axis=1) < 3).all()


def _trained(name, problem):
    method = registry.get("tune", name)
    assert method.applies(problem) == ""
    return method.fit(problem, build(method.Options, {"rate": 1e-2, "epochs": 4, "batch": 10}))


def _one_setting(method):
    """Options that leave nothing to choose on held-out rows; methods without such options choose from one penalty."""
    fields = method.Options.__dataclass_fields__
    fixed = {"shrinkages": (), "scales": (1.0,), "penalties": (1.0,), "neighbours": (3,)}
    return method.Options(**{key: value for key, value in fixed.items() if key in fields})


@pytest.mark.parametrize("name", DENSE)
class TestContractOfDenseMethods:
    def test_says_what_it_saw_and_is_the_same_each_time(self, name, scene_problem):
        problem = scene_problem()
        problem = dataclasses.replace(problem, views={"other": tuple(problem.blocks["image"])})
        (first,) = problem.resources.backbones.values()
        known = {first.name: first, "test/other": dataclasses.replace(first, name="test/other", revision="2")}
        problem = dataclasses.replace(problem, resources=dataclasses.replace(problem.resources, backbones=known))
        one, two = (_dense(name, problem) for _ in range(2))
        assert one.rows.tolist() == problem.held_out[: len(one.rows)].tolist()
        np.testing.assert_array_equal(one.counts.sum(2), problem.masks.counts[one.rows], "every labelled pixel")
        np.testing.assert_array_equal(one.counts, two.counts)
        assert one.logits.shape == (len(one.labels), 3) and one.logits.dtype == np.float64
        assert np.isfinite(one.logits).all() and one.labels.max() < 3
        assert one.note
        for key, value in one.decoder.arrays.items():
            np.testing.assert_array_equal(value, two.decoder.arrays[key])


def _dense(name: str, problem: Problem):
    method = registry.get("tune", name)
    problem = dataclasses.replace(problem, resources=dataclasses.replace(problem.resources, shared={}))
    given = {"epochs": 1, "rate": 1e-3, "per_scene": 40, "longest": 64}
    known = {k: v for k, v in given.items() if k in method.Options.__dataclass_fields__}
    return method.fit(problem, method.Options(**known))
