"""Necks against the arrays they are saved as, and as methods with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchgraft.model import Graft
from torchgraft.model.graft import assemble
from torchgraft.train.step import Batch
from torchgraft.tune import Problem, _neck, fusion


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four epochs: what is asked here does not need a neck at its best."""
    monkeypatch.setattr(_neck, "_EPOCHS", (4, 4))


def _rows(y: np.ndarray, width: int, gap: float, seed: int) -> np.ndarray:
    """Rows of variance 1 whose class means lie on axes of their own, `gap` from 0."""
    rng = np.random.default_rng(seed)
    return (gap * np.eye(3, width)[y] + rng.normal(size=(len(y), width))).astype(np.float32)


@pytest.fixture
def two_sources(quick_collection, make_problem) -> Problem:
    """120 samples of 3 classes, of which two networks know something each."""
    y = np.arange(120) % 3
    return make_problem({"packaged/left": _rows(y, 6, 1.5, 1), "packaged/right": _rows(y, 8, 1.5, 2)}, y, k=2)


def _batch(z: torch.Tensor) -> Batch:
    return Batch((z,), None, np.arange(len(z)))


@pytest.mark.parametrize("how", _neck.NECKS)
def test_the_head_gives_what_the_neck_gives(how: str) -> None:
    torch.manual_seed(0)
    step = _neck.Neck(how, (6, 4), 3, width=5).eval()
    with torch.no_grad():
        for p in step.parameters():
            p.normal_()
        z = torch.randn(20, sum(step.widths))
        logits = step.logits(_batch(z)).numpy()
    np.testing.assert_allclose(step.head().logits(z.numpy()), logits, atol=1e-5)


@pytest.mark.parametrize("how", ["mix", "attention"])
def test_before_training_it_is_the_mean(how: str) -> None:
    step = _neck.Neck(how, (4, 4), 2, width=9)
    a, b = torch.randn(2, 7, 4)
    expected = step.classes((step.project[0](a) + step.project[1](b)) / 2)
    torch.testing.assert_close(step.logits(_batch(torch.cat([a, b], dim=1))), expected)


def test_maps_start_as_rotations() -> None:
    narrow, wide = _neck.Neck("mix", (8, 3), 2, width=5).project
    torch.testing.assert_close(narrow.weight @ narrow.weight.T, torch.eye(5))
    torch.testing.assert_close(wide.weight.T @ wide.weight, torch.eye(3))


@pytest.mark.parametrize("how", _neck.NECKS)
def test_it_ships_what_it_measured(how: str, two_sources, alone, quick) -> None:
    problem = alone(two_sources)
    found = fusion.fit(problem, fusion.Options(how=how, width=8))
    shipped = found.head.logits(assemble(found.parts, problem.blocks))
    np.testing.assert_allclose(shipped, found.logits, atol=1e-4)
    assert found.chosen["how"] == how


def test_it_learns_what_the_sources_know(two_sources) -> None:
    found = fusion.fit(two_sources, fusion.Options(how="attention", width=8))
    assert (found.logits.argmax(1) == two_sources.y[found.rows]).mean() > 0.55, "a third is chance"


def test_the_same_problem_gives_the_same_bits(two_sources, quick) -> None:
    one, two = (fusion.fit(two_sources, fusion.Options(how="gru", width=4)) for _ in range(2))
    assert (one.logits == two.logits).all()
    assert all((one.head.arrays[name] == a).all() for name, a in two.head.arrays.items())
    assert (one.rows == two_sources.held_out).all()


def test_the_useful_layer_gets_the_weight(quick_collection, make_problem) -> None:
    y = np.arange(120) % 3
    problem = make_problem({"first/1/a/net": _rows(y, 8, 0.0, 1), "a/net": _rows(y, 8, 2.5, 0)}, y, k=2)
    weights = fusion.fit(problem, fusion.Options(how="mix")).chosen["weights"]
    assert weights[1] > 0.7
    assert sum(weights) == pytest.approx(1, abs=2e-3)


def test_a_graft_with_a_neck_is_saved_and_loaded(two_sources, quick) -> None:
    found = fusion.fit(two_sources, fusion.Options(how="attention", width=4))
    graft = Graft(
        parts=found.parts,
        head=found.head,
        classes=two_sources.classes,
        modality="image",
        method="fusion",
        backbones={part.source: {} for part in found.parts},
    )
    again = Graft.from_state(*graft.state())
    logits = [one.log_probabilities(two_sources.blocks) for one in (graft, again)]
    np.testing.assert_allclose(*logits, atol=1e-6)


def test_a_class_without_a_sample_and_the_users_own_features(quick_collection, quick, blobs, make_problem) -> None:
    z, y = blobs(40, 8, 2)
    problem = make_problem({"packaged/net": z, "array": 100 * z + 7}, y, classes=3, k=2)
    found = fusion.fit(problem, fusion.Options(how="mix", width=4, class_weight="balanced"))
    assert found.logits.shape == (40, 3)
    assert np.isfinite(found.logits).all()
