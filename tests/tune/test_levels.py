"""Levels: what the last layer has forgotten, an earlier one still knows; shipped, it says the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from torchgraft import backbones, features
from torchgraft.backbones import Backbone, Network
from torchgraft.core.types import ImagePreprocessing
from torchgraft.model import as_samples, load
from torchgraft.tasks import single_label
from torchgraft.tasks._labels import refit
from torchgraft.tune import Problem, levels, linear_probe
from torchgraft.tune.base import Resources, Skip, TooLong


def _forgetful(last: float = 0.0) -> Backbone:
    """Strided convolutions whose last one multiplies what came before by `last`, so that features are the same for all
    photos where that is 0."""
    torch.manual_seed(0)
    chain = [nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU()) for a, b in pairwise((3, 6, 6, 6, 6, 6))]
    chain[-1][0].weight.data *= last
    steps = ImagePreprocessing(size=64, resize=64, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return Backbone(
        name=f"test/forgetful_{last}", layout="map", width=6, pooling="avg", parameters=0, preprocessing=steps,
        licence="none", revision=f"forgetful {last}", build=lambda: Network(module=nn.Sequential(*chain).eval()),
    )  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path, make_problem: Callable) -> Callable[..., Problem]:
    """30 pictures of 2 classes, reddish and bluish, under a network that has no features for that."""

    def make(backbone: Backbone | None = None, **more) -> Problem:
        backbone = backbone or _forgetful()
        rng, y, paths = np.random.default_rng(0), np.arange(30) % 2, []
        for i, c in enumerate(y):
            pixels = rng.integers(0, 120, (64, 64, 3))
            pixels[..., 2 * c] += 60
            paths.append(str(tmp_path / f"{i}.png"))
            Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
        z = features.extract(as_samples(paths, "image"), backbone, engine="torch").z
        problem = make_problem({backbone.name: np.array(z), "image": paths}, y)
        return replace(problem, resources=Resources(backbones={backbone.name: backbone}, poolings={}, **more))

    return make


def _right(problem: Problem, candidate) -> float:
    return float((candidate.logits.argmax(1) == problem.y[candidate.rows]).mean())


def test_it_sees_what_the_last_layer_forgot(photos: Callable) -> None:
    problem = photos()
    assert levels.applies(problem) == ""
    assert _right(problem, linear_probe.fit(problem, linear_probe.Options())) <= 0.6
    found = levels.fit(problem, levels.Options())
    assert _right(problem, found) == 1.0
    assert found.rows.tolist() == problem.held_out.tolist()
    assert found.sources == ("test/forgetful_0.0",)
    assert found.pooled == {"levels/test/forgetful_0.0": ("test/forgetful_0.0", "levels")}
    assert found.note
    again = levels.fit(problem, levels.Options())
    np.testing.assert_array_equal(found.logits, again.logits)
    np.testing.assert_array_equal(found.head.weight, again.head.weight)


def test_it_is_the_probe_on_standardised_numbers(photos: Callable) -> None:
    """The candidate against `linear_probe` on a file of these numbers, whose columns it standardises as well."""
    problem, backbone = photos(_forgetful(1.0)), _forgetful(1.0)
    z = features.extract(as_samples(problem.blocks["image"], "image"), backbone, pooling="levels").z
    assert z.shape == (30, 3 * (6 + 6))
    probe = linear_probe.fit(replace(problem, blocks={"array": np.array(z)}), linear_probe.Options())
    np.testing.assert_array_equal(levels.fit(problem, levels.Options()).logits, probe.logits)


def test_its_learning_curve_can_be_drawn(photos: Callable) -> None:
    problem = photos()
    entry = SimpleNamespace(rung=SimpleNamespace(method="levels", options=levels.Options()))
    assert refit(problem, entry, np.arange(30)).all()
    assert refit(problem, entry, np.arange(10)).mean() > 0.9


def test_where_it_does_not_apply(photos: Callable, text_problem: Problem) -> None:
    assert "it looks at photos" in levels.applies(text_problem)
    problem = photos()
    assert "it looks at photos" in levels.applies(replace(problem, resources=None))
    tokens = {"vit": replace(_forgetful(), layout="tokens")}
    assert "no backbone at hand makes maps" in levels.applies(
        replace(problem, resources=replace(problem.resources, backbones=tokens))
    )


def test_a_network_of_one_stride_is_skipped_with_the_reason(trained_photos: Callable) -> None:
    with pytest.raises(Skip, match="gives no maps at several strides"):
        levels.fit(trained_photos(), levels.Options())


def test_a_photo_that_is_gone_is_told(photos: Callable) -> None:
    problem = photos(_forgetful(0.5))
    Path(problem.blocks["image"][3]).unlink()
    with pytest.raises(Skip, match="1 of 30 photos can't be read any more"):
        levels.fit(problem, levels.Options())


def test_the_budget_is_kept_and_the_word_of_the_clock_stays(photos: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "expected_seconds", lambda *_, **__: 50.0)
    problem = photos(deadline=0.0)
    with pytest.raises(TooLong, match="it would take 50 s, the budget has 0 s left"):
        levels.fit(problem, levels.Options())
    later = replace(problem, resources=replace(problem.resources, deadline=float("inf")))
    with pytest.raises(TooLong):
        levels.fit(later, levels.Options())


def test_the_graft_says_what_the_candidate_said(tmp_path: Path, make_problem: Callable) -> None:
    name = "packaged/efficientnet_lite0"
    backbone, rng, y = backbones.load(name), np.random.default_rng(0), np.arange(12) % 2
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path, c in zip(paths, y, strict=True):
        coarse = rng.integers(0, 256, (4 + 20 * c, 4 + 20 * c, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((224, 224)).save(path)
    samples = as_samples(paths, "image")
    problem = make_problem({name: np.zeros((12, 1280), np.float32), "image": paths}, y, k=2)
    problem = replace(problem, resources=Resources(backbones={name: backbone}, poolings={name: "avg"}))
    candidate = levels.fit(problem, levels.Options(source=name))
    measured = single_label.measure(problem, candidate)
    rung = SimpleNamespace(method="levels", options=levels.Options(source=name))
    sources = SimpleNamespace(samples=samples, about={name: {**backbone.describe(), "pooling": "avg"}})
    graft = single_label.make_graft(
        SimpleNamespace(candidate=candidate, measured=measured, rung=rung), problem, sources
    )
    graft.save(tmp_path / "model", check=samples.take(np.arange(4)))
    again = load(tmp_path / "model")
    assert again.backbones[f"levels/{name}"]["base"] == name
    z = features.extract(samples, backbone, pooling="levels").z
    wanted = graft.log_probabilities({f"levels/{name}": z})
    np.testing.assert_allclose(again.predict(paths).probabilities, np.exp(wanted), atol=1e-5)
    assert again.predict(paths).labels == [problem.classes[c] for c in y]
