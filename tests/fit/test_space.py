"""One space for all that is known of a sample, and a classifier there written as a graft's parts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA, TruncatedSVD

from torchgraft.features.mapping import L2, Affine, Chain, Identity, Standardise
from torchgraft.features.tfidf import TfIdf
from torchgraft.fit._space import Space
from torchgraft.model import LinearHead, assemble

TEXTS = [f"{a} {b} coat number {i}" for i, (a, b) in enumerate([("warm", "fine"), ("torn", "cold")] * 15)]


def rows(n: int = 30, d: int = 7, seed: int = 0) -> np.ndarray:
    """Correlated columns of different sizes, away from 0."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3).astype(np.float32)


def head(width: int, classes: int = 3, seed: int = 5) -> LinearHead:
    rng = np.random.default_rng(seed)
    return LinearHead(rng.normal(size=(classes, width)), rng.normal(size=classes))


def mappings(d: int) -> list:
    rng = np.random.default_rng(1)
    scaled = Standardise(rng.normal(size=d).astype(np.float32), rng.uniform(0.5, 2, d).astype(np.float32))
    turned = Affine.of(rng.normal(size=d), rng.normal(size=(d, d)), rng.normal(size=d))
    return [Identity(), scaled, turned, Chain((scaled, Chain((Identity(), turned))))]


def blocks_of(kind: str) -> dict:
    made = {
        "array": {"array": rows()},
        "wide": {"array": rows(12, 300)},
        "one": {"a": rows()},
        "two": {"a": rows(), "b": rows(d=4, seed=2)},
        "text": {"text": TEXTS},
        "beside": {"a": rows(), "text": TEXTS},
    }
    return made[kind]


KINDS = ("array", "wide", "one", "two", "text", "beside")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", range(4))
def test_unfolded_parts_say_what_the_head_says(kind: str, which: int) -> None:
    blocks = blocks_of(kind)
    space = Space.fit(blocks)
    x, words = space.transform(blocks), space.beside(blocks)
    mapping = mappings(x.shape[1])[which]
    given = head(x.shape[1] + (words.shape[1] if words is not None else 0))
    z = np.asarray(mapping.transform(x), dtype=np.float64)
    expected = given.logits(z if words is None else np.hstack([z, words.toarray()]))
    parts, unfolded = space.unfolded(mapping, given)
    found = unfolded.logits(assemble(parts, blocks))
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1, np.abs(expected).max()))
    assert {part.source for part in parts} == set(blocks)


def test_a_head_that_does_not_read_the_words_leaves_them_out() -> None:
    blocks = blocks_of("beside")
    space = Space.fit(blocks)
    parts, unfolded = space.unfolded(Identity(), head(7))
    assert [part.source for part in parts] == ["a"]
    x = space.transform(blocks)
    np.testing.assert_allclose(unfolded.logits(assemble(parts, blocks)), head(7).logits(x), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_centred_and_fitted_on_both_domains_alone(kind: str) -> None:
    blocks = blocks_of(kind)
    space = Space.fit(blocks)
    x = space.transform(blocks)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    one = {name: values[:1] for name, values in blocks.items()}
    np.testing.assert_allclose(space.transform(one), x[:1], atol=1e-5)  # a row does not need the others


def test_the_users_own_columns_stay_what_they_are() -> None:
    x = rows()
    found = Space.fit({"array": x}).transform({"array": x})
    np.testing.assert_allclose(found, (x - x.mean(axis=0)) / x.std(axis=0), atol=1e-4)


def test_distances_survive_where_the_width_reaches() -> None:
    x = rows(20, 9)
    long = x / np.linalg.norm(x, axis=1, keepdims=True)
    found = Space.fit({"a": x}).transform({"a": x})
    np.testing.assert_allclose(pdist(found), pdist(long), atol=1e-4)


@pytest.mark.parametrize("width", [2, 5])
def test_the_axes_are_those_of_pca_up_to_a_turn(width: int) -> None:
    """scikit-learn's PCA: the same subspace, so the same distances and the same variance in all."""
    x = rows(40, 9)
    long = x / np.linalg.norm(x, axis=1, keepdims=True)
    found = Space.fit({"a": x}, width=width).transform({"a": x})
    reference = PCA(width).fit_transform(long.astype(np.float64))
    assert found.shape == (40, width)
    np.testing.assert_allclose(pdist(found), pdist(reference), atol=1e-4)


def test_the_columns_are_turned_so_that_none_is_tiny() -> None:
    """Twelve columns, of which one holds nearly all variance: turned, the smallest column has a share of it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 12)) * np.r_[1.0, np.full(11, 0.01)]
    z = Space.fit({"a": x + 5}).transform({"a": x + 5})
    spread = z.std(axis=0)
    assert spread.max() / spread.min() < 100
    pca = np.linalg.svd(z, compute_uv=False)
    assert pca[0] / pca[10] > 20


def test_two_sources_count_alike() -> None:
    """Each backbone's rows have length 1, whatever its features' size."""
    blocks = {"a": rows(), "b": 1000 * rows(d=4, seed=2)}
    small = {"a": blocks["a"], "b": blocks["b"] / 1000}
    found = [pdist(Space.fit(one).transform(one)) for one in (blocks, small)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_texts_alone_are_topics() -> None:
    """Latent semantic analysis: six different texts span six directions, scikit-learn's truncated SVD has them all."""
    blocks = {"text": (TEXTS[:6] * 7)[:40]}
    space = Space.fit(blocks)
    assert space.words is None and space.beside(blocks) is None
    tfidf = TfIdf.fit(blocks["text"], characters=None).transform(blocks["text"]).astype(np.float64)
    reference = TruncatedSVD(6, algorithm="arpack").fit_transform(tfidf)
    np.testing.assert_allclose(pdist(space.transform(blocks)), pdist(reference), atol=1e-5)


@pytest.mark.parametrize("kind", ["text", "beside"])
def test_the_vocabulary_is_the_sources(kind: str) -> None:
    """The first 10 rows are the source: what the target says otherwise has no column."""
    blocks = {**blocks_of(kind), "text": [*TEXTS[:10], *(f"unheard {i} warm" for i in range(20))]}
    space = Space.fit(blocks, source=10)
    words = (space.words or space.parts[0]).mapping
    expected = TfIdf.fit(TEXTS[:10], characters=None)
    assert words.blocks[0].vocabulary == expected.blocks[0].vocabulary
    assert len(space.transform(blocks)) == 30


def test_words_stand_beside_a_backbone_as_they_are() -> None:
    blocks = blocks_of("beside")
    space = Space.fit(blocks)
    expected = TfIdf.fit(TEXTS, characters=None).transform(TEXTS)
    np.testing.assert_array_equal(space.beside(blocks).toarray(), expected.toarray())
    assert [part.source for part in space.parts] == ["a"]
    assert Space.fit({"a": rows()}).beside({"a": rows()}) is None


def test_parts_are_scaled_as_their_kind_asks() -> None:
    assert isinstance(Space.fit({"a": rows()}).parts[0].mapping, L2)
    assert isinstance(Space.fit({"array": rows()}).parts[0].mapping, Standardise)


def test_the_seed_decides_the_turn_and_nothing_else() -> None:
    blocks = {"a": rows()}
    one, two, other = (Space.fit(blocks, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.basis, two.basis)
    assert np.abs(one.basis - other.basis).max() > 0.01
    np.testing.assert_allclose(pdist(one.transform(blocks)), pdist(other.transform(blocks)), atol=1e-4)
