"""`graft rank`: what it prints, what it leaves, what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of 90 rows in three classes: `a` tells them apart well, `b` less, `c` hardly."""
    path = tmp_path_factory.mktemp("features")
    write(path, 30)
    return path


def write(path: Path, each: int) -> None:
    rng, y = np.random.default_rng(0), np.repeat([0, 1, 2], each)
    for name, apart in (("a", 3.0), ("b", 1.0), ("c", 0.1)):
        x = rng.normal(size=(len(y), 4)) + apart * np.eye(4)[y]
        np.savez(path / f"{name}.npz", X=x.astype(np.float32), y=np.array(["ant", "bee", "cat"])[y])


@pytest.fixture
def there(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with the feature files."""
    for path in folder.iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_prints_the_table_the_advice_and_the_next_command(graft, there: Path) -> None:
    done = graft("rank", "a.npz", "--backbones", "b.npz,c.npz")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert "By a linear probe and the nearest neighbours, on 72 samples" in " ".join(" ".join(lines[:2]).split())
    named = [line for line in lines if line[:5] in ("a.npz", "b.npz", "c.npz")]
    assert [line[0] for line in named] == ["a", "b", "c"]
    assert [line.rstrip().endswith("pick") for line in named] == [True, False, False]
    assert "Start from a.npz: a linear probe on it is right on about" in done.out
    assert lines[-1] == "Next:   graft fit a.npz"
    assert "runs/a-rank-1/report.html" in done.out


def test_a_race_that_ends_early_says_why(graft, there: Path) -> None:
    write(there, 100)
    done = graft("rank", "a.npz", "--backbones", "b.npz")
    said = "ended after 120 of 240 samples: one was left (the others: in the lower half on 120 samples)"
    assert said in " ".join(done.out.split())
    assert "let go early" not in done.out, "both ran as far"


def test_each_contestant_is_told_on_stderr_as_soon_as_it_is_known(graft, there: Path) -> None:
    done = graft("rank", "a.npz", "--backbones", "b.npz")
    told = [line for line in done.err.splitlines() if "nearest neighbours" in line]
    assert [line.partition(":")[0] for line in told] == ["a.npz", "b.npz"]
    assert graft("rank", "a.npz", "--backbones", "b.npz", "--quiet").err == ""


def test_json_is_the_ranking_and_nothing_else(graft, there: Path) -> None:
    done = graft("rank", "a.npz", "--backbones", "b.npz,c.npz", "--json", "--out", "here", "--scores", "logme")
    found = json.loads(done.out)
    assert [row["backbone"] for row in found["backbones"]] == ["a.npz", "b.npz", "c.npz"]
    best = found["backbones"][0]
    assert best["accuracy"]["low"] <= best["accuracy"]["value"] <= best["accuracy"]["high"]
    assert best["parameters"] is None and best["images_per_second"] is None
    assert sum(row["chance_best"] for row in found["backbones"]) == pytest.approx(1)
    assert list(best["scores"]) == ["logme"]
    assert found["advice"]["backbone"] == "a.npz"
    assert json.loads(Path("here/report.json").read_text()) == found
    assert "here/report.html" in done.err


def test_one_file_alone_is_ranked_too(graft, there: Path) -> None:
    done = graft("rank", "a.npz")
    assert done.code == 0, done.err
    assert "Next:   graft fit a.npz" in done.out


def test_an_option_that_names_a_column_is_in_the_next_command(graft, there: Path) -> None:
    with np.load("a.npz") as data:
        np.savez("own names.npz", X=data["X"], kind=data["y"])
    done = graft("rank", "own names.npz", "--label", "kind")
    assert done.code == 0, done.err
    assert "Next:   graft fit 'own names.npz' --label kind" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "DATA is missing"),
        (("nowhere/",), "nowhere does not exist"),
        (("a.npz", "--scores", "logmee"), "Did you mean 'logme'"),
        (("a.npz", "--max-size", "20 photos"), "--max-size expects a size like 20MB"),
        (("a.npz", "--max-latency", "20"), "--max-latency expects a time for one sample like 20ms"),
        (("a.npz", "--budget", "0s"), "--budget expects a time"),
        (("a.npz", "--download", "smal"), "Did you mean 'small'"),
        (("a.npz", "--licence", "free"), "--licence expects any or permissive"),
        (("a.npz", "--backbones", "d.npz"), "d.npz does not exist"),
        (("a.npz", "--backbones", "short.npz"), "short.npz does not hold the samples of a.npz"),
        (("bare.npz",), "label"),
        (("cut.npz",), "cut.npz"),
        (("texts.csv", "--backbones", "packaged/minilmm"), "Did you mean"),
    ],
)
def test_mistakes_end_with_2_and_a_message(graft, there: Path, arguments, message: str) -> None:
    with np.load("a.npz") as data:
        np.savez("short.npz", X=data["X"][:50], y=data["y"][:50])
        np.savez("bare.npz", X=data["X"])
    Path("cut.npz").write_bytes(Path("a.npz").read_bytes()[:200])
    Path("texts.csv").write_text("text,label\n" + "".join(f"a {w} one {i},{w}\n" for i in range(9) for w in ("b", "c")))
    done = graft("rank", *arguments)
    assert done.code == 2, done.err
    assert message in " ".join(done.err.split())
    assert done.out == ""
    assert not Path("runs").exists()


def test_all_wrong_options_stand_in_one_message(graft, there: Path) -> None:
    done = graft("rank", "a.npz", "--licence", "free", "--max-size", "big", "--budget", "soon")
    assert all(flag in done.err for flag in ("--licence expects", "--max-size expects", "--budget expects"))


def test_a_folder_that_cannot_be_written_is_told(graft, there: Path) -> None:
    Path("file").write_text("")
    done = graft("rank", "a.npz", "--out", "file/below")
    assert done.code == 2
    assert "can't be written" in done.err


@pytest.mark.shared
def test_photos(graft, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("ants", "bees"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for path in sorted((shared_data / "hymenoptera" / "train" / kind).iterdir())[:20]:
            shutil.copy(path, tmp_path / "photos" / kind)
    monkeypatch.chdir(tmp_path)
    name = "packaged/efficientnet_lite0"
    arguments = ("rank", "photos", "--backbones", name, "--engine", "torch", "--scores", "leep")
    done = graft(*arguments)
    assert done.code == 0, done.err
    assert f"Next:   graft fit photos --backbone {name}" in done.out
    (row,) = json.loads(Path("runs/photos-rank-1/report.json").read_text())["backbones"]
    assert row["accuracy"]["value"] > 0.8
    assert row["parameters"] > 3e6 and row["images_per_second"] > 0 and row["latency_ms"] > 0
    assert row["scores"]["leep"] < 0
    assert "Which backbone" in Path("runs/photos-rank-1/report.html").read_text()
    refused = graft(*arguments, "--max-size", "1MB")
    assert refused.code == 2 and "asked for are 1 MB at most" in refused.err
