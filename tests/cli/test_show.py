"""What people read: numbers with intervals, findings, a ladder."""

from __future__ import annotations

from rich.text import Text

from torchgraft.cli._show import _ladder, estimate, show_changes, show_findings, show_repairs, table
from torchgraft.cli.base import Terminal


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
    assert lines[2].split()[2] == "tuned/efficientnet_lite2"
    assert (lines[3].split()[2], lines[4].strip()) == ("efficientnet_lite1", "minilm_l6")
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
