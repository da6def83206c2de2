"""A whole run between two domains of made scenes; and that no mask of the target has a way in."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from torchgraft.core.errors import OptionError
from torchgraft.core.progress import SILENT
from torchgraft.data import Samples
from torchgraft.fit import FitOptions
from torchgraft.fit.run import fit
from torchgraft.model import load
from torchgraft.tasks import _scene_guard, _scene_shift
from torchgraft.tasks._scene_shift import WAYS, Shift, between_domains, run
from torchgraft.tasks._scene_shift_report import told
from torchgraft.train.dense_counts import confusions


def _options(target: Path, source: Path, **more: object) -> FitOptions:
    plain = {"target": str(target), "source": (str(source),), "backbone": "packaged/efficientnet_lite0"}
    return FitOptions(**(plain | more))


@pytest.fixture
def domains(streets: Callable[..., Samples]) -> tuple[Path, Path]:
    """Eight scenes of 64 x 48 pixels by day, six by night."""
    source, target = streets(8).root, streets(6).root
    for root in (source, target):
        for path in root.glob("*/*.png"):
            with Image.open(path) as image:
                image.resize((64, 48), Image.Resampling.NEAREST).save(path)
    for path in (target / "images").iterdir():
        dark = 255 * (np.asarray(Image.open(path)) / 255) ** 2.5 * np.array([0.2, 0.25, 0.4])
        Image.fromarray(dark.astype(np.uint8)).save(path)
    return source, target


def test_a_run_ships_a_decoder_like_any_other(domains: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = domains
    graft, check, report = between_domains(_options(target, source, test=str(target)), SILENT)
    assert [row["method"] for row in report["ladder"]] == [*(way.name for way in WAYS), "self_training"]
    assert report["verdict"]["method"] == graft.method == report["ladder"][report["verdict"]["rung"]]["method"]
    assert report["test"]["images"] == 6 and 0 <= report["test"]["miou"]["value"] <= 1
    graft.save(tmp_path / "model", check=check)
    again = load(tmp_path / "model")
    for one, other in zip(graft.predict(check), again.predict(check), strict=True):
        np.testing.assert_array_equal(one.classes, other.classes)


def test_masks_of_the_target_have_no_way_in(domains: tuple[Path, Path]) -> None:
    """The same with masks, with others, and without: the same bytes; and the same where they are only printed."""
    source, target = domains
    plain, _, report = between_domains(_options(target, source), SILENT)
    asked, _, _ = between_domains(_options(target, source, oracle_labels=True), SILENT)
    for mask in (target / "masks").iterdir():
        Image.fromarray(np.zeros((48, 64), dtype=np.uint8)).save(mask)
    changed, _, told = between_domains(_options(target, source), SILENT)
    shutil.rmtree(target / "masks")
    bare, _, without = between_domains(_options(target, source), SILENT)
    for other in (asked, changed, bare):
        assert (other.method, other.temperature) == (plain.method, plain.temperature)
        assert all((other.decoder.arrays[name] == a).all() for name, a in plain.decoder.arrays.items())
    for one in (report, told, without):
        for row in one["ladder"]:
            row.pop("seconds")
    assert report == told == without


def test_the_oracle_is_the_shipped_graft_s_own_answer(domains: tuple[Path, Path]) -> None:
    source, target = domains
    found = run(_options(target, source, oracle_labels=True), SILENT)
    assert found.oracle_counts.shape == (len(WAYS) + 1, 6, 3, 3)
    oracle = found.setting.domains.oracle
    own = [
        confusions(oracle.masks.read(i), scene.classes, 3)
        for i, scene in enumerate(found.graft.predict(found.setting.domains.target))
    ]
    assert np.abs(np.stack(own) - found.oracle_counts[found.index]).sum() <= 0.005 * np.sum(own)


def test_a_few_labelled_scenes_decide(domains: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = domains
    monkeypatch.setattr(_scene_guard, "mmd_test", lambda *_, seed: SimpleNamespace(p_value=0.0, mmd2=1.0))
    plain = run(_options(target, source), SILENT)
    found = run(_options(target, source, few_labels=str(target)), SILENT)
    assert [one.name for one in found.ladder] == [one.name for one in plain.ladder]
    assert found.tests[-1].name == "labels" and "on 6 labelled scenes" in found.sentence
    decided = _scene_guard.refusal(found.tests) in (None, found.tests[-1])
    assert found.sentence.endswith(
        "A few labels of the target decided." if decided else "No label of the target was used."
    )
    assert bool(found.index) is all(one.passed for one in found.tests)
    assert told(found, _options(target, source))["data"]["counts"] == {"source": 8, "target": 6, "few": 6}


def test_where_nothing_passes_source_only_is_shipped(
    domains: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_scene_guard, "harmless", lambda gain: False)
    found = run(_options(*reversed(domains)), SILENT)
    assert found.index == 0 and found.graft.method == "source_only" and not found.tests
    assert "does harm" in found.sentence


def test_source_only_is_the_classifier_of_the_source_alone(domains: tuple[Path, Path]) -> None:
    """Another target changes nothing of it."""
    source, target = domains
    night = run(_options(target, source), SILENT).ladder[0].head
    for path in (target / "images").iterdir():
        shutil.copy(source / "images" / path.name, path)
    day = run(_options(target, source), SILENT).ladder[0].head
    np.testing.assert_array_equal(night.weight, day.weight)


def test_a_short_budget_leaves_ways_out_and_says_so(domains: tuple[Path, Path]) -> None:
    _, _, report = between_domains(_options(*reversed(domains), budget="0.001s"), SILENT)
    assert [row["method"] for row in report["ladder"]] == ["source_only", "standardise", "fda", "self_training"]
    assert [one["method"] for one in report["skipped"]] == ["moments", "camera"]


QUICK = "epochs=1,batch=4,hidden=4"


@pytest.fixture
def trained(domains: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Shift:
    """AdaBN and AdvEnt, which the guard lets through."""
    monkeypatch.setattr(_scene_guard, "harmless", lambda gain: True)
    monkeypatch.setattr(_scene_guard, "tests", lambda *_: [_passed("changes"), _passed("clearness")])
    return run(_options(*reversed(domains), method="adabn,advent", settings=QUICK, oracle_labels=True), SILENT)


def _passed(name: str) -> _scene_guard.Test:
    return _scene_guard.Test(name=name, passed=True, seen="it does")


def test_ways_with_a_network_of_their_own_ship_it(trained: Shift, tmp_path: Path) -> None:
    assert [one.name for one in trained.ladder] == [*(way.name for way in WAYS), "adabn", "advent"]
    assert trained.index >= len(WAYS) and trained.asked == ("adabn", "advent")
    graft, target = trained.graft, trained.setting.domains.target
    assert graft.source == "tuned/packaged/efficientnet_lite0" and list(graft.tuned) == [graft.source]
    graft.save(tmp_path / "model", check=target.take(np.arange(2)))
    again = load(tmp_path / "model")
    masks = trained.setting.domains.oracle.masks
    own = [confusions(masks.read(i), scene.classes, 3) for i, scene in enumerate(again.predict(target))]
    assert np.abs(np.stack(own) - trained.oracle_counts[trained.index]).sum() <= 0.005 * np.sum(own)


def test_what_was_not_asked_for_votes_and_is_not_shipped(trained: Shift, domains: tuple[Path, Path]) -> None:
    report = told(trained, _options(*reversed(domains)))
    notes = {row["method"]: row["note"] for row in report["ladder"]}
    assert "it votes" in notes["fda"] and "it votes" not in notes["source_only"] + notes["advent"]
    assert "1 epochs" in notes["advent"] and "statistics" in notes["adabn"]
    assert report["verdict"]["backbone"] == trained.graft.source


def test_without_time_for_it_source_only_is_shipped_and_why_is_said(
    domains: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_scene_shift.SceneAdvent, "run", lambda self, rehearsal, head: "it would take up to 9 s")
    graft, _, report = between_domains(_options(*reversed(domains), method="advent"), SILENT)
    assert graft.method == "source_only" and "no time" in report["verdict"]["sentence"]
    assert {"method": "advent", "reason": "it would take up to 9 s"} in report["skipped"]


def test_an_interruption_leaves_no_model(
    domains: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_scene_shift.SceneAdvent, "_trained", interrupted)
    options = _options(*reversed(domains), method="advent", settings=QUICK, out=str(tmp_path / "run"))
    with pytest.raises(KeyboardInterrupt):
        fit(options)
    assert [path.name for path in (tmp_path / "run").rglob("*")] == ["run.toml"]


def test_what_begins_with_others_begins_with_the_best_that_is_asked_for(
    domains: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_scene_guard, "harmless", lambda gain: True)
    found = run(_options(*reversed(domains), method="moments,self_training"), SILENT)
    assert found.ladder[-1].way == dataclasses.replace(WAYS[3], name="self_training", taught=1)


def test_one_network_is_expected(domains: tuple[Path, Path]) -> None:
    with pytest.raises(OptionError, match="one network"):
        run(_options(*reversed(domains), backbone="a,b"), SILENT)


def test_ways_have_names_of_their_own() -> None:
    assert len({way.name for way in WAYS}) == len(WAYS)
    assert WAYS[0] == dataclasses.replace(WAYS[0], looks=(), standardised=False, taught=0)
