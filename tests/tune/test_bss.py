from __future__ import annotations

import numpy as np
import pytest
import torch

from torchgraft.core.errors import OptionError
from torchgraft.tune import bss, lp_ft

QUICK = {"rate": 3e-3, "epochs": 2, "batch": 10}


def test_without_weight_it_is_lp_ft_to_the_bit(hard_text, alone):
    problem = alone(hard_text())
    ours, plain = bss.fit(problem, bss.Options(eta=0.0, **QUICK)), lp_ft.fit(problem, lp_ft.Options(**QUICK))
    np.testing.assert_array_equal(ours.logits, plain.logits)
    np.testing.assert_array_equal(ours.head.weight, plain.head.weight)
    other = bss.fit(problem, bss.Options(eta=0.1, **QUICK))
    assert np.abs(other.logits - plain.logits).max() > 0


@pytest.mark.parametrize("k", [1, 3])
def test_the_penalty_by_brute_force(make_step, k):
    step, batch = make_step()
    before = step(batch, 0.0)
    bss.add(step, bss.Options(k=k, eta=0.5))
    with torch.no_grad():
        z = step.network(*batch.inputs).numpy()
    eigenvalues = np.linalg.eigvalsh(z.T.astype(np.float64) @ z)
    np.testing.assert_allclose((step(batch, 0.0) - before).item(), 0.5 * eigenvalues[:k].sum(), rtol=1e-3, atol=1e-6)


def test_options_out_of_range():
    with pytest.raises(OptionError, match=r"k expects .* got 0; eta expects"):
        bss.Options(k=0, eta=-1.0)
