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
from torchgraft.model import load
from torchgraft.tasks import _scene_shift
from torchgraft.tasks._scene_shift import WAYS, between_domains, run
from torchgraft.train.dense_counts import confusions


def _options(target: Path, source: Path, **more: object) -> SimpleNamespace:
    plain = {
        "target": str(target),
        "source": (str(source),),
        "group": None,
        "few_labels": None,
        "test": None,
        "method": "auto",
    }
    plain |= {
        "settings": "",
        "budget": "10m",
        "oracle_labels": False,
        "backbone": "packaged/efficientnet_lite0",
        "seed": 0,
    }
    return SimpleNamespace(**(plain | more))


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


def test_where_nothing_passes_source_only_is_shipped(
    domains: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_scene_shift._scene_guard, "harmless", lambda gain: False)
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


def test_one_network_is_expected(domains: tuple[Path, Path]) -> None:
    with pytest.raises(OptionError, match="one network"):
        run(_options(*reversed(domains), backbone="a,b"), SILENT)


def test_ways_have_names_of_their_own() -> None:
    assert len({way.name for way in WAYS}) == len(WAYS)
    assert WAYS[0] == dataclasses.replace(WAYS[0], looks=(), standardised=False, taught=0)
