"""The report of a run with two domains: no accuracy that nobody measured, and doubts said aloud."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.progress import SILENT
from torchgraft.evaluate import render
from torchgraft.fit import FitOptions, adaptation
from torchgraft.fit._domain_report import report_of, ship
from torchgraft.fit.adaptation import Adaptation
from torchgraft.model import load

FAST = "standardise,coral"


@pytest.fixture(scope="module")
def options(pair: Path) -> FitOptions:
    return FitOptions(target=str(pair / "target.npz"), source=(str(pair / "source.npz"),), method=FAST,
                      oracle_labels=True, test=str(pair / "test.npz"))  # fmt: skip


@pytest.fixture(scope="module")
def found(options: FitOptions) -> Adaptation:
    return adaptation.run(options, SILENT)


@pytest.fixture(scope="module")
def data(found: Adaptation, options: FitOptions, tmp_path_factory: pytest.TempPathFactory) -> dict:
    return report_of(found, options, tmp_path_factory.mktemp("run")).data


def test_the_stable_keys(data: dict) -> None:
    assert data["schema"] == 1
    assert {"task", "name", "data", "domains", "ladder", "verdict", "test"} <= set(data)
    assert {"skipped", "seconds", "environment", "options"} <= set(data)
    assert set(data["domains"]) == {"sources", "several", "gap", "map", "tests", "oracle"}
    assert data["data"]["counts"] == {"source": 72, "target": 81, "test": 40}
    assert json.loads(json.dumps(data, allow_nan=False))["name"] == "target"


def test_rows_of_the_ladder(data: dict, found: Adaptation) -> None:
    assert [row["method"] for row in data["ladder"]] == ["source-only", "standardise", "coral", "committee"]
    assert [row["chosen"] for row in data["ladder"]].index(True) == found.index == data["verdict"]["rung"]
    assert set(data["ladder"][0]["metrics"]) == {"source_accuracy", "changed", "oracle_accuracy"}
    base = found.ladder[0].probabilities.argmax(1)
    truth = found.domains.oracle[found.rows("")]
    for row, one in zip(data["ladder"], found.ladder, strict=True):
        answers = one.probabilities.argmax(1)
        assert row["metrics"]["changed"]["value"] == pytest.approx((answers != base).mean())
        assert row["metrics"]["oracle_accuracy"]["value"] == pytest.approx((answers == truth).mean())
        assert row["metrics"]["source_accuracy"]["value"] == pytest.approx(one.right.mean())
    assert data["ladder"][0]["metrics"]["changed"]["value"] == 0


def test_the_test_set_is_scored_by_the_graft(data: dict, found: Adaptation, pair: Path) -> None:
    with np.load(pair / "test.npz") as test:
        right = (np.array(found.graft.predict(test["X"]).labels) == test["y"]).mean()
    assert data["test"]["accuracy"]["value"] == pytest.approx(right)
    assert np.sum(data["test"]["confusion"]) == 40


def test_without_a_test_set_no_accuracy_is_told(found: Adaptation, options: FitOptions, tmp_path: Path) -> None:
    split = np.where(found.sources.samples.split == "test", "val", found.sources.samples.split)
    sources = dataclasses.replace(found.sources, samples=dataclasses.replace(found.sources.samples, split=split))
    bare = dataclasses.replace(found, sources=sources, domains=dataclasses.replace(found.domains, oracle=None))
    report = report_of(bare, options, tmp_path)
    assert report.data["test"] is None
    assert all(set(row["metrics"]) == {"source_accuracy", "changed"} for row in report.data["ladder"])
    assert "was not measured" in report.card(found.graft)
    assert "Accuracy 0." not in report.card(found.graft)


def test_both_domains_are_on_the_map(data: dict, found: Adaptation) -> None:
    points = data["domains"]["map"]
    assert len(points["source"]) == 72 and len(points["target"]) == 81
    assert all(len(p) == 3 for part in points.values() for p in part)
    assert [p[2] for p in points["source"]] == found.sources.samples.y[found.rows("train")].tolist()
    assert [p[2] for p in points["target"]] == found.ladder[found.index].probabilities.argmax(1).tolist()
    source, target = (np.array(points[name])[:, :2].mean(axis=0) for name in ("source", "target"))
    assert np.linalg.norm(source - target) > 0.5, "the gap can be seen"


def test_it_can_be_drawn(data: dict) -> None:
    page = render(data)
    assert 'id="gap"' in page and 'id="tried"' in page
    assert "committee" in page and "oracle" in page


def doubts(found: Adaptation, options: FitOptions, path: Path, **gap: object) -> dict[str, dict]:
    changed = dataclasses.replace(found, gap={**found.gap, **gap})
    findings = report_of(changed, options, path).data["data"]["findings"]
    return {one["kind"]: one for one in findings if one["kind"] in ("partial", "open_set")}


def test_no_doubt_where_both_have_the_same_classes(found: Adaptation, options: FitOptions, tmp_path: Path) -> None:
    assert not doubts(found, options, tmp_path)


def test_an_unsure_target_may_hold_other_classes(found: Adaptation, options: FitOptions, tmp_path: Path) -> None:
    seen = doubts(found, options, tmp_path, unsure_source=0.1, unsure_target=0.5, open_set=True)
    assert seen["open_set"]["count"] == round(81 * 0.4)
    assert "50 % of the target" in seen["open_set"]["message"]


def test_a_missing_class_is_named(pair: Path, tmp_path: Path, make_domain) -> None:
    x, y = make_domain(90, seed=7)
    np.savez(tmp_path / "two.npz", X=x[y != "cat"])
    options = FitOptions(target=str(tmp_path / "two.npz"), source=(str(pair / "source.npz"),))
    found = adaptation.run(options, SILENT)
    seen = doubts(found, options, tmp_path)
    assert found.ladder[found.index].name == "source-only", "the methods that trust in equal classes are outvoted"
    assert set(seen) == {"partial"}
    assert seen["partial"]["severity"] == "warning" and "taken for cat:" in seen["partial"]["message"]


def test_a_class_that_the_source_lacks_is_suspected(tmp_path: Path) -> None:
    """Three classes at the corners of a triangle, all of whose samples are right; the stranger sits in the middle,
    where no answer is sure.
    """
    rng = np.random.default_rng(0)
    corners = 5 * np.array([[0.0, 1], [0.87, -0.5], [-0.87, -0.5]])
    ys, yt = np.arange(180) % 3, np.arange(60) % 3
    xs = corners[ys] + rng.normal(size=(180, 2))
    xt = np.concatenate([corners[yt] + rng.normal(size=(60, 2)), 0.3 * rng.normal(size=(40, 2))])
    np.savez(tmp_path / "s.npz", X=xs, y=ys)
    np.savez(tmp_path / "t.npz", X=xt)
    options = FitOptions(target=str(tmp_path / "t.npz"), source=(str(tmp_path / "s.npz"),), method=FAST)
    found = adaptation.run(options, SILENT)
    assert found.gap["threshold"] == 0, "nothing of the source has to be abstained on"
    assert found.gap["unsure_target"] == pytest.approx(0.4, abs=0.05)
    seen = doubts(found, options, tmp_path)
    assert "no class" not in seen and "least sure" in seen["open_set"]["action"]


def test_shipping_writes_model_report_and_page(found: Adaptation, options: FitOptions, tmp_path: Path) -> None:
    ship(found, options, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"model", "report.json", "report.html"}
    graft = load(tmp_path)
    assert graft.method == found.ladder[found.index].name
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert found.sentence in card and "on the test split, touched once" in card
