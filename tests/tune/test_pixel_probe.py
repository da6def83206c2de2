"""The exact probe of single pixels: held against scikit-learn, blind to held-out masks, and shipped as it is."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from torchgraft.model.scene_network import SceneNetwork
from torchgraft.tune import _pixel_probe, pixel_probe
from torchgraft.tune._dense import Setting


@pytest.fixture
def one_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pixel_probe, "PENALTIES", (1.0,))


def test_colours_are_told_apart(scene_problem) -> None:
    found = pixel_probe.fit(scene_problem(), pixel_probe.Options(per_scene=100))
    right = np.trace(found.counts.sum(0)) / found.counts.sum()
    assert right > 0.9
    assert found.sources == ("test/scene",) and found.scale == 1.0


def test_the_head_is_scikit_learns(scene_problem, one_penalty) -> None:
    """The minimum of sum loss + 1/2 ||W||^2 on columns of variance 1 / D."""
    problem = scene_problem()
    setting = Setting(problem, pixel_probe.Options(per_scene=50))
    seen = {}
    true = _pixel_probe.values

    def values(*args, **more):
        seen["z"], seen["pixels"] = true(*args, **more), args[2]
        return seen["z"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_pixel_probe, "values", values)
        head = setting.probe.heads[-1]
    z, y = seen["z"].reshape(-1, 24).astype(np.float64), seen["pixels"].y.ravel()
    scaled = (z - z.mean(0)) / (np.where(z.std(0) > 0, z.std(0), 1) * np.sqrt(24))
    reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000).fit(scaled, y)
    expected = reference.predict_log_proba(scaled)
    ours = z @ head.weight.T + head.bias
    ours -= np.logaddexp.reduce(ours, axis=1, keepdims=True)
    assert np.abs(ours - expected).max() < 0.02


def test_answers_do_not_depend_on_the_masks_held_out(scene_problem, one_penalty) -> None:
    """Scenes held out exchange their masks: frequencies stay, and so does every answer."""
    problem = scene_problem()
    (fit, held), *_ = problem.folds
    paths = list(problem.masks.paths)
    order = np.arange(len(paths))
    order[held] = np.roll(held, 1)
    swapped = replace(problem.masks, paths=tuple(paths[i] for i in order), counts=problem.masks.counts[order])
    one = replace(problem, folds=((fit, held),))
    two = replace(one, masks=swapped, resources=replace(problem.resources, shared={}))
    first, second = (pixel_probe.fit(p, pixel_probe.Options(per_scene=50)) for p in (one, two))
    assert first.answers == second.answers
    assert (first.counts != second.counts).any()


def test_one_run_fits_it_once(scene_problem, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, calls = scene_problem(), []
    true = _pixel_probe._fit
    monkeypatch.setattr(_pixel_probe, "_fit", lambda *args: calls.append(1) or true(*args))
    for _ in range(2):
        pixel_probe.fit(problem, pixel_probe.Options(per_scene=30))
    assert len(calls) == 1


def test_says_why_it_cannot_run() -> None:
    assert "no backbone" in pixel_probe.applies(SimpleNamespace(resources=None))


def test_what_is_shipped_is_what_was_fitted(scene_problem) -> None:
    problem = scene_problem()
    setting = Setting(problem, pixel_probe.Options(per_scene=50))
    head = setting.probe.heads[-1]
    found = pixel_probe.fit(problem, pixel_probe.Options(per_scene=50))
    network = SceneNetwork.of(setting.backbone, "linear", 3)
    network.decoder.from_head(head.weight, head.bias)
    for name, tensor in network.decoder.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), found.decoder.arrays[name])


def test_a_search_may_begin_at_a_head_of_the_first_columns(scene_problem, one_penalty) -> None:
    """It ends at the same minimum; with no further column it begins there, and two steps are enough."""
    problem = scene_problem()
    setting = Setting(problem, pixel_probe.Options(per_scene=50))
    plain, pixels = setting.probe, _pixel_probe.draw(setting.loader, np.ones(3), 50, 0)
    z = _pixel_probe.seen_at(problem, setting.network, setting.loader, "1", pixels)
    more = np.concatenate([z, np.random.default_rng(0).normal(size=(*z.shape[:2], 3)).astype(np.float32)], -1)
    there, begun = (_pixel_probe.fitted(problem, more, pixels, begin=begin) for begin in (None, plain))
    for one, other in zip(there.heads, begun.heads, strict=True):
        logits = [head.logits(more.reshape(-1, more.shape[-1])) for head in (one, other)]
        assert np.abs(logits[0] - logits[1]).max() < 0.1
    rows, calls = _pixel_probe._Rows(more, pixels, np.arange(12), 3), []
    head = rows.solve(1.0)
    again = _pixel_probe._Rows(more, pixels, np.arange(12), 3, head)
    true = again.solver._loss
    again.solver._loss = lambda theta: calls.append(1) or true(theta)
    again.solve(1.0)
    assert len(calls) <= 4
