"""The page of a run under way: written now and then, in one step, and never in the run's way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from torchgraft import features
from torchgraft.backbones import Backbone, Network
from torchgraft.core.errors import StorageError
from torchgraft.core.progress import Progress
from torchgraft.core.types import ImagePreprocessing
from torchgraft.data import ReadOptions, folds, read
from torchgraft.evaluate import finite, render
from torchgraft.fit import _live, plan
from torchgraft.fit._live import Live
from torchgraft.fit.ladder import Entry, climb
from torchgraft.train.history import History
from torchgraft.tune.base import Problem, Resources

REFRESH = '<meta http-equiv="refresh" content="5">'
EVIL = "</script><img src=x onerror=alert(1)>"


class Lines(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until its one value is changed."""
    now = [100.0]
    monkeypatch.setattr(_live.time, "monotonic", lambda: now[0])
    return now


def _history(steps: int = 30) -> dict[str, Any]:
    history = History()
    history.phases.append({"name": "lp_ft, fold 1 of 5: all layers", "rate": 1e-4, "epochs": 3, "steps": 30})
    history.legs.append({"phase": "before", "step": 0, "loss": 1.0, "accuracy": 0.5})
    for step in range(steps):
        history.add_point(1.0 / (step + 1), 1e-4)
    history.legs.append({"phase": "lp_ft, fold 1 of 5: all layers", "step": steps, "loss": 0.8, "accuracy": 0.6})
    return history.to_dict()


def _row(rung: int = 0, **more: Any) -> dict[str, Any]:
    accuracy = {"value": 0.5, "low": 0.4, "high": 0.6}
    return {"rung": rung, "method": "lda", "backbone": "b", "metrics": {"accuracy": accuracy}, "seconds": 1.0, **more}


def _page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_ladder_so_far_and_the_curves_of_what_runs(tmp_path: Path, clock: list[float]) -> None:
    live = Live(tmp_path, "insects", data={"held_out": {"n": 90, "how": "5-fold cross-validation"}})
    live.rung([_row(chosen=True)])
    page = _page(tmp_path)
    assert REFRESH in page and "<b>Running</b>" in page and "insects" in page
    assert "Nothing is decided yet: 1 rung measured so far." in page and "best so far" in page
    assert "Accuracy on 90 held-out samples" in page and "Under way" not in page
    clock[0] += 65
    live.leg(_history())
    page = _page(tmp_path)
    assert "<h2>Under way: lp_ft, fold 1 of 5: all layers</h2>" in page and "1\u00a0min\u00a005\u00a0s so far" in page
    assert 'aria-label="Held-out accuracy by epoch"' in page and 'id="ladder"' in page
    clock[0] += 65
    live.leg(_history(), "trying rate 3e-04")
    assert "Under way: trying rate 3e-04" in _page(tmp_path)
    clock[0] += 65
    live.rung([_row(), _row(1, chosen=True, training=[_history()])])
    page = _page(tmp_path)
    assert "Under way" not in page and "2 rungs measured" in page and "How it trained" in page
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"], "no draft is left behind"


def test_it_is_written_every_two_seconds_at_most(tmp_path: Path, clock: list[float], monkeypatch) -> None:
    written: list[float] = []
    monkeypatch.setattr(_live, "write_text", lambda path, text: written.append(clock[0]))
    live = Live(tmp_path, "insects")
    for _ in range(40):
        live.leg(_history())
        clock[0] += 0.25
    assert written == [100.0, 102.0, 104.0, 106.0, 108.0]


def test_a_page_that_takes_long_is_written_seldom(tmp_path: Path, clock: list[float], monkeypatch) -> None:
    written: list[float] = []

    def slow(path: Path, text: str) -> None:
        written.append(clock[0])
        clock[0] += 1.0

    monkeypatch.setattr(_live, "write_text", slow)
    live = Live(tmp_path, "insects")
    for _ in range(50):
        live.leg(_history())
        clock[0] += 0.5
    assert written[1] - written[0] >= 20


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    live = Live(None, "insects")
    live.rung([_row()])
    live.leg(_history())
    live.stop("interrupted")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [StorageError("the disk is full"), OSError(5, "input/output error")])
def test_what_cant_be_written_is_said_once_and_stops_nothing(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(path: Path, text: str) -> None:
        raise error

    monkeypatch.setattr(_live, "write_text", fails)
    progress = Lines()
    live = Live(tmp_path, "insects", progress=progress)
    for _ in range(3):
        live.leg(_history())
        clock[0] += 10
    live.stop("interrupted")
    assert len(progress.lines) == 1
    assert "the run goes on" in progress.lines[0] and str(error) in progress.lines[0]


def test_a_file_in_the_folders_place_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    progress = Lines()
    Live(tmp_path / "run", "insects", progress=progress).rung([_row()])
    assert len(progress.lines) == 1


def test_a_run_that_ended_early_no_longer_loads_itself(tmp_path: Path, clock: list[float]) -> None:
    live = Live(tmp_path, "insects")
    live.rung([_row()])
    live.stop("the disk is full")
    page = _page(tmp_path)
    assert REFRESH not in page and "Ended before it was done" in page and "the disk is full" in page


def test_a_block_that_fails_is_told(tmp_path: Path, clock: list[float]) -> None:
    with pytest.raises(KeyboardInterrupt), Live(tmp_path, "insects") as live:
        live.rung([_row()])
        raise KeyboardInterrupt
    assert "Ended before it was done" in _page(tmp_path) and "KeyboardInterrupt" in _page(tmp_path)
    with Live(tmp_path, "insects") as live:
        live.rung([_row()])
    assert REFRESH in _page(tmp_path)
    (tmp_path / "report.html").unlink()
    with pytest.raises(ValueError, match="early"), Live(tmp_path, "insects"):
        raise ValueError("early")
    assert not list(tmp_path.iterdir()), "a run that ends before its first rung has no page"


def _tiny() -> Network:
    torch.manual_seed(0)
    return Network(module=nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3)).eval())


def _photo_problem(folder: Path, live: Live) -> Problem:
    """40 noisy photos, reddish and bluish, and a network of two random convolutions."""
    rng = np.random.default_rng(0)
    for name, tint in (("red", (60, 0, 0)), ("blue", (0, 0, 60))):
        (folder / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 190, (16, 16, 3)) + np.array(tint)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
    backbone = Backbone(
        name="test/tiny",
        parameters=1000,
        build=_tiny,
        layout="map",
        width=8,
        pooling="avg",
        preprocessing=ImagePreprocessing(size=16, resize=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        licence="none",
        revision="tiny-1",
    )
    samples = read(folder, ReadOptions())
    z = features.extract(samples, backbone, engine="torch").z
    return Problem(
        blocks={backbone.name: np.asarray(z), "image": samples.x},
        y=samples.y,
        classes=samples.classes,
        folds=folds(samples.y, seed=0)[:2],
        resources=Resources(backbones={backbone.name: backbone}, poolings={backbone.name: "avg"}, on_leg=live.leg),
    )


def test_a_real_training_is_drawn_while_it_runs_and_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_live, "_APART", 0.0)
    monkeypatch.setattr(_live, "_SHARE", 0)
    pages: list[str] = []
    monkeypatch.setattr(_live, "write_text", lambda path, text: pages.append(text))
    live = Live(tmp_path, "photos")

    def row(i: int, entry: Entry) -> dict[str, Any]:
        metrics = {name: one.to_dict() for name, one in entry.metrics.items()}
        training = [finite(dict(one)) for one in entry.candidate.history]
        more = {"memory": entry.memory, "options": dict(entry.candidate.chosen), "training": training}
        return {"rung": i, "method": entry.rung.method, "metrics": metrics, "seconds": entry.seconds, **more}

    rungs = plan.rungs(("majority", "full"), ("test/tiny",), {"rate": 1e-2, "epochs": 2}, asked=True)
    entries, skipped = climb(
        _photo_problem(tmp_path / "photos", live),
        rungs,
        after_each=lambda so_far: live.rung([row(i, one) for i, one in enumerate(so_far)]),
    )
    assert [entry.rung.method for entry in entries] == ["majority", "full"] and not skipped
    assert any("<h2>Under way: full, fold 1 of 2" in page for page in pages)
    assert any("<h2>Under way: full, all samples" in page for page in pages)
    assert all(REFRESH in page for page in pages)
    final = render({"name": "photos", "ladder": [row(i, one) for i, one in enumerate(entries)]})
    assert REFRESH not in final and "<h3>full</h3>" in final
    for label in ("Training loss by step", "Held-out loss by epoch", "Held-out accuracy by epoch"):
        assert f'aria-label="{label}"' in final


def test_a_loss_that_is_no_number_and_hostile_names(tmp_path: Path, clock: list[float]) -> None:
    history = _history()
    history["phases"][0]["name"] = EVIL
    history["curve"][3] = [4, float("nan"), float("inf")]
    history["legs"][1]["loss"] = float("nan")
    live = Live(tmp_path, EVIL)
    live.rung([_row(method=EVIL)])
    clock[0] += 10
    live.leg(history, EVIL)
    page = _page(tmp_path)
    assert "<img" not in page and "NaN" not in page and "Infinity" not in page
    assert page.count("</script>") == 1
