"""What people read: numbers with intervals, findings, a ladder."""

from __future__ import annotations

from torchgraft.cli._show import estimate, show_findings, table
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
