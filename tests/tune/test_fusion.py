from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA

from torchgraft.core.errors import OptionError
from torchgraft.model import LinearHead
from torchgraft.model.graft import assemble
from torchgraft.tune import Problem, fusion, linear_probe
from torchgraft.tune.base import Skip


@pytest.fixture
def two_halves(blobs, make_problem) -> Problem:
    """240 samples of 4 classes; each of two networks sees half of the values."""
    z, y = blobs(240, 16, 4, gap=1.2)
    return make_problem({"packaged/left": z[:, :8].copy(), "packaged/right": z[:, 8:].copy()}, y)


@pytest.mark.parametrize("how", ["concat", "pca"])
def test_two_halves_do_better_than_each(how: str, two_halves):
    problem, y = two_halves, two_halves.y
    fused = fusion.fit(problem, fusion.Options(how=how))
    alone = [linear_probe.fit(problem, linear_probe.Options(source=s)) for s in problem.blocks]
    right = [(c.logits.argmax(axis=1) == y[c.rows]).mean() for c in (*alone, fused)]
    assert right[2] > max(right[:2])


def test_text_stays_sparse_and_its_scale_is_told(text_problem):
    candidate = fusion.fit(text_problem, fusion.Options(scales=(1.0, 2.0)))
    assert [part.source for part in candidate.parts] == ["packaged/net", "text"]
    assert candidate.chosen["text_scale"] in (1.0, 2.0)
    assert sparse.issparse(assemble(candidate.parts, text_problem.blocks))
    assert (candidate.logits.argmax(axis=1) == text_problem.y[candidate.rows]).mean() == 1.0


def test_one_block_copied_is_the_probe_alone(dense_problem, make_problem):
    """Two equal blocks say nothing new: at a fixed penalty the fused minimum is the probe's with C doubled."""
    z = dense_problem.blocks["packaged/net"]
    problem = make_problem({"packaged/a": z, "packaged/b": z.copy()}, dense_problem.y)
    fused, alone = (m.fit(problem, m.Options()) for m in (fusion, linear_probe))
    agree = fused.logits.argmax(axis=1) == alone.logits.argmax(axis=1)
    assert agree.mean() > 0.97


def test_says_why_it_does_not_apply(dense_problem, make_problem):
    assert "alone" in fusion.applies(dense_problem)
    assert "no backbone" in fusion.applies(make_problem({"text": list("abcd")}, np.arange(4) % 2))


def test_pca_of_all_directions_is_the_concatenation(two_halves) -> None:
    plain, reduced = (fusion.fit(two_halves, fusion.Options(how=how)) for how in ("concat", "pca"))
    assert reduced.chosen["width"] == 16
    agree = plain.logits.argmax(axis=1) == reduced.logits.argmax(axis=1)
    assert agree.mean() > 0.97


def test_pca_agrees_with_scikit_learn_and_unfolds(two_halves) -> None:
    """Centred blocks of total variance 1 are projected; a head on that is a head on the sources side by side."""
    values = np.hstack(list(two_halves.blocks.values()))
    joined = fusion._Joined.fit(values, np.array([8]), two_halves.dense, 3)
    mapped = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in two_halves.blocks.values()]
    even = np.hstack([(z - z.mean(axis=0)) / np.sqrt(z.var(axis=0).sum()) for z in mapped])
    np.testing.assert_allclose(np.abs(joined.transform(values)), np.abs(PCA(3).fit_transform(even)), atol=1e-4)
    rng = np.random.default_rng(0)
    head = LinearHead(rng.normal(size=(4, 3)), rng.normal(size=4))
    expected = head.logits(joined.transform(values))
    np.testing.assert_allclose(joined.unfolded(head).logits(np.hstack(mapped)), expected, atol=1e-4)


def test_pca_ships_what_it_measured(two_halves, alone) -> None:
    problem = alone(two_halves)
    found = fusion.fit(problem, fusion.Options(how="pca", width=3))
    logits = found.head.logits(assemble(found.parts, problem.blocks))
    assert found.chosen["width"] == 3
    np.testing.assert_allclose(logits, found.logits, atol=0.05 * np.abs(logits).max())


@pytest.mark.parametrize("how", ["pca", "mix", "attention", "gru"])
def test_one_dense_source_can_not_be_joined(how: str, text_problem) -> None:
    with pytest.raises(Skip, match=f"{how} joins .* only packaged/net"):
        fusion.fit(text_problem, fusion.Options(how=how))


def test_wrong_options_are_told_together(two_halves) -> None:
    with pytest.raises(OptionError, match=r"'atention'\. Did you mean 'attention'.*width expects .* 0"):
        fusion.fit(two_halves, fusion.Options(how="atention", width=0))
