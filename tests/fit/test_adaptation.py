"""A labelled source and a target without labels: what is tried, what is shipped, and that no label of it is used."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

import torchgraft
from torchgraft.core.errors import DataError, OptionError
from torchgraft.core.progress import SILENT
from torchgraft.fit import FitOptions, Run, adaptation, fit, repeat, resume
from torchgraft.fit.adaptation import Adaptation
from torchgraft.model import assemble, load
from torchgraft.train.select import information_maximisation

FAST = "standardise,coral"


def options(pair: Path, out: Path | None = None, target: str = "bare.npz", **changes: object) -> FitOptions:
    values = {"source": (str(pair / "source.npz"),), "out": str(out) if out else None}
    return FitOptions(target=str(pair / target), **{**values, **changes})


def bits(run: Run) -> tuple[bytes, bytes]:
    return tuple((run.path / "model" / name).read_bytes() for name in ("model.safetensors", "graft.json"))


def untimed(run: Run) -> dict:
    """The choice and all that it stands on, without wall times."""
    data = run.report.data
    ladder = [{key: value for key, value in row.items() if key != "seconds"} for row in data["ladder"]]
    for row in ladder:
        row["metrics"] = {name: one for name, one in row["metrics"].items() if name != "oracle_accuracy"}
    domains = {key: value for key, value in data["domains"].items() if key != "oracle"}
    return {"ladder": ladder, "domains": domains, "verdict": data["verdict"], "test": data["test"]}


def oracle(run: Run) -> dict[str, float]:
    return {row["method"]: row["metrics"]["oracle_accuracy"]["value"] for row in run.report.data["ladder"]}


@pytest.fixture(scope="module")
def shipped(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run on the target without labels, with a test set."""
    out = tmp_path_factory.mktemp("runs") / "bare"
    return fit(options(pair, out, test=str(pair / "test.npz")))


@pytest.fixture(scope="module")
def known(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same where the target has labels, which are printed."""
    out = tmp_path_factory.mktemp("runs") / "known"
    return fit(options(pair, out, "target.npz", oracle_labels=True, test=str(pair / "test.npz")))


@pytest.fixture(scope="module")
def found(pair: Path) -> Adaptation:
    """Everything that a run with two methods knows."""
    return adaptation.run(options(pair, method=FAST), SILENT)


def test_a_run_leaves_everything_in_its_folder(shipped: Run) -> None:
    names = {str(p.relative_to(shipped.path)) for p in shipped.path.rglob("*") if p.is_file()}
    assert names == {
        "report.html", "report.json", "run.toml",
        "model/README.md", "model/check.safetensors", "model/graft.json", "model/model.safetensors",
    }  # fmt: skip
    assert "Shipped: committee" in str(shipped.report)


def test_a_committee_ships_where_it_is_better(known: Run) -> None:
    right = oracle(known)
    assert known.report.data["verdict"]["method"] == "committee"
    assert right["source-only"] < 0.85 and right["committee"] > 0.93
    assert known.report.data["test"]["accuracy"]["value"] > 0.9
    assert [one["name"] for one in known.report.data["domains"]["tests"]] == [
        "gap", "changes", "collapse", "source", "agreement",
    ]  # fmt: skip


def test_what_is_shipped_answers_from_the_file(shipped: Run, known: Run, pair: Path) -> None:
    """The loaded graft is as right as the report says, on the target itself."""
    with np.load(pair / "target.npz") as data:
        predicted = load(shipped.path).predict(data["X"])
        right = (np.array(predicted.labels) == data["y"]).mean()
    assert right == pytest.approx(oracle(known)["committee"], abs=1e-9)
    assert load(shipped.path).method == "committee"


@pytest.mark.parametrize("name", ["target.npz", "wrong.npz"])
def test_labels_of_the_target_change_nothing(shipped: Run, pair: Path, tmp_path: Path, name: str) -> None:
    """Right labels, labels at random, printed or not: the same choice and the same model to the byte."""
    run = fit(options(pair, tmp_path / "run", name, oracle_labels=name == "wrong.npz", test=str(pair / "test.npz")))
    assert bits(run) == bits(shipped)
    assert untimed(run) == untimed(shipped)


def test_a_class_of_its_test_part_alone_changes_nothing(pair: Path, tmp_path: Path) -> None:
    """Parts of a target with classes in one of them alone: every row is adapted to, and the run is the same bits."""
    with np.load(pair / "target.npz") as data:
        x, y = data["X"], data["y"].astype("<U3")
    runs = []
    for i, strange in enumerate((y, np.where(np.arange(81) > 70, "emu", "ant"))):
        parts = {"X_train": x[:60], "y_train": strange[:60], "X_test": x[60:], "y_test": strange[60:]}
        np.savez(tmp_path / f"{i}.npz", **parts)
        runs.append(fit(options(pair, tmp_path / f"run{i}", str(tmp_path / f"{i}.npz"), method=FAST)))
    assert runs[0].report.data["data"]["counts"]["target"] == 81
    assert bits(runs[0]) == bits(runs[1])
    assert untimed(runs[0]) == untimed(runs[1])


def test_the_oracle_prints_a_column_and_chooses_nothing(shipped: Run, known: Run) -> None:
    assert bits(known) == bits(shipped)
    assert untimed(known) == untimed(shipped)
    assert "oracle_accuracy" not in shipped.report.data["ladder"][0]["metrics"]
    assert known.report.data["domains"]["oracle"] and not shipped.report.data["domains"]["oracle"]


def test_a_run_file_repeats_it(shipped: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    again = repeat(shipped.path / "run.toml")
    assert again.path == Path("runs/bare-1")
    assert bits(again) == bits(shipped)
    assert untimed(again) == untimed(shipped)


def test_from_python_and_gone_on_with(pair: Path, tmp_path: Path) -> None:
    run = torchgraft.fit(
        pair / "bare.npz", source=(str(pair / "source.npz"),), method=FAST, out=tmp_path / "run", budget="1m"
    )
    assert run.graft.classes == ("ant", "bee", "cat")
    before = bits(run)
    assert bits(resume(run.path)) == before


def test_equal_domains_ship_source_only(pair: Path, tmp_path: Path) -> None:
    run = fit(options(pair, tmp_path / "run", "same.npz", method=FAST))
    data = run.report.data
    assert data["verdict"]["method"] == "source-only" == load(run.path).method
    assert data["domains"]["gap"]["p"] > 0.5
    assert "nothing to adapt to" in str(run.report)
    assert next(one["name"] for one in data["domains"]["tests"] if not one["passed"]) == "gap"
    with np.load(pair / "source.npz") as source:
        assert (np.array(run.graft.predict(source["X"]).labels) == source["y"]).mean() > 0.97


def test_the_graft_says_what_the_candidate_said(found: Adaptation) -> None:
    """Every rung, written as one linear head on the rows as they come; not only the one that is shipped."""
    rows = found.rows("")
    target = found.sources.samples.take(rows).x
    for one in found.ladder:
        graft = adaptation._graft(one, found.space, found.sources, {**found.gap, "temperature": 1.0})
        np.testing.assert_allclose(graft.predict(target).probabilities, one.probabilities, atol=1e-4)
    assert [one.name for one in found.ladder] == ["source-only", "standardise", "coral", "committee"]
    np.testing.assert_allclose(found.graft.prior, found.ladder[found.index].probabilities.mean(axis=0))


def test_the_temperature_is_source_onlys(found: Adaptation) -> None:
    grafts = [adaptation._graft(one, found.space, found.sources, found.gap) for one in found.ladder]
    assert [graft.temperature for graft in grafts] == [found.gap["temperature"], 1.0, 1.0, 1.0]


def test_answers_of_later_rows(found: Adaptation) -> None:
    rows = found.rows("")
    for one in found.ladder:
        later = adaptation.answers_of(one, found.x[rows[:7]], None)
        np.testing.assert_allclose(later, one.probabilities[:7], atol=1e-5)


def test_a_few_labels_decide(pair: Path, tmp_path: Path, found: Adaptation) -> None:
    """Labels that are right side with the committee; labels as source-only gives them do not."""
    rows, classes = found.rows(""), np.array(found.sources.samples.classes)
    x, base = found.sources.samples.x[rows], classes[found.ladder[0].probabilities.argmax(1)]
    with np.load(pair / "target.npz") as data:
        truth = data["y"]
    some = np.concatenate([np.flatnonzero(base != truth)[:4], np.flatnonzero(base == truth)[:8]])
    for labels, method in ((truth, "committee"), (base, "source-only")):
        path = tmp_path / f"{method}.npz"
        np.savez(path, X=x[some], y=labels[some])
        run = adaptation.run(options(pair, method=FAST, few_labels=str(path)), SILENT)
        assert run.ladder[run.index].name == method
        assert run.tests[-1].name == "labels" and run.tests[-1].passed is (method == "committee")
        assert "on 12 labelled target samples" in run.sentence
        assert run.sentence.endswith("A few labels of the target decided.")


def test_a_few_labels_do_not_decide_where_there_is_no_gap(pair: Path) -> None:
    run = adaptation.run(options(pair, target="same.npz", method=FAST, few_labels=str(pair / "source.npz")), SILENT)
    assert run.index == 0
    assert run.sentence.endswith("No label of the target was used.")


def test_few_labels_and_a_test_set_do_not_move_the_candidates(pair: Path, found: Adaptation) -> None:
    run = adaptation.run(
        options(pair, method=FAST, few_labels=str(pair / "few.npz"), test=str(pair / "test.npz")), SILENT
    )
    for one, other in zip(run.ladder, found.ladder, strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_a_method_by_name(pair: Path) -> None:
    run = adaptation.run(options(pair, method="coral"), SILENT)
    assert [one.name for one in run.ladder] == ["source-only", "coral"]
    assert run.ladder[run.index].name in ("coral", "source-only")
    assert "side with it" not in run.sentence, "alone it has no vote"


def test_two_are_no_committee_and_those_behind_them_vote(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Source-only and two of three pass: the first of them is the candidate; the one that lost 2 points votes too."""
    kept = {adaptation.align.MARGIN: [0, 1, 2], adaptation.align.BENCH: [0, 1, 2, 3]}
    monkeypatch.setattr(adaptation.align.Rehearsal, "passing", lambda self, margin: kept[margin])
    asked = []
    tests = adaptation._guard.tests
    monkeypatch.setattr(adaptation._guard, "tests", lambda evidence: asked.append(evidence) or tests(evidence))
    run = adaptation.run(options(pair, method="coral,sa,l2"), SILENT)
    assert [one.name for one in run.ladder] == ["source-only", "coral", "sa", "l2"]
    assert asked[0].votes.shape[0] == 2, "sa and l2, and not coral for itself"
    np.testing.assert_array_equal(asked[0].adapted, run.ladder[1].probabilities)


def test_of_several_values_the_clearest_is_the_candidate(pair: Path) -> None:
    run = adaptation.run(options(pair, method="coral", settings="ridge=0.1/1000"), SILENT)
    assert [one.name for one in run.ladder] == ["source-only", "coral(ridge=0.1)", "coral(ridge=1000)"]
    clear = [information_maximisation(one.probabilities) for one in run.ladder[1:]]
    assert [one.passed for one in run.ladder[1:]] == [clear[0] > clear[1], clear[0] < clear[1]]
    assert any("another setting is clearer" in one.note for one in run.ladder[1:])


def test_other_settings_of_a_method_do_not_vote_on_it(pair: Path) -> None:
    run = adaptation.run(options(pair, method="coral", settings="ridge=0.1/0.2/0.3"), SILENT)
    assert len(run.ladder) == 4
    assert "side with it" not in run.sentence


def test_nobody_passes_the_rehearsal(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptation.align.Rehearsal, "passing", lambda self, margin: [0])
    run = adaptation.run(options(pair, method=FAST), SILENT)
    assert run.index == 0 and run.tests == ()
    assert run.sentence.startswith("Shipped: source-only. On the source itself standardise, coral would do harm")
    assert [one.passed for one in run.ladder] == [True, False, False]


def test_two_sources(pair: Path, tmp_path: Path, make_domain) -> None:
    """The second is the first, far away: what lies between them is taken off, and the nearer one counts more."""
    x, y = make_domain(72, seed=6)
    np.savez(tmp_path / "far.npz", X=x + 50, y=y)
    both = (str(pair / "source.npz"), str(tmp_path / "far.npz"))
    run = adaptation.run(options(pair, target="target.npz", method=FAST, source=both, oracle_labels=True), SILENT)
    assert len(run.rows("train")) == 144
    means = [run.x[run.domains.origin == i].mean(axis=0) for i in (0, 1)]
    np.testing.assert_allclose(means[0], means[1], atol=1e-6)
    assert run.ladder[0].right.mean() > 0.95
    truth = run.domains.oracle[run.rows("")]
    assert run.index > 0
    assert (run.ladder[run.index].probabilities.argmax(1) == truth).mean() > 0.9
    near, far = run.several
    assert (near.name, far.name, far.weight) == ("source", "far", 1.0) and near.weight > 1.5
    assert run.sentence.endswith(f"a sample of source counts {near.weight:.1f} times as much as one of far.")


def test_equal_sources_are_one_source(pair: Path) -> None:
    """The same file twice: both count alike, and the answers are those of it alone."""
    twice = (str(pair / "source.npz"),) * 2
    run = adaptation.run(options(pair, method="coral", source=twice), SILENT)
    alone = adaptation.run(options(pair, method="coral"), SILENT)
    assert [one.weight for one in run.several] == [1.0, 1.0] and alone.several == ()
    assert "A sample of each source counts the same" in run.sentence and "counts" not in alone.sentence
    same = run.ladder[0].probabilities.argmax(1) == alone.ladder[0].probabilities.argmax(1)
    assert same.mean() > 0.95


def test_the_gap_is_measured_and_can_be_written(found: Adaptation) -> None:
    gap = found.gap
    assert gap["p"] < 0.01 and gap["a_distance"] > 1 and gap["mmd2"] > 0
    assert gap["prior_source"] == pytest.approx([1 / 3] * 3)
    assert sum(gap["prior_target"]) == pytest.approx(1)
    json.dumps(gap, allow_nan=False)


def test_a_class_with_a_single_sample_and_a_single_feature(tmp_path: Path, make_domain) -> None:
    """Its spread is not known, and one column spans no plane: both are told, neither stops the run."""
    x, y = make_domain(61, seed=0)
    y = np.where(np.arange(61) == 60, "dog", y)
    one = (x @ np.array([1.0, 2, 3, 0, 0, 0])).reshape(-1, 1)
    np.savez(tmp_path / "s.npz", X=one, y=y)
    np.savez(tmp_path / "t.npz", X=one[:50] + 4)
    run = fit(FitOptions(target=str(tmp_path / "t.npz"), source=(str(tmp_path / "s.npz"),), method=FAST,
                         out=str(tmp_path / "run")))  # fmt: skip
    assert run.report.data["domains"]["gap"]["class_gaps"][-1] is None
    assert "<svg" in run.report.html.read_text(encoding="utf-8")


def test_what_can_not_be_done_is_said(pair: Path, tmp_path: Path, make_domain) -> None:
    x, _ = make_domain(12, seed=0)
    np.savez(tmp_path / "three.npz", X=x[:3])
    np.savez(tmp_path / "once.npz", X=x[:4], y=np.array(["a", "b", "c", "d"]))
    np.savez(tmp_path / "lone.npz", X=x[:4], y=np.array(["a", "a", "a", "b"]))
    cases = [
        ({"target": str(tmp_path / "three.npz")}, DataError, "72 source and 3 target samples can be used; 4 of each"),
        ({"source": (str(tmp_path / "once.npz"),)}, DataError, "Expected two classes with two samples or more each"),
        ({"source": (str(tmp_path / "lone.npz"),)}, DataError, "can't be halved to rehearse"),
        ({"method": "ldaa"}, OptionError, "there is no 'ldaa'"),
        ({"backbone": "packaged/efficientnet_lite0"}, OptionError, "need no backbone"),
    ]
    for changes, error, message in cases:
        values = {"target": str(pair / "bare.npz"), "source": (str(pair / "source.npz"),), "method": FAST}
        with pytest.raises(error, match=message):
            fit(FitOptions(**{**values, "out": str(tmp_path / "run"), **changes}))
        assert not (tmp_path / "run").exists(), "a run that could not begin leaves nothing"


def test_options_that_need_a_source() -> None:
    with pytest.raises(OptionError, match="--few-labels goes with --source .*--oracle-labels goes with --source"):
        FitOptions(target="x", few_labels="few.npz", oracle_labels=True)


def reviews(path: Path, n: int, seed: int, noun: str, labelled: bool = True) -> Path:
    rng = np.random.default_rng(seed)
    words = {"good": ["lovely", "great", "warm", "fine"], "bad": ["awful", "torn", "cold", "cheap"]}
    rows = ["text,label" if labelled else "text"]
    for i in range(n):
        label = ("good", "bad")[i % 2]
        text = f"the {rng.choice(words[label])} {rng.choice(words[label])} {noun} number {i}"
        rows.append(f"{text},{label}" if labelled else text)
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def texts(tmp_path: Path, **changes: object) -> FitOptions:
    source = reviews(tmp_path / "coats.csv", 60, 0, "coat")
    target = reviews(tmp_path / "pots.csv", 50, 1, "pot", labelled=False)
    return FitOptions(target=str(target), source=(str(source),), method=FAST, out=str(tmp_path / "run"), **changes)


def test_texts_without_a_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptation, "backbone_names", lambda options, modality: ())
    run = fit(texts(tmp_path))
    said = load(run.path).predict(["a lovely warm pot", "torn and cheap"]).labels
    assert said == ["good", "bad"]
    assert run.report.data["verdict"]["backbone"] == "text"


def test_words_beside_a_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backbone that knows nothing, made here: the words decide, in the candidates as in the graft."""
    gather = adaptation.gather

    def with_noise(samples, names, **rest):
        plain = gather(samples, (), **rest)
        noise = np.random.default_rng(0).normal(size=(len(plain.samples), 5)).astype(np.float32)
        return dataclasses.replace(
            plain, blocks={"made": noise, **plain.blocks}, about={"made": {"name": "made", "pooling": "mean"}}
        )

    monkeypatch.setattr(adaptation, "backbone_names", lambda options, modality: ("made",))
    monkeypatch.setattr(adaptation, "gather", with_noise)
    few = reviews(tmp_path / "few.csv", 8, 3, "pot")
    run = adaptation.run(texts(tmp_path, few_labels=str(few)), SILENT)
    assert run.space.words is not None
    assert run.ladder[0].right.mean() > 0.95
    rows = run.rows("")
    blocks = {"made": run.sources.blocks["made"][rows], "text": [run.sources.blocks["text"][i] for i in rows]}
    for one in run.ladder:
        graft = adaptation._graft(one, run.space, run.sources, {**run.gap, "temperature": 1.0})
        assert sparse.issparse(assemble(graft.parts, blocks))
        np.testing.assert_allclose(np.exp(graft.log_probabilities(blocks)), one.probabilities, atol=1e-4)
        assert set(graft.backbones) == {"made"}
