"""A graft on feature arrays and texts: what it predicts by hand, saves, loads and verifies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from torchgraft.core.errors import ArtifactError, DataError
from torchgraft.features.mapping import L2, Identity
from torchgraft.features.tfidf import TfIdf
from torchgraft.model import Graft, KNNHead, LinearHead, Part, as_samples, assemble, load


def _graft(**changes) -> Graft:
    plain = {
        "parts": (Part("array", Identity()),),
        "head": LinearHead(np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros(2)),
        "classes": ("cat", "dog"),
        "modality": "array",
        "method": "linear_probe",
    }
    return Graft(**(plain | changes))


def test_probabilities_by_hand() -> None:
    predictions = _graft(temperature=2.0).predict(np.array([[2.0, 0.0], [0.0, 4.0]]))
    np.testing.assert_allclose(predictions.probabilities[:, 1], [1 / (1 + np.e), np.e**2 / (1 + np.e**2)])
    assert predictions.labels == ["cat", "dog"]
    np.testing.assert_allclose(predictions.confidence, [np.e / (1 + np.e), np.e**2 / (1 + np.e**2)])


def test_abstains_under_the_threshold() -> None:
    predictions = _graft(threshold=0.8).predict(np.array([[1.0, 0.0], [0.0, 3.0]]))
    assert predictions.abstained.tolist() == [True, False]


def test_nothing_to_predict() -> None:
    predictions = _graft().predict(np.zeros((0, 2)))
    assert len(predictions) == 0
    assert predictions.probabilities.shape == (0, 2)
    assert predictions.labels == []


def test_parts_stand_side_by_side() -> None:
    parts = (Part("array", L2()), Part("text", TfIdf.fit(["good film", "bad film"])))
    z = assemble(parts, {"array": np.array([[3.0, 4.0]]), "text": ["good film"]})
    np.testing.assert_allclose(z[:, :2].toarray(), [[0.6, 0.8]], rtol=1e-6)
    assert z.shape[1] > 4


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (np.zeros((2, 2, 2)), "N x D and finite, got shape"),
        (np.array([[np.nan, 0.0]]), "1 not finite"),
    ],
)
def test_arrays_that_do_not_fit(items: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _graft().predict(items)


def test_one_text_is_not_a_list_of_texts() -> None:
    with pytest.raises(DataError, match="expects a list of texts, got str"):
        as_samples("good film", "text")


def test_another_modality_is_refused() -> None:
    with pytest.raises(DataError, match="fitted on array samples, got text"):
        _graft().predict(as_samples(["a text"], "text"))


@pytest.mark.parametrize("head", [None, KNNHead(np.eye(2), np.array([0, 1]), k=1, n_classes=2)])
def test_a_saved_graft_predicts_the_same(tmp_path: Path, head) -> None:
    graft = _graft(temperature=1.7, threshold=0.6, **({"head": head} if head else {}))
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    graft.save(tmp_path / "model", check=as_samples(x, "array"))
    again = load(tmp_path / "model")
    np.testing.assert_allclose(again.predict(x).probabilities, graft.predict(x).probabilities, atol=1e-6)
    assert (again.classes, again.temperature, again.threshold) == (("cat", "dog"), 1.7, 0.6)


def test_a_text_graft_is_saved_whole(tmp_path: Path) -> None:
    texts = ["good film", "a bad film", "good, very good", "bad"]
    vectoriser = TfIdf.fit(texts)
    width = vectoriser.transform(texts).shape[1]
    head = LinearHead(np.random.default_rng(0).normal(size=(2, width)), np.zeros(2))
    graft = _graft(parts=(Part("text", vectoriser),), head=head, modality="text", method="tfidf")
    graft.save(tmp_path / "model", check=as_samples(texts[:2], "text"))
    found = load(tmp_path / "model").predict(["unseen words é", "", "good"])
    np.testing.assert_allclose(
        found.probabilities, graft.predict(["unseen words é", "", "good"]).probabilities, atol=1e-6
    )


def test_changed_weights_fail_the_self_check(tmp_path: Path) -> None:
    x = np.array([[2.0, 0.0]], dtype=np.float32)
    _graft().save(tmp_path / "model", check=as_samples(x, "array"))
    weights = load_file(tmp_path / "model" / "model.safetensors")
    save_file({**weights, "head.weight": -weights["head.weight"]}, tmp_path / "model" / "model.safetensors")
    with pytest.raises(ArtifactError, match="the self-check failed"):
        load(tmp_path / "model")
    assert load(tmp_path / "model", verify=False).predict(x).labels == ["dog"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": None}, "don't fit together"),
        ({"temperature": "x"}, "don't fit together"),
        ({"classes": ["cat"]}, "graft.json names 1 classes, check.safetensors holds probabilities of 2"),
        ({"modality": "smell"}, "graft.json is damaged: modality 'smell'"),
        ({"modality": "text"}, "parts that read array beside text"),
    ],
)
def test_pieces_that_do_not_fit_together(tmp_path: Path, change: dict, message: str) -> None:
    _graft().save(tmp_path / "model", check=as_samples(np.array([[2.0, 0.0]], dtype=np.float32), "array"))
    config = json.loads((tmp_path / "model" / "graft.json").read_text())
    (tmp_path / "model" / "graft.json").write_text(json.dumps(config | change))
    with pytest.raises(ArtifactError, match=message):
        load(tmp_path / "model")


def test_names_are_no_markup_in_the_card() -> None:
    names = ("<img src=x>", "[a](http://b)", "golden_retriever", "_x_", "*b*\n# c", "a|b`c`")
    card = _graft(classes=names).card()
    shown = r"\<img src=x\>, \[a\](http://b), golden_retriever, \_x\_, \*b\* \# c, a\|b\`c\`"
    assert f"- Classes: {shown}\n" in card


def test_the_card_names_licences() -> None:
    graft = _graft(backbones={"packaged/x": {"name": "packaged/x", "licence": "Apache-2.0"}})
    assert "packaged/x (Apache-2.0)" in graft.card()
