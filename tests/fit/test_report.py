"""The report object: read back or refused, shown, written into the card; and its thumbnails."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from torchgraft.core.errors import ArtifactError
from torchgraft.fit import FitOptions, Report, Run, fit, plan
from torchgraft.fit.ladder import Entry
from torchgraft.fit.report import row_of
from torchgraft.tasks import _labels


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    np.savez(folder / "rows.npz", X=rng.normal(size=(120, 5)) + 1.5 * y[:, None], y=np.array(["ant", "bee"])[y])
    return fit(FitOptions(target=str(folder / "rows.npz"), out=str(folder / "run"), method="majority,lda"))


def test_it_reads_what_it_wrote(run: Run) -> None:
    report = Report.read(run.path)
    report.write()
    assert Report.read(run.path).data == report.data
    assert report.html == run.path / "report.html"
    assert str(report) == report.data["verdict"]["sentence"]
    assert report.chosen["method"] == report.data["verdict"]["method"] == "lda"


def test_a_notebook_shows_the_page(run: Run) -> None:
    shown = run.report._repr_html_()
    page = base64.b64decode(shown.partition("base64,")[2].partition('"')[0]).decode()
    assert page == run.report.html.read_text(encoding="utf-8")


def test_a_row_says_why_its_backbone_trained() -> None:
    rung = plan.Rung(method="lp_ft", source="lean", options=None, why="trains lean, the cheapest")
    candidate = SimpleNamespace(note="epoch 5 of 5", chosen={}, history=(), sources=("tuned/lean",))
    entry = Entry(
        rung=rung,
        candidate=candidate,
        transfer=True,
        measured=SimpleNamespace(metrics={}, rows=np.arange(3)),
        seconds=1.0,
    )
    assert row_of(0, entry, chosen=False)["note"] == "epoch 5 of 5; trains lean, the cheapest"
    assert row_of(0, replace(entry, rung=replace(rung, why="")), chosen=False)["note"] == "epoch 5 of 5"


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b'{"schema": 1', b"[1, 2]"])
def test_a_damaged_report_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "report.json").write_bytes(text)
    with pytest.raises(ArtifactError, match=r"no readable report\.json"):
        Report.read(tmp_path)


def test_a_folder_without_a_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"Expected the folder of a run"):
        Report.read(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"Expected the folder of a run"):
        Report.read(tmp_path / "file")


def test_labels_to_check_are_counted_whatever_is_shown(arrays: Path, tmp_path: Path, monkeypatch) -> None:
    with np.load(arrays) as data:
        y = data["y"].copy()
        y[::8] = np.roll(y, 40)[::8]
        np.savez(tmp_path / "wrong.npz", X=data["X"] + 4 * np.eye(8)[np.repeat([0, 1, 2], 40)], y=y)
    monkeypatch.setattr(_labels, "_SHOWN", 2)
    run = fit(FitOptions(target=str(tmp_path / "wrong.npz"), out=str(tmp_path / "run"), method="lda"))
    assert len(run.report.data["label_errors"]) == 2
    found = run.report.data["label_errors_found"]
    assert 2 < found <= 15
    assert f"These are the 2 likeliest of {found}." in run.report.html.read_text(encoding="utf-8")


def test_the_card_tells_how_good_and_on_what(run: Run) -> None:
    report = run.report
    accuracy = report.data["test"]["accuracy"]
    card = report.card(run.graft)
    assert card.startswith(run.graft.card())
    assert f"Accuracy {accuracy['value']:.3f}, 95 % interval {accuracy['low']:.3f} to {accuracy['high']:.3f}" in card
    assert "on the test split, touched once" in card
    untested = Report(report.path, {**report.data, "test": None}).card(run.graft)
    assert f"Accuracy {report.chosen['metrics']['accuracy']['value']:.3f}" in untested
    assert "on held-out samples that also chose it" in untested


def test_the_report_adds_up(run: Run) -> None:
    data = run.report.data
    assert data["data"]["counts"] == {"train": 96, "test": 24}
    assert data["learning_curve"]["points"][-1]["n"] == 96
    whole = data["learning_curve"]["points"][-1]["accuracy"]["value"]
    assert whole == pytest.approx(run.report.chosen["metrics"]["accuracy"]["value"])
    assert data["seconds"]["total"] >= data["seconds"]["features"]
    assert [row["rung"] for row in data["ladder"]] == [0, 1]
    assert len(data["mistakes"]) == 24 - np.trace(data["test"]["confusion"]), "all mistakes on the test split are shown"
