"""`graft fit`: what it prints, what it leaves, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_prints_ladder_verdict_places_and_the_next_command(graft, rows: Path, tmp_path: Path) -> None:
    done = graft("fit", rows, "--out", tmp_path / "run", "--method", "majority,lda")
    assert done.code == 0
    lines = done.out.splitlines()
    assert "The ladder" in lines[0]
    assert [line.split()[1] for line in lines if line[:1].isdigit()] == ["majority", "lda"]
    assert sum(line.rstrip().endswith("shipped") for line in lines) == 1
    assert "Shipped: lda" in done.out
    assert "Test, touched once, 30 samples: accuracy" in done.out
    assert f"graft predict {tmp_path / 'run'}" in done.out
    assert (tmp_path / "run" / "report.html").is_file()


def test_json_is_the_report_and_nothing_else(graft, rows: Path, tmp_path: Path) -> None:
    done = graft("fit", rows, "--out", tmp_path / "run", "--method", "majority", "--json")
    report = json.loads(done.out)
    assert report == {**json.loads((tmp_path / "run" / "report.json").read_text()), "path": str(tmp_path / "run")}


def test_a_run_is_repeated_from_its_options(graft, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads((run / "report.json").read_text())
    monkeypatch.chdir(tmp_path)
    again = json.loads(graft("fit", "--from-run", run / "run.toml", "--json").out)
    assert again["test"] == before["test"]
    assert {**again["options"], "out": None} == {**before["options"], "out": None}
    assert Path(again["path"]).parts[0] == "runs"
    resumed = json.loads(graft("fit", "--resume", run, "--json").out)
    assert resumed["verdict"] == before["verdict"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "TARGET is missing"),
        (("--resume", "a", "--from-run", "b"), "can't be used together"),
        (("photos", "--resume", "a", "--class-weight", "balanced"), "leave out TARGET, --class-weight"),
        (("--resume", "nowhere"), "nowhere/run.toml does not exist"),
        (("nowhere/",), "nowhere does not exist"),
        (("x", "--engine", "torhc", "--budget", "soon"), "--engine expects"),
        (("x", "--method", "ldaa"), "Did you mean 'lda'"),
    ],
)
def test_mistakes_end_with_2_and_a_message(graft, tmp_path: Path, monkeypatch, arguments, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = graft("fit", *arguments)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""


def test_all_wrong_options_stand_in_one_message(graft, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = graft("fit", "x", "--engine", "torhc", "--budget", "soon")
    assert "--engine expects" in done.err
    assert "--budget expects" in done.err
    assert "Did you mean 'torch'" in done.err
