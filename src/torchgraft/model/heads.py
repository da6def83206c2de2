"""Heads: what turns mapped features into one logit per class. Plain arrays, so that they save as safetensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from scipy import sparse
from scipy.special import expit, softmax

from torchgraft.core.errors import ArtifactError, DataError
from torchgraft.core.types import State

Values = np.ndarray | sparse.csr_matrix


class Head(Protocol):
    """N x D mapped features to N x C logits (float64, natural-log scale: softmax of them is a probability)."""

    kind: ClassVar[str]

    def logits(self, z: Values) -> np.ndarray:
        """N x C logits of N x D features."""
        ...

    def state(self) -> State:
        """What `from_state` needs to make this head again."""
        ...


@dataclass(frozen=True, eq=False)
class LinearHead:
    """logits = z W^T + b, with `weight` C x D and `bias` C. With D = 0 it predicts the same for every sample."""

    weight: np.ndarray
    bias: np.ndarray
    kind: ClassVar[str] = "linear"

    def logits(self, z: Values) -> np.ndarray:
        """N x C logits of N x D features (dense or sparse rows). Raises `DataError` for another width."""
        _check_width(z, self.weight.shape[1])
        return np.asarray(z @ self.weight.T.astype(np.float64)) + self.bias

    def state(self) -> State:
        """Weight and bias in float32."""
        return {}, {"weight": self.weight.astype(np.float32), "bias": self.bias.astype(np.float32)}

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> LinearHead:
        """Undo `state`."""
        return cls(arrays["weight"], arrays["bias"].astype(np.float64))


@dataclass(frozen=True, eq=False)
class MlpHead:
    """logits = max(z V^T + c, 0) W^T + b: `inner` V (H x D) and `inner_bias` c, `weight` W (C x H) and `bias` b.

    One hidden layer of H ReLU units, as the textbooks put between a backbone and its classes.
    """

    inner: np.ndarray
    inner_bias: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    kind: ClassVar[str] = "mlp"

    def logits(self, z: Values) -> np.ndarray:
        """N x C logits of N x D features (dense or sparse rows). Raises `DataError` for another width."""
        _check_width(z, self.inner.shape[1])
        hidden = np.asarray(z @ self.inner.T.astype(np.float64)) + self.inner_bias
        return np.maximum(hidden, 0) @ self.weight.T.astype(np.float64) + self.bias

    def state(self) -> State:
        """Weights and biases in float32."""
        arrays = {"inner": self.inner, "inner_bias": self.inner_bias, "weight": self.weight, "bias": self.bias}
        return {}, {name: a.astype(np.float32) for name, a in arrays.items()}

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> MlpHead:
        """Undo `state`."""
        inner_bias, bias = (arrays[name].astype(np.float64) for name in ("inner_bias", "bias"))
        return cls(arrays["inner"], inner_bias, arrays["weight"], bias)


@dataclass(frozen=True, eq=False)
class KNNHead:
    """Votes of the k most similar stored samples (cosine): p_c = (n_c + 1/C) / (k + 1), logits = log p.

    `z` holds the N x D stored features, l2-normalised; `y` their classes in 0..C-1. The added pseudo-vote, spread
    over the classes, keeps the log finite (Laplace).
    """

    z: np.ndarray
    y: np.ndarray
    k: int
    n_classes: int
    kind: ClassVar[str] = "knn"

    def logits(self, z: Values) -> np.ndarray:
        """N x C log vote shares of N x D features. Raises `DataError` for another width."""
        _check_width(z, self.z.shape[1])
        z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
        logits = np.empty((len(z), self.n_classes))
        for start in range(0, len(z), 512):  # 512 rows at once: memory stays flat whatever N is
            rows = z[start : start + 512]
            near = np.argsort(-(rows @ self.z.T), axis=1, kind="stable")[:, : self.k]
            votes = np.zeros((len(rows), self.n_classes))
            np.add.at(votes, (np.arange(len(rows))[:, None], self.y[near]), 1.0)
            logits[start : start + 512] = np.log((votes + 1 / self.n_classes) / (near.shape[1] + 1))
        return logits

    def state(self) -> State:
        """Stored features in float32, classes, k."""
        return {"k": self.k, "n_classes": self.n_classes}, {
            "z": self.z.astype(np.float32),
            "y": self.y.astype(np.int64),
        }

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> KNNHead:
        """Undo `state`."""
        return cls(arrays["z"], arrays["y"], int(config["k"]), int(config["n_classes"]))


@dataclass(frozen=True, eq=False)
class FusedHead:
    """logits = neck(h_1, ..., h_L) W^T + b, where features z_l of L sources, side by side, become tokens of one width.

    h_l = z_l A_l^T + a_l of width K. `widths` are those of z_1 to z_L; `how` names the neck:

    - `mix`: gamma sum_l softmax(s)_l h_l (Peters et al., "Deep contextualized word representations", 2018);
    - `attention`: sum_l w_l h_l with w = softmax_l(q h_l / sqrt(K)) for a learnt query q;
    - `gru`: the last state of a GRU that reads h_1, ..., h_L in this order (Cho et al. 2014, as PyTorch has it).

    `arrays`: `classes.weight` W, `classes.bias` b, `project.l.weight` A_l, `project.l.bias` a_l; `scores` s (L,) and
    `gamma` (1,); `query` q (K,); `recurrent.weight_ih_l0` (3H x K), `recurrent.weight_hh_l0` (3H x H) and their biases.
    """

    how: str
    widths: tuple[int, ...]
    arrays: Mapping[str, np.ndarray]
    kind: ClassVar[str] = "fused"

    def logits(self, z: Values) -> np.ndarray:
        """N x C logits of N x (D_1 + ... + D_L) features. Raises `DataError` for another width."""
        _check_width(z, sum(self.widths))
        arrays = {name: a.astype(np.float64) for name, a in self.arrays.items()}
        sources = np.split(np.asarray(z, dtype=np.float64), np.cumsum(self.widths)[:-1], axis=1)
        tokens = [h @ arrays[f"project.{i}.weight"].T + arrays[f"project.{i}.bias"] for i, h in enumerate(sources)]
        return _NECKS[self.how](np.stack(tokens, axis=1), arrays) @ arrays["classes.weight"].T + arrays["classes.bias"]

    def state(self) -> State:
        """Neck, widths, and the arrays in float32."""
        arrays = {name: a.astype(np.float32) for name, a in self.arrays.items()}
        return {"how": self.how, "widths": list(self.widths)}, arrays

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> FusedHead:
        """Undo `state`. Raises `ArtifactError` for a neck this version doesn't know."""
        if config["how"] not in _NECKS:
            known = ", ".join(sorted(_NECKS))
            raise ArtifactError(
                f"the head fuses by '{config['how']}'; this version of torchgraft knows {known}. Update torchgraft."
            )
        return cls(config["how"], tuple(int(width) for width in config["widths"]), dict(arrays))


Arrays = Mapping[str, np.ndarray]


def _mix(tokens: np.ndarray, arrays: Arrays) -> np.ndarray:
    return arrays["gamma"] * np.einsum("l,nlk->nk", softmax(arrays["scores"]), tokens)


def _attention(tokens: np.ndarray, arrays: Arrays) -> np.ndarray:
    weights = softmax(tokens @ arrays["query"] / np.sqrt(tokens.shape[2]), axis=1)
    return np.einsum("nl,nlk->nk", weights, tokens)


def _gru(tokens: np.ndarray, arrays: Arrays) -> np.ndarray:
    """r, u = sigmoid(...), n = tanh(W x + b + r (U h + c)), h <- (1 - u) n + u h, from h = 0."""
    weight_x, weight_h, bias_x, bias_h = (
        arrays[f"recurrent.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    h = np.zeros((len(tokens), weight_h.shape[1]))
    for x in tokens.swapaxes(0, 1):
        from_x = np.split(x @ weight_x.T + bias_x, 3, axis=1)
        from_h = np.split(h @ weight_h.T + bias_h, 3, axis=1)
        r, u = expit(from_x[0] + from_h[0]), expit(from_x[1] + from_h[1])
        h = (1 - u) * np.tanh(from_x[2] + r * from_h[2]) + u * h
    return h


_NECKS: dict[str, Callable[[np.ndarray, Arrays], np.ndarray]] = {"mix": _mix, "attention": _attention, "gru": _gru}


def head_from_state(kind: str, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Head:
    """Make a head again from what `state` gave. Raises `ArtifactError` for a kind this version doesn't know."""
    kinds = {head.kind: head for head in (LinearHead, MlpHead, KNNHead, FusedHead)}
    if kind not in kinds:
        raise ArtifactError(
            f"the head is a '{kind}'; this version of torchgraft knows {', '.join(sorted(kinds))}. Update torchgraft."
        )
    return kinds[kind].from_state(config, arrays)


def _check_width(z: Values, width: int) -> None:
    if z.shape[1] != width:
        raise DataError(f"the graft was fitted on {width} features a sample, got {z.shape[1]}.")
