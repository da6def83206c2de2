"""The main job on small data: what it leaves on disk, that it repeats itself, and what stops it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from torchgraft.core.errors import DataError, OptionError, StorageError, UserError
from torchgraft.core.journal import Journal
from torchgraft.fit import FitOptions, fit, repeat, resume
from torchgraft.fit import run as run_module
from torchgraft.fit._choice import Choice
from torchgraft.model import load


def _options(target: Path, out: Path, **changes) -> FitOptions:
    return FitOptions(target=str(target), out=str(out), **changes)


def test_a_run_leaves_everything_in_its_folder(arrays: Path, tmp_path: Path) -> None:
    run = fit(_options(arrays, tmp_path / "run"))
    names = {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()}
    assert names == {
        "report.html", "report.json", "run.toml",
        "model/README.md", "model/check.safetensors", "model/graft.json", "model/model.safetensors",
    }  # fmt: skip
    assert load(run.path).classes == ("ant", "bee", "cat")
    assert run.graft.predict(np.zeros((2, 8))).probabilities.shape == (2, 3)


def test_the_report_has_the_stable_keys(arrays: Path, tmp_path: Path) -> None:
    data = json.loads(fit(_options(arrays, tmp_path / "run")).report.path.joinpath("report.json").read_text())
    assert data["schema"] == 1
    assert {"task", "data", "ladder", "verdict", "test", "seconds", "environment"} <= set(data)
    row = data["ladder"][0]
    assert {"rung", "method", "backbone", "metrics", "seconds", "chosen", "note"} <= set(row)
    assert set(row["metrics"]["accuracy"]) == {"value", "low", "high"}
    assert set(data["verdict"]) == {"rung", "method", "backbone", "sentence"}
    assert {"accuracy", "macro_f1", "ece", "per_class", "confusion"} <= set(data["test"])
    assert sum(r["chosen"] for r in data["ladder"]) == 1
    assert data["ladder"][data["verdict"]["rung"]]["chosen"]


def test_the_test_split_is_kept_out_of_everything_else(arrays: Path, tmp_path: Path) -> None:
    data = fit(_options(arrays, tmp_path / "run")).report.data
    assert data["data"]["counts"] == {"train": 96, "test": 24}
    assert data["data"]["held_out"] == {"how": "5-fold cross-validation", "n": 96}
    assert np.sum(data["test"]["confusion"]) == 24


def test_transfer_has_to_earn_its_place(reviews: Path, tmp_path: Path) -> None:
    run = fit(_options(reviews, tmp_path / "run", method="majority,tfidf"))
    assert run.report.data["verdict"]["method"] == "tfidf"
    assert "No pretrained network was needed" in str(run.report)
    assert run.graft.predict(["a lovely warm coat", "torn and cheap"]).labels == ["good", "bad"]


def test_texts_are_escaped_in_the_report(reviews: Path, tmp_path: Path) -> None:
    run = fit(_options(reviews, tmp_path / "run", method="majority"))
    page = run.report.html.read_text(encoding="utf-8")
    assert "<script>alert" not in page


def test_texts_that_utf_8_can_not_hold(tmp_path: Path) -> None:
    words = ("fine", "torn")
    rows = [{"text": f"{words[i % 2]} \ud800 {i}", "label": f"{words[i % 2]} \udc00"} for i in range(60)]
    rows[0]["text"] = "torn coat"  # a mistake, so that the report shows it
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    run = fit(_options(tmp_path / "a.jsonl", tmp_path / "run", method="majority,tfidf"))
    assert load(run.path).classes == ("fine \udc00", "torn \udc00")
    assert run.report.data["data"]["classes"] == ["fine \udc00", "torn \udc00"]
    assert "data:text/html" in run.report._repr_html_()


def test_the_same_options_give_the_same_bits(arrays: Path, tmp_path: Path) -> None:
    first = fit(_options(arrays, tmp_path / "run"))
    before = (first.path / "model" / "model.safetensors").read_bytes()
    again = resume(first.path)
    assert again.path == first.path
    assert (again.path / "model" / "model.safetensors").read_bytes() == before
    assert again.report.data["verdict"] == first.report.data["verdict"]


def test_a_run_file_repeats_the_run_in_a_new_folder(
    arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = fit(_options(Path(arrays.name), tmp_path / "run", seed=3, method="lda,linear_probe"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = repeat(first.path / "run.toml")
    assert again.path == Path("runs/rows-1")
    models = [(run.path / "model" / "model.safetensors").read_bytes() for run in (first, again)]
    assert models[0] == models[1]
    assert [r["method"] for r in again.report.data["ladder"]] == ["lda", "linear_probe"]
    assert again.report.data["options"]["seed"] == 3


@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupted_run_leaves_the_best_so_far(
    arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    climb = run_module.climb

    def interrupted(problem, rungs, **rest):
        given = rest.pop("after_each")

        def stop(entries):
            given(entries)
            if len(entries) == after:
                raise KeyboardInterrupt

        return climb(problem, rungs, after_each=stop, **rest)

    monkeypatch.setattr(run_module, "climb", interrupted)
    with pytest.raises(KeyboardInterrupt) as stopped:
        fit(_options(arrays, tmp_path / "run", method="majority,lda,knn"))
    assert stopped.value.args == (str(tmp_path / "run"),)
    assert load(tmp_path / "run").method == ("majority", "lda")[after - 1]
    monkeypatch.undo()
    whole = fit(_options(arrays, tmp_path / "whole", method="majority,lda,knn"))
    resumed = resume(tmp_path / "run")
    read = [(run.path / "model" / "model.safetensors").read_bytes() for run in (whole, resumed)]
    assert read[0] == read[1]


def test_without_a_test_split_the_held_out_numbers_stand(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 10)
    np.savez(tmp_path / "few.npz", X=rng.normal(size=(20, 4)) + 4 * y[:, None], y=y)
    run = fit(_options(tmp_path / "few.npz", tmp_path / "run"))
    assert run.report.data["test"] is None
    assert "on held-out samples that also chose it" in (run.path / "model" / "README.md").read_text()


def test_a_test_set_of_its_own(arrays: Path, tmp_path: Path) -> None:
    with np.load(arrays) as data:
        np.savez(
            tmp_path / "test.npz", X=data["X"][::2] + 0.01, y=np.where(data["y"][::2] == "ant", "emu", data["y"][::2])
        )
    data = fit(_options(arrays, tmp_path / "run", test=str(tmp_path / "test.npz"))).report.data
    assert data["data"]["counts"] == {"train": 120, "test": 40}
    unknown = [f for f in data["data"]["findings"] if f["kind"] == "unknown_label"]
    assert unknown[0]["count"] == 20
    assert "emu" in unknown[0]["message"]


def test_class_weights_reach_the_methods(arrays: Path, tmp_path: Path) -> None:
    data = fit(_options(arrays, tmp_path / "run", class_weight="balanced", method="linear_probe")).report.data
    assert data["options"]["class_weight"] == "balanced"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"method": "ldaa"}, OptionError, "Did you mean 'lda'"),
        ({"budget": "soon"}, OptionError, "--budget expects a time"),
        ({"backbone": "packaged/efficientnet_lite0"}, OptionError, "need no backbone"),
        ({"method": "tfidf"}, OptionError, "no method applies"),
        ({"test": "nowhere.npz"}, DataError, "nowhere.npz"),
        ({"class_weight": "heavy"}, OptionError, "--class-weight expects none or balanced"),
        ({"engine": "onnxruntim"}, OptionError, "Did you mean 'onnxruntime'"),
        ({"engine": "warp", "budget": "soon", "seed": -1}, OptionError, "--engine .* --budget .* --seed"),
    ],
)
def test_wrong_options_say_what_is_wrong(
    arrays: Path, tmp_path: Path, changes: dict, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        fit(_options(arrays, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        (80, {"backbone": "packaged/nothing"}, "packaged has no 'nothing'"),
        (80, {"method": "tfidf", "settings": "nothing=1"}, "has the setting 'nothing'"),
        (2, {"method": "tfidf"}, "no class has a second sample"),
    ],
)
def test_what_shows_after_reading_leaves_no_folder(
    reviews: Path, tmp_path: Path, rows: int, changes: dict, message: str
) -> None:
    lines = reviews.read_text(encoding="utf-8").splitlines()
    reviews.write_text("\n".join(lines[: rows + 1]), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        fit(_options(reviews, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_decisions_alone_do_not_keep_the_folder(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(*_: object, journal: Journal, **__: object) -> None:
        journal.once("features:first", lambda: [0.0, 1.0])
        raise OptionError("the second backbone is unknown")

    monkeypatch.setattr(run_module, "gather", gather)
    with pytest.raises(OptionError, match="the second backbone"):
        fit(_options(reviews, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_what_can_be_gone_on_with_stays(arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.MonkeyPatch.context() as full, pytest.raises(StorageError):
        full.setattr(run_module, "load_data", _raising(StorageError("the disk is full")))
        fit(_options(arrays, tmp_path / "run"))
    assert (tmp_path / "run" / "run.toml").is_file()
    monkeypatch.setattr(run_module, "load_data", _raising(DataError("the disk with the data is not mounted")))
    with pytest.raises(DataError, match="not mounted"):
        resume(tmp_path / "run")
    assert (tmp_path / "run" / "run.toml").is_file()


def _raising(error: Exception) -> Callable[..., None]:
    def stop(*_: object) -> None:
        raise error

    return stop


def test_what_trackers_write_is_not_in_the_folder_that_is_deleted(tmp_path: Path) -> None:
    sources = SimpleNamespace(backbones={}, about={})
    made = run_module.make_resources(sources, tmp_path / "run" / "work", Journal())
    assert made.logs == tmp_path / "run" / "curves"
    assert run_module.make_resources(sources, None, Journal()).logs is None


def test_the_ladder_hears_what_a_ranking_picked(arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = Choice(names=(), ranking={"advice": {"backbone": "timm/cached"}})
    monkeypatch.setattr(run_module, "choose_backbones", lambda *_, **__: choice)
    heard: list[str] = []
    climb = run_module.climb
    monkeypatch.setattr(run_module, "climb", lambda *given, **more: heard.append(more["pick"]) or climb(*given, **more))
    fit(_options(arrays, tmp_path / "run", method="majority"))
    assert heard == ["timm/cached"]


def test_a_missing_target_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing-here"):
        fit(_options(tmp_path / "nothing-here", tmp_path / "run"))
    assert not (tmp_path / "run").exists(), "a run that could not begin leaves nothing"


def test_one_class_only(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", X=np.random.default_rng(0).normal(size=(30, 3)), y=np.zeros(30, dtype=int))
    with pytest.raises(DataError, match="one class only"):
        fit(_options(tmp_path / "one.npz", tmp_path / "run"))


def test_an_unlabelled_target_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(30, 3)))
    with pytest.raises(DataError, match="without labels"):
        fit(_options(tmp_path / "x.npy", tmp_path / "run"))


def test_a_file_in_the_way_of_the_run(arrays: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(StorageError, match="file of that name is in the way"):
        fit(_options(arrays, tmp_path / "run"))
    assert (tmp_path / "run").read_text() == "mine"


def test_runs_are_numbered(arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = FitOptions(target=str(arrays), method="majority")
    assert [str(fit(options).path) for _ in range(2)] == ["runs/rows-1", "runs/rows-2"]
