"""Every mapping and head as a module gives what it gives as arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchgraft.core.errors import OptionError
from torchgraft.features.mapping import L2, LDA, PCA, Affine, Chain, Identity, Mapping, Standardise
from torchgraft.features.tfidf import TfIdf
from torchgraft.model import FusedHead, Head, KNNHead, LinearHead, MlpHead
from torchgraft.model._exported_modules import head_module, mapping_module

RNG = np.random.default_rng(0)
Z = RNG.normal(loc=3, scale=2, size=(20, 6)).astype(np.float32)
Y = np.arange(20) % 3


def _mapping(name: str) -> Mapping:
    steps = (Standardise.fit, L2.fit)
    made = {
        "identity": Identity,
        "l2": L2,
        "standardise": lambda: Standardise.fit(Z),
        "pca": lambda: PCA.fit(Z, k=3, whiten=True),
        "lda": lambda: LDA.fit(Z, Y),
        "affine": lambda: Affine.of(Z.mean(0), RNG.normal(size=(6, 4)), RNG.normal(size=4)),
        "chain": lambda: Chain.fit(Z, Y, steps=steps),
    }
    return made[name]()


@pytest.mark.parametrize("name", ["identity", "l2", "standardise", "pca", "lda", "affine", "chain"])
def test_mappings(name: str) -> None:
    mapping = _mapping(name)
    found = mapping_module(mapping)(torch.from_numpy(Z)).numpy()
    np.testing.assert_allclose(found, mapping.transform(Z), rtol=1e-4, atol=1e-5)


def test_a_row_of_zeros_has_no_direction() -> None:
    assert not mapping_module(L2())(torch.zeros(1, 3)).any()


def _fused(how: str) -> FusedHead:
    """Two sources of 2 and 4 numbers, tokens of 5, three classes."""
    shapes = {"classes.weight": (3, 5), "classes.bias": (3,)}
    shapes |= {"project.0.weight": (5, 2), "project.0.bias": (5,), "project.1.weight": (5, 4), "project.1.bias": (5,)}
    kinds = [f"recurrent.{kind}_{of}_l0" for kind in ("weight", "bias") for of in ("ih", "hh")]
    own = {
        "mix": {"scores": (2,), "gamma": (1,)},
        "attention": {"query": (5,)},
        "gru": {name: (15, 5) if "weight" in name else (15,) for name in kinds},
    }
    return FusedHead(how, (2, 4), {name: RNG.normal(size=shape) for name, shape in (shapes | own[how]).items()})


HEADS = [
    LinearHead(RNG.normal(size=(3, 6)), RNG.normal(size=3)),
    MlpHead(RNG.normal(size=(4, 6)), RNG.normal(size=4), RNG.normal(size=(3, 4)), RNG.normal(size=3)),
    *map(_fused, ("mix", "attention", "gru")),
]


@pytest.mark.parametrize("head", HEADS, ids=["linear", "mlp", "mix", "attention", "gru"])
def test_heads(head: Head) -> None:
    with torch.no_grad():
        found = head_module(head)(torch.from_numpy(Z)).numpy()
    np.testing.assert_allclose(found, head.logits(Z), rtol=1e-4, atol=1e-4)


def test_what_has_no_form_is_refused_with_its_reason() -> None:
    with pytest.raises(OptionError, match="'knn' has no form in ONNX .*nearest stored samples"):
        head_module(KNNHead(Z, Y, 3, 3))
    tfidf = TfIdf.fit(["a warm coat", "a cold coat"] * 5)
    with pytest.raises(OptionError, match="looks words up in texts"):
        mapping_module(tfidf)
    with pytest.raises(OptionError, match="looks words up in texts"):
        mapping_module(Chain((tfidf, L2())))
