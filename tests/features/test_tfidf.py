from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from torchgraft.features.tfidf import WORD, TfIdf

TEXTS = ["The cat sat on a mat", "the dog sat", "A cat and a dog, 2 of them", "Überraschung! 猫が好き 🙂"]


def test_is_scikit_learns_side_by_side():
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORD, sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char", ngram_range=(2, 4), sublinear_tf=True)
    expected = sparse.hstack([words.fit_transform(TEXTS), characters.fit_transform(TEXTS)])
    mapped = TfIdf.fit(TEXTS).transform(TEXTS)
    assert mapped.format == "csr"
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(mapped.toarray(), expected.toarray(), atol=1e-6)


def test_hand_worked():
    """N = 2: df(a) = 2, df(b) = 1; idf = log(3 / 3) + 1 and log(3 / 2) + 1; b stands twice, so 1 + log 2."""
    mapping = TfIdf.fit(["a", "a b b"], words=(1, 1), characters=(9, 9))
    a, b = 1.0, (1 + np.log(2)) * (np.log(3 / 2) + 1)
    np.testing.assert_allclose(mapping.transform(["a b b"]).toarray(), [np.array([a, b]) / np.hypot(a, b)], rtol=1e-6)


def test_blocks_have_length_one():
    mapping = TfIdf.fit(TEXTS)
    rows = mapping.transform(TEXTS).toarray()
    cut = len(mapping.blocks[0].vocabulary)
    np.testing.assert_allclose(np.linalg.norm(rows[:, :cut], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows[:, cut:], axis=1), 1, atol=1e-6)


def test_unknown_text_is_a_row_of_zeros():
    rows = TfIdf.fit(["abc"]).transform(["xyz", "", "abc"])
    assert np.diff(rows.indptr).tolist() == [0, 0, 4]


@pytest.mark.parametrize("texts", [["one text"], ["", " "], [""]])
def test_one_text_and_no_vocabulary(texts):
    mapping = TfIdf.fit(texts)
    assert mapping.transform(["a", "b"]).shape == (2, mapping.width)
    again = TfIdf.from_state(*mapping.state())
    assert again.width == mapping.width
    assert (mapping.width > 0) == (texts == ["one text"])


def test_no_texts_to_transform():
    assert TfIdf.fit(TEXTS).transform([]).shape[0] == 0


def test_limit_and_min_df():
    mapping = TfIdf.fit(["a b c"] * 3 + ["a b d"], words=(1, 1), characters=(1, 1), limit=3, min_df=2)
    assert mapping.blocks[0].vocabulary == ("a", "b", "c")
    assert len(mapping.blocks[1].vocabulary) == 3
    rare = TfIdf.fit([f"same {i}" for i in range(1000)], words=(1, 1))
    assert rare.blocks[0].vocabulary == ("same",)


def test_state_is_plain_and_survives_odd_characters():
    mapping = TfIdf.fit([*TEXTS, "lone surrogate \ud83d", 'quote " \\ \n tab \t', "nul \x00"])
    config, arrays = mapping.state()
    assert json.loads(json.dumps(config)) == config
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.float32), np.dtype(np.uint8)}
    again = TfIdf.from_state(config, arrays)
    assert [b.vocabulary for b in again.blocks] == [b.vocabulary for b in mapping.blocks]
    np.testing.assert_array_equal(again.transform(TEXTS).toarray(), mapping.transform(TEXTS).toarray())


def test_words_alone_are_scikit_learns():
    mapping = TfIdf.fit(TEXTS, characters=None)
    reference = TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORD, sublinear_tf=True)
    assert [block.analyzer for block in mapping.blocks] == ["word"]
    np.testing.assert_allclose(mapping.transform(TEXTS).toarray(), reference.fit_transform(TEXTS).toarray(), atol=1e-6)
    whole = TfIdf.fit(TEXTS)
    first = whole.transform(TEXTS)[:, : mapping.width]
    np.testing.assert_array_equal(mapping.transform(TEXTS).toarray(), first.toarray())


def test_words_alone_come_back_from_their_state():
    mapping = TfIdf.fit(TEXTS, characters=None)
    again = TfIdf.from_state(*mapping.state())
    assert [block.vocabulary for block in again.blocks] == [mapping.blocks[0].vocabulary]
    np.testing.assert_array_equal(again.transform(TEXTS).toarray(), mapping.transform(TEXTS).toarray())
