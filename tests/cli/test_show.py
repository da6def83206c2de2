"""What people read: numbers with intervals, findings, a ladder."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest
from rich.text import Text

from torchgraft.cli._show import (
    _ladder,
    estimate,
    show_changes,
    show_findings,
    show_pair,
    show_repairs,
    show_run,
    show_scores,
    table,
    told,
)
from torchgraft.cli.base import Terminal
from torchgraft.evaluate import overlap_score, paired, paired_overlap, score


def test_estimates_by_hand() -> None:
    value = {"value": 0.9351, "low": 0.8949, "high": 1.0}
    assert estimate(value) == "93.5 [89.5, 100.0]"
    assert estimate(value, percent=False) == "0.935 [0.895, 1.000]"


def test_findings_name_a_few_and_count_all(capsys) -> None:
    finding = {
        "severity": "warning",
        "kind": "unreadable",
        "message": "4 can't be read",
        "action": "left out",
        "count": 4,
    }
    show_findings(Terminal(), [{**finding, "examples": ("[red]a", "b", "c", "d")}])
    assert capsys.readouterr().out.splitlines() == [
        "warning unreadable: 4 can't be read (left out)",
        "    [red]a",
        "    b",
        "    c",
        "    ... 4 in all",
    ]


def test_long_names_in_a_table_are_folded_not_cut(capsys) -> None:
    drawn = table("name", "backbone", "n", right=("n",))
    drawn.add_row("a", "x" * 150, "1")
    Terminal().show(drawn)
    assert capsys.readouterr().out.count("x") == 150


def _row(rung: int, method: str, backbone: str, seconds: float, cpu: float, chosen: bool = False) -> dict:
    accuracy = {"value": 0.882, "low": 0.819, "high": 0.925}
    return {
        "rung": rung,
        "method": method,
        "backbone": backbone,
        "metrics": {"accuracy": accuracy},
        "seconds": seconds,
        "cpu_seconds": cpu,
        "chosen": chosen,
    }


def test_the_ladder_fits_eighty_columns(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = [_row(0, "majority", "", 0.05, 0.01), _row(1, "linear_probe", "tuned/packaged/minilm_l6", 215.2, 56.8, True)]
    held = {"how": "5-fold cross-validation", "n": 384}
    Terminal().show(_ladder({"ladder": rows, "data": {"held_out": held}}))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 4 and max(map(len, lines)) <= 80
    assert lines[1].split()[-2:] == ["s", "CPU"]
    assert lines[2].endswith("0.1  0.0")
    assert lines[3].endswith("88.2 [81.9, 92.5]  215   57  shipped")


def test_no_packaged_backbone_folds_at_eighty_columns(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    tuned = _row(10, "lp_ft", "tuned/packaged/efficientnet_lite2", 215.2, 156.8, True)
    fused = _row(11, "linear_probe", "packaged/efficientnet_lite1 + packaged/minilm_l6", 115.2, 156.8)
    rows = [tuned, fused]
    Terminal().show(_ladder({"ladder": rows, "data": {"held_out": {"how": "5-fold cross-validation", "n": 384}}}))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 3 and max(map(len, map(str.rstrip, lines))) <= 80
    assert lines[2].split()[2:4] == ["tuned", "efficientnet_lite2"]
    assert (lines[3].split()[2], lines[4].strip()) == ("efficientnet_lite1", "minilm_l6")
    wide = [_row(0, "pixel_majority", "", 0.0, 0.0), _row(1, "scene_lp_ft", tuned["backbone"], 1215.2, 2156.8, True)]
    Terminal().show(_ladder({"ladder": wide, "data": {"held_out": {"how": "", "n": 1}}}))
    last = capsys.readouterr().out.splitlines()[-2:]
    assert " tuned  " in last[0] and last[1].strip() == "efficientnet_lite2", "a name is never cut"
    certain = _row(10, "head_then_full", "packaged/efficientnet_lite0", 1215.2, 2156.8, True)
    certain["metrics"] = {"accuracy": {"value": 0.989, "low": 0.959, "high": 1.0}}
    Terminal().show(_ladder({"ladder": [certain], "data": {"held_out": {"how": "", "n": 1}}}))
    last = capsys.readouterr().out.splitlines()[-1]
    assert "efficientnet_lite0  98.9 [95.9, 100.0]  1215  2157  shipped" in last


def test_other_providers_keep_their_names() -> None:
    report = {"ladder": [_row(0, "lda", "local/packaged_mine", 1, 1)], "data": {"held_out": {"how": "", "n": 1}}}
    assert list(_ladder(report).columns[2].cells) == [Text("local/packaged_mine")]


def test_repairs_are_said_in_a_line(capsys) -> None:
    repair = {"phase": "lp_ft, fold 1 of 5: all layers", "reason": "the loss is nan"}
    show_repairs(Terminal(), {"method": "lda"})
    show_repairs(Terminal(), {"method": "lp_ft", "training": [{"repairs": []}, {"repairs": [repair]}]})
    show_repairs(Terminal(), {"method": "lp_ft", "training": [{"repairs": [repair]}, {"repairs": [repair]}]})
    assert capsys.readouterr().out.splitlines() == [
        "repaired: lp_ft once; lp_ft, fold 1 of 5: all layers: the loss is nan",
        "repaired: lp_ft 2 times; first: lp_ft, fold 1 of 5: all layers: the loss is nan",
    ]


def test_who_gained_and_who_lost(capsys) -> None:
    gained = [{"class": f"c{k}", "fixed": 20 - k, "broken": 1} for k in range(10)]
    show_changes(Terminal(), {"gained": gained, "lost": [{"class": "[red]x", "fixed": 0, "broken": 3}]})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("gained c0 (20 fixed, 1 broken), c1 (19 fixed, 1 broken)")
    assert first.endswith("c7 (13 fixed, 1 broken), and 2 more")
    assert second == "lost   [red]x (0 fixed, 3 broken)"
    show_changes(Terminal(), {"gained": [], "lost": []})
    assert not capsys.readouterr().out


CLASSES = ("road", "[red]sky", "pole", "boat")
OUTLINE = {"value": 0.61, "low": 0.5, "high": 0.7}


def _scenes(pole: int, n: int = 8) -> np.ndarray:
    """Counts of n images: road and sky nearly right, so many of 100 pixels of pole, no boat."""
    one = np.array([[950, 50, 0, 0], [20, 480, 0, 0], [100 - pole, 0, pole, 0], [0, 0, 0, 0]])
    return np.stack([one] * n)


@pytest.fixture
def dense() -> dict:
    """Scores of a test split, with outlines."""
    found = overlap_score(_scenes(30), CLASSES)
    rows = [{**row, "boundary_f1": OUTLINE} for row in found["per_class"]]
    return {**found, "per_class": rows, "boundary_f1": OUTLINE, "images": 8}


def _run(report: dict) -> types.SimpleNamespace:
    data = {"data": {"findings": [], "modality": "image", "held_out": {"how": "a validation part", "n": 12}}}
    data |= {"skipped": [], "verdict": {"sentence": "Shipped."}, "test": None, **report}
    return types.SimpleNamespace(path=Path("runs/a"), report=types.SimpleNamespace(data=data, html=Path("a.html")))


def test_the_ladder_is_of_the_main_metric(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    row = _row(1, "scene_lp_ft", "tuned/packaged/efficientnet_lite0", 1215.2, 2156.8, True)
    row["metrics"] = {"miou": {"value": 0.621, "low": 0.61, "high": 0.632}, "pixel_accuracy": OUTLINE}
    report = {"primary": {"metric": "miou", "title": "mIoU"}, "ladder": [row]}
    Terminal().show(_ladder({**report, "data": {"held_out": {"how": "a validation part", "n": 12}}}))
    title, head, line = (one.rstrip() for one in capsys.readouterr().out.splitlines())
    assert title == "The ladder, measured by a validation part (12 samples)"
    assert "mIoU % [95 %]" in head and "right" not in head
    assert "tuned efficientnet_lite0  62.1 [61.0, 63.2]" in line and max(map(len, (head, line))) <= 80


def test_a_run_on_scenes_says_its_test_and_what_to_type(capsys, dense) -> None:
    row = _row(0, "pixel_probe", "b", 1, 1, True)
    row["metrics"] = {"miou": dense["miou"]}
    primary = {"metric": "miou", "title": "mIoU"}
    show_run(Terminal(), _run({"primary": primary, "ladder": [row], "test": dense, "pictures": [], "legend": []}))
    out = capsys.readouterr().out
    assert f"Test, touched once, 8 images: mIoU {estimate(dense['miou'])} %, pixel accuracy" in out
    assert "boundary F1 61.0 [50.0, 70.0] %.\n" in out
    assert out.endswith("Next:   graft predict runs/a new-photos/ --out masks/\n")


def test_a_run_on_photos_says_its_test_and_what_to_type(capsys) -> None:
    proba = np.array([[0.9, 0.1]] * 7 + [[0.2, 0.8]] * 5)
    found = score(np.array([0] * 8 + [1] * 4), proba, ("ant", "bee"))
    show_run(Terminal(), _run({"ladder": [_row(0, "lda", "b", 1, 1, True)], "test": found}))
    out = capsys.readouterr().out
    line = f"accuracy {estimate(found['accuracy'])} %, macro F1 {estimate(found['macro_f1'])} %."
    assert f"Test, touched once, 12 samples: {line}" in out and "% right [95 %]" in out
    assert out.endswith("graft predict runs/a new-photos/ --out predictions.csv\n")


def test_scores_of_pixels(capsys, monkeypatch, dense) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show_scores(Terminal(), dense)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == f"{'mIoU':18} {estimate(dense['miou'])} %"
    assert [line[:18].strip() for line in lines[1:5]] == [
        "pixel accuracy", "mean recall", "IoU by frequency", "boundary F1"
    ]  # fmt: skip
    assert " ".join(lines[5].split()) == "class IoU % [95 %] recall precision boundary F1 of all pixels"
    assert [line.split()[0] for line in lines[6:]] == ["pole", "road", "[red]sky", "boat"]
    assert lines[6].endswith("30.0      100.0         61.0          6.2 %") and lines[9].split() == ["boat", "none"]
    assert max(map(len, lines)) <= 80


def test_scores_of_samples(capsys) -> None:
    proba = np.array([[0.9, 0.1]] * 7 + [[0.2, 0.8]] * 5)
    show_scores(Terminal(), score(np.array([0] * 8 + [1] * 4), proba, ("ant", "bee")))
    lines = capsys.readouterr().out.splitlines()
    assert [line[:18].strip() for line in lines[:8]] == [
        "accuracy", "balanced accuracy", "macro precision", "macro recall", "macro F1",
        "Brier score", "calibration error", "log loss"
    ]  # fmt: skip
    assert lines[8].split() == ["class", "precision", "recall", "F1", "samples"] and len(lines) == 11


def test_two_models_on_scenes(capsys) -> None:
    rng = np.random.default_rng(0)
    counts = [np.stack([_scenes(int(p), 1)[0] for p in rng.integers(low, low + 5, 8)]) for low in (30, 60)]
    scores = {key: overlap_score(one, CLASSES) for key, one in zip("ab", counts, strict=True)}
    show_pair(Terminal(), {**scores, "paired": paired_overlap(*counts, CLASSES)}, ("old", "new"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"old: {told(scores['a'])}" and lines[1].startswith("new: mIoU ")
    assert lines[2].startswith("Difference in mIoU, second minus first: 1") and lines[2].endswith("points.")
    assert lines[3].startswith("gained pole (+3") and "points of IoU" in lines[3]
    assert lines[-1] == "The second is better."


def test_two_models_on_samples(capsys) -> None:
    y = np.arange(60) % 2
    first = np.where((np.arange(60) % 5 > 0)[:, None], 0.1 + 0.8 * np.eye(2)[y], 0.1 + 0.8 * np.eye(2)[1 - y])
    second = 0.1 + 0.8 * np.eye(2)[y]
    for a, b, verdict in ((first, second, "second is"), (second, first, "first is"), (first, first, "difference is")):
        scores = {"a": score(y, a, ("ant", "bee")), "b": score(y, b, ("ant", "bee"))}
        show_pair(Terminal(), {**scores, "paired": paired(y, a, b, classes=("ant", "bee"))}, ("a", "b"))
        lines = capsys.readouterr().out.splitlines()
        assert "a: accuracy" in lines[0] and "macro F1" in lines[0]
        assert "samples are right with the second alone" in lines[2] and "(McNemar's p = " in lines[2]
        assert verdict in lines[-1]
