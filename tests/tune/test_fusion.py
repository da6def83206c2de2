from __future__ import annotations

import numpy as np
from scipy import sparse

from torchgraft.model.graft import assemble
from torchgraft.tune import fusion, linear_probe


def test_two_halves_do_better_than_each(blobs, make_problem):
    z, y = blobs(240, 16, 4, gap=1.2)
    blocks = {"packaged/left": z[:, :8].copy(), "packaged/right": z[:, 8:].copy()}
    problem = make_problem(blocks, y)
    fused = fusion.fit(problem, fusion.Options())
    alone = [linear_probe.fit(problem, linear_probe.Options(source=s)) for s in blocks]
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
