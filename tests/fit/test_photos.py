"""The main job on photos, through the command line, with a tiny random network: stopped, resumed, damaged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from torchgraft.core.progress import SILENT
from torchgraft.fit import FitOptions, fit


@pytest.fixture(scope="module")
def backbone(small_backbone: Callable[[int], str]) -> str:
    return small_backbone(32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 30 noisy pictures, reddish and bluish; one file is cut short, one is no picture."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, tint in (("red", (90, 0, 0)), ("blue & <b>", (0, 0, 90))):
        (folder / name).mkdir()
        for i in range(30):
            pixels = rng.integers(0, 150, (40, 48, 3)) + np.array(tint)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.jpg")
    whole = (folder / "red" / "0.jpg").read_bytes()
    (folder / "red" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "red" / "words.jpg").write_text("no picture")
    return folder


def _command(photos: Path, backbone: str, out: Path) -> list[str]:
    fit_ = ["fit", str(photos), "--backbone", backbone, "--method", "majority,lda", "--out", str(out), "--json"]
    return [sys.executable, "-m", "torchgraft", *fit_]


def test_unreadable_photos_are_reported_and_left_out(photos: Path, backbone: str, tmp_path: Path) -> None:
    run = fit(FitOptions(target=str(photos), backbone=backbone, method="majority,lda", out=str(tmp_path / "run")))
    unreadable = [f for f in run.report.data["data"]["findings"] if f["kind"] == "unreadable"]
    assert unreadable[0]["count"] == 2
    assert sum(run.report.data["data"]["counts"].values()) == 60
    page = run.report.html.read_text(encoding="utf-8")
    assert "blue &amp; &lt;b&gt;" in page
    assert "blue & <b>" not in page
    predictions = run.graft.predict([photos / "red" / "1.jpg", photos / "red" / "words.jpg"])
    assert len(predictions) == 1
    assert "words.jpg" in predictions.failed[0].message


def test_killed_at_any_moment_it_can_be_resumed(photos: Path, backbone: str, tmp_path: Path) -> None:
    environment = {**os.environ, "TORCHGRAFT_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    out = tmp_path / "run"
    for moment in (0.0, 2.0):
        process = subprocess.Popen(_command(photos, backbone, out), env=environment, stdout=subprocess.DEVNULL)
        for _ in range(300):
            if (out / "run.toml").exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (out / ".model.draft").mkdir()
    resumed = subprocess.run(
        [sys.executable, "-m", "torchgraft", "fit", "--resume", str(out), "--json"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    again = json.loads(resumed.stdout)
    whole = fit(FitOptions(target=str(photos), backbone=backbone, method="majority,lda", out=str(tmp_path / "whole")))
    assert again["verdict"]["method"] == whole.report.data["verdict"]["method"]
    assert again["test"]["accuracy"] == pytest.approx(whole.report.data["test"]["accuracy"], abs=1e-6)
    assert not [p for p in out.iterdir() if p.name.startswith(".")], "drafts of the killed runs are cleared away"


def test_settings_reach_the_training_and_its_curves_stay(photos: Path, backbone: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    lines: list[str] = []
    options = FitOptions(
        target=str(photos), backbone=backbone, method="full", rate=1e-3, epochs=1, out=str(tmp_path / "run"),
        settings="rotation=15,noise=4,mixup=0,tracker=tensorboard",
    )  # fmt: skip
    fit(options, progress=SimpleNamespace(bar=SILENT.bar, say=lines.append))
    said = next(line for line in lines if line.startswith("full: rate 1.0e-03"))
    assert "On: rotation 15 (as asked), noise 4 (as asked)." in said
    assert "mixup (as asked)" in said
    assert "cutmix, smoothing (48 pictures, on from 5000)" in said
    assert list((tmp_path / "run" / "curves").rglob("events.out.tfevents.*"))
    assert not (tmp_path / "run" / "work").exists()
