"""`graft evaluate`: one model, two models, and data that does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from torchgraft.evaluate import score
from torchgraft.features.mapping import Identity
from torchgraft.model import Graft, LinearHead, Part, load


def test_json_is_the_object_under_test(graft, run: Path, rows: Path) -> None:
    done = graft("evaluate", run, rows, "--json")
    data = np.load(rows)
    expected = score(np.repeat([0, 1, 2], 50), load(run).predict(data["X"]).probabilities, ("ant", "bee", "cat"))
    assert json.loads(done.out) == json.loads(json.dumps(expected))


def test_for_people(graft, run: Path, rows: Path) -> None:
    done = graft("evaluate", run, rows)
    assert done.code == 0
    assert "accuracy" in done.out.splitlines()[0]
    assert [line.split()[0] for line in done.out.splitlines()[-3:]] == ["ant", "bee", "cat"]


def test_two_models(graft, run: Path, rows: Path) -> None:
    scores = json.loads(graft("evaluate", run, run, "--data", rows, "--json").out)
    assert set(scores) == {"a", "b", "paired"}
    assert scores["a"] == scores["b"]
    assert (scores["paired"]["fixed"], scores["paired"]["broken"]) == (0, 0)
    assert "within the noise" in graft("evaluate", run, run, "--data", rows).out


def test_who_gained_and_lost_is_said_by_class(graft, run: Path, rows: Path, tmp_path: Path) -> None:
    good = load(run)
    head = LinearHead(np.zeros((3, 6)), np.array([1.0, 0.0, 0.0]))
    Graft(parts=(Part("array", Identity()),), head=head, classes=good.classes, modality="array", method="x").save(
        tmp_path / "ants"
    )
    scores = json.loads(graft("evaluate", tmp_path / "ants", run, "--data", rows, "--json").out)["paired"]
    assert [row["class"] for row in scores["lost"]] == ["ant"] and len(scores["gained"]) == 2
    lines = graft("evaluate", tmp_path / "ants", run, "--data", rows).out.splitlines()
    first = scores["gained"][0]
    assert f"gained {first['class']} ({first['fixed']} fixed, 0 broken)" in "\n".join(lines)
    assert f"lost   ant (0 fixed, {scores['lost'][0]['broken']} broken)" in lines
    assert lines[-1] == "The second is better."


@pytest.mark.parametrize("arguments", [("a",), ("a", "b", "c"), ("a", "b", "c", "--data", "d")])
def test_a_wrong_number_of_arguments(graft, arguments) -> None:
    done = graft("evaluate", *arguments)
    assert done.code == 2
    assert "expected MODEL DATA, or MODEL MODEL2 --data DATA" in done.err


def test_unknown_labels_get_a_near_miss(graft, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "more.npz"
    np.savez(path, X=np.zeros((4, 6), dtype=np.float32), y=np.array(["ants", "bee", "bee", "dog"]))
    done = graft("evaluate", run, path)
    assert done.code == 2
    assert "does not know: 'ants' Did you mean 'ant'?; 'dog'" in done.err
