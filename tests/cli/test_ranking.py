"""The table of `graft rank`: which columns, in which width, with which marks."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from torchgraft.cli._ranking import columns, drawn, following
from torchgraft.fit import RankOptions


def row(name: str, **more: Any) -> dict[str, Any]:
    """As `Ranked.to_dict` gives it."""
    estimate = {"value": 0.969, "low": 0.938, "high": 1.0}
    return {
        "backbone": name, "accuracy": estimate, "expected": estimate, "knn": estimate,
        "rank": 1.0, "chance_best": 0.25, "by": ["linear_probe", "knn", "h_score"],
        "samples": 194, "let_go": "", "parameters": 4_135_680,
        "bytes": 21_946_926, "licence": "Apache-2.0", "imagenet": 76.7,
        "minutes_to_probe": 0.1, "minutes_to_fine_tune": 12.5, "similarity": 0.62,
        "latency_ms": 13.04, "images_per_second": 171.1, "engine": "torch", "seconds": 0.7,
        "scores": {"logme": 0.1188, "leep": None}, "front": False, "knee": False, **more,
    }  # fmt: skip


@pytest.fixture
def found() -> dict[str, Any]:
    rows = [row("packaged/efficientnet_lite1", knee=True), row("packaged/lite2"), row("packaged/lite3")]
    rows[2] |= {"let_go": "in the lower half", "samples": 64, "imagenet": None, "bytes": 0}
    advice = {"backbone": "packaged/efficientnet_lite1", "sentence": "Start."}
    return {"backbones": rows, "advice": advice, "modality": "image"}


def text(found: dict[str, Any], width: int) -> list[str]:
    console = Console(width=width, record=True, markup=False, highlight=False)
    with console.capture() as held:
        console.print(drawn(found, columns(found["backbones"], width)))
    return held.get().splitlines()


def test_a_wide_terminal_shows_everything(found: dict[str, Any]) -> None:
    shown = columns(found["backbones"], 240)
    assert list(shown) == [
        "backbone", "% right [95 %]", "kNN %", "chance best", "logme", "leep", "M weights", "MB", "licence", "ms each",
        "samples /s", "ImageNet %", "probe min", "tune min", "alike", "samples seen", "",
    ]  # fmt: skip
    assert [cells[0] for cells in shown.values()] == [
        "packaged/efficientnet_lite1", "96.9 [93.8, 100.0]", "96.9", "25 %", "0.119", "-", "4.1", "21.9", "Apache-2.0",
        "13.0", "171", "76.7", "0.1", "12.5", "0.62", "194", "pick",
    ]  # fmt: skip
    assert (shown["ImageNet %"][2], shown["MB"][2]) == ("", "")


@pytest.mark.parametrize("width", [60, 80, 100, 120, 140, 200])
def test_no_line_is_wider_than_the_terminal_or_cut(found: dict[str, Any], width: int) -> None:
    lines = text(found, width)
    assert max(map(len, lines)) <= width
    assert "\u2026" not in "".join(lines)
    assert len([line for line in lines if "[93.8, 100.0]" in line]) == 3


def test_eighty_columns_keep_the_answer_and_the_price(found: dict[str, Any]) -> None:
    bare = [{**one, "scores": {}} for one in found["backbones"]]
    answer = ["backbone", "% right [95 %]", "chance best"]
    assert [name for name in columns(bare, 80) if name != "kNN %"] == [*answer, "MB", "ms each", ""]
    assert list(columns(found["backbones"], 80)) == [*answer, "logme", "leep", "ms each", ""]


def test_what_is_known_of_no_row_is_no_column(found: dict[str, Any]) -> None:
    unknown = {"parameters": None, "bytes": None, "licence": None, "imagenet": None, "latency_ms": None,
               "images_per_second": None, "scores": {}, "samples": 194, "minutes_to_probe": None,
               "minutes_to_fine_tune": None, "similarity": None}  # fmt: skip
    rows = [{**one, **unknown} for one in found["backbones"]]
    assert list(columns(rows, 200)) == ["backbone", "% right [95 %]", "kNN %", "chance best", ""]


def test_a_long_name_stands_in_lines_that_together_are_the_name(found: dict[str, Any]) -> None:
    name = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    cell = columns([row(name)], 80)["backbone"][0]
    assert cell.replace("\n", "") == name
    assert max(map(len, cell.split("\n"))) <= 32
    assert columns([row("x" * 100)], 80)["backbone"][0].split("\n") == ["x" * 32] * 3 + ["x" * 4]


def test_the_pick_is_green_and_who_was_let_go_is_dim(found: dict[str, Any]) -> None:
    shown = drawn(found, columns(found["backbones"], 80))
    assert [str(one.style) for one in shown.rows] == ["bold green", "", "dim"]


def test_who_ran_as_far_as_the_others_was_not_let_go_early(found: dict[str, Any]) -> None:
    found["backbones"][2] |= {"samples": 194}
    shown = drawn(found, columns(found["backbones"], 200))
    assert [str(one.style) for one in shown.rows] == ["bold green", "", ""]
    assert "samples seen" not in columns(found["backbones"], 200)


def test_the_title_names_the_table_where_it_counts(found: dict[str, Any]) -> None:
    said = "the H-score and the ImageNet table, on 194 samples"
    assert said not in " ".join(text(found, 120))
    found["backbones"][1]["by"] += ["imagenet"]
    assert said in " ".join(text(found, 120))


def test_the_next_command_can_be_typed(found: dict[str, Any]) -> None:
    options = RankOptions(data="my photos", text="words")
    typed = "graft fit 'my photos' --backbone packaged/efficientnet_lite1 --text words"
    assert following(found, options) == typed
    arrays = {**found, "modality": "array", "advice": {"backbone": "b.npz"}}
    assert following(arrays, RankOptions(data="a.npz")) == "graft fit b.npz"
