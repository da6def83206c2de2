"""`graft fit`: what it prints, what it leaves, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
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


@pytest.fixture(scope="module")
def domains(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Labelled rows, and others like them that are moved, with labels of their own."""
    path = tmp_path_factory.mktemp("domains") / "moved.npz"
    with np.load(rows) as data:
        np.savez(path, X=data["X"][:90] + np.array([2, -2, 0, 1, 0, 0], dtype=np.float32), y=data["y"][:90])
    return rows, path


def test_two_domains_are_told_in_a_table(graft, domains: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = domains
    done = graft("fit", target, "--source", source, "--method", "coral,standardise", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("Gap: MMD\u00b2 ") and "the domains differ" in " ".join(done.out.split())
    assert [line.split()[1] for line in lines if line[:1].isdigit()] == [
        "source-only", "coral", "standardise", "committee",
    ]  # fmt: skip
    assert sum(line.rstrip().endswith("shipped") for line in lines) == 1
    assert "Shipped: " in done.out and "No label of the target was used." in " ".join(done.out.split())
    assert "was not measured" in done.out and "oracle" not in done.out
    assert f"graft predict {tmp_path / 'run'}" in " ".join(done.out.split())


def test_two_domains_as_json(graft, domains: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = domains
    arguments = ("fit", target, "--source", source, "--method", "coral", "--oracle-labels", "--test", target)
    done = graft(*arguments, "--out", tmp_path / "run", "--json")
    report = json.loads(done.out)
    assert report == {**json.loads((tmp_path / "run" / "report.json").read_text()), "path": str(tmp_path / "run")}
    assert report["domains"]["sources"] == [str(source)]
    assert "oracle_accuracy" in report["ladder"][0]["metrics"]
    shown = graft("fit", "--from-run", tmp_path / "run" / "run.toml", "--out", tmp_path / "x")
    assert shown.code == 2, "the options come from the run alone"


def test_the_oracle_and_the_test_set_are_printed(graft, domains: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = domains
    few = tmp_path / f"few{target.suffix}"
    few.write_bytes(target.read_bytes())
    done = graft(
        "fit", target, "--source", source, "--method", "coral", "--oracle-labels", "--test", target,
        "--few-labels", few, "--out", tmp_path / "run",
    )  # fmt: skip
    assert "oracle %" in done.out
    assert "Test, touched once, 90 samples: accuracy" in done.out
    assert "A few labels of the target decided." in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--few-labels", "few.npz"), "--few-labels goes with --source"),
        (("--oracle-labels",), "--oracle-labels goes with --source"),
        (("--source", "nowhere.npz"), "nowhere.npz"),
        (("--source", "SOURCE", "--method", "corral"), "Did you mean 'coral'"),
    ],
)
def test_mistakes_with_two_domains(graft, domains: tuple[Path, Path], tmp_path: Path, arguments, message: str) -> None:
    source, target = domains
    given = [source if one == "SOURCE" else one for one in arguments]
    done = graft("fit", target, *given, "--out", tmp_path / "run")
    assert done.code == 2 and message in " ".join(done.err.split())
    assert done.out == ""
