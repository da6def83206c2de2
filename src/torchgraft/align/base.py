"""What an alignment of two domains is given, and what it gives back.

A method is one file in this room. It offers:

- `Options`: a frozen, keyword-only dataclass of what can be set (its docstring lists units and ranges);
- `fit(domains: Domains, options: Options) -> Aligned`;
- `applies(domains: Domains) -> str`: empty where the method can run, else the reason why not, for people.

`fit` is deterministic, works in float64, follows no gradient through a network, and never sees a label of the target:
`Domains` has no place for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from torchgraft.core import registry
from torchgraft.core.errors import DataError, OptionError
from torchgraft.core.options import build
from torchgraft.features.mapping import Mapping
from torchgraft.model import Head

_BLOCK = 2048
"""Rows that are mapped at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Domains:
    """A source (`xs`, Ns x D; `ys`, Ns class indices in 0..C-1, or None) and an unlabelled target (`xt`, Nt x D).

    `n_classes` is C (None: the largest label + 1; 0 without labels). `beside` holds columns of both (Ns x V and Nt x V,
    sparse) that no method moves, and that stand beside the aligned ones where a classifier is fitted: words. `weights`
    (Ns, above 0; brought to mean 1; None: all alike) is what each source sample counts, in classifiers and in the means
    and covariances that methods take of the source. Raises `DataError`, with all that is wrong, for rows that are not
    dense N x D numbers of one width, fewer than 2 of them, NaN or infinite values, or labels or weights that don't fit.
    """

    xs: np.ndarray
    xt: np.ndarray
    ys: np.ndarray | None = None
    n_classes: int | None = None
    beside: tuple[sparse.csr_matrix, sparse.csr_matrix] | None = None
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        problems = [_fault(name, getattr(self, name)) for name in ("xs", "xt")]
        if not any(problems):
            xs, xt = np.shape(self.xs), np.shape(self.xt)
            if xs[1] != xt[1]:
                problems.append(f"source and target need the same features, got D = {xs[1]} and D = {xt[1]}")
            problems.append(_fault_of_labels(self.ys, xs[0], self.n_classes))
            problems.append(_fault_beside(self.beside, (xs[0], xt[0])))
            problems.append(_fault_of_weights(self.weights, xs[0]))
        if any(problems):
            raise DataError("; ".join(filter(None, problems)) + ".")
        for name in ("xs", "xt"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        if self.ys is not None:
            object.__setattr__(self, "ys", np.asarray(self.ys, dtype=np.int64))
        if self.weights is not None:
            weights = np.asarray(self.weights, dtype=np.float64)
            object.__setattr__(self, "weights", weights / weights.mean())
        if self.n_classes is None:
            object.__setattr__(self, "n_classes", 0 if self.ys is None else int(self.ys.max()) + 1)

    @cached_property
    def present(self) -> np.ndarray:
        """The classes that have a source sample, sorted."""
        return np.unique(self.ys)

    def half(self, fit: np.ndarray, asked: np.ndarray) -> Domains:
        """A problem made of the source alone: its rows `fit` with their labels, its rows `asked` without."""
        beside = None if self.beside is None else (self.beside[0][fit], self.beside[0][asked])
        weights = None if self.weights is None else self.weights[fit]
        return Domains(
            xs=self.xs[fit],
            xt=self.xs[asked],
            ys=self.ys[fit],
            n_classes=self.n_classes,
            beside=beside,
            weights=weights,
        )

    @property
    def dimension(self) -> int:
        """D."""
        return self.xs.shape[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class Aligned:
    """Both domains in one space, and how later samples get there.

    `zs` (Ns x D') and `zt` (Nt x D') are float32. `source` and `target` map later rows of each domain, and become the
    neck of a graft; one that is None can't (the method moved samples, not the space: it is transductive there).
    A classifier is fitted on `zs`, with the sample `weights` (Ns, mean 1) where there are any; a method that labels
    the target itself gives that classifier as `head`, for rows mapped by `target` (and what is beside them). `note`
    tells people what was done.
    """

    zs: np.ndarray
    zt: np.ndarray
    source: Mapping | None = None
    target: Mapping | None = None
    weights: np.ndarray | None = None
    head: Head | None = None
    note: str = ""

    def transform(self, x: Any) -> np.ndarray:
        """N x D' rows of later target samples. Raises `DataError` where the method is transductive."""
        if self.target is None:
            raise DataError("this alignment holds for the target samples it was fitted on; fit it again with the new.")
        return self.target.transform(x)

    @property
    def effective_size(self) -> float:
        """(sum w)^2 / sum w^2 (Kish 1965): how many equally weighted source samples the weights are worth."""
        if self.weights is None:
            return float(len(self.zs))
        return float(self.weights.sum() ** 2 / (self.weights**2).sum())


def align(
    method: str,
    xs: np.ndarray,
    ys: Sequence[int] | np.ndarray | None,
    xt: np.ndarray,
    *,
    n_classes: int | None = None,
    weights: np.ndarray | None = None,
    options: dict[str, Any] | None = None,
) -> Aligned:
    """Align a source with a target by the name of the method; see `Domains` and `Aligned`.

    Raises `UnknownName` for a method, `OptionError` for an option and `DataError` for data that can't be used.
    """
    entry = registry.get("align", method)
    domains = Domains(xs=xs, xt=xt, ys=ys, n_classes=n_classes, weights=weights)
    chosen = build(entry.Options, options or {}, where=method)
    reason = entry.applies(domains)
    if reason:
        raise DataError(f"{method} can't run: {reason}.")
    return entry.fit(domains, chosen)


def always(domains: Domains) -> str:
    """`applies` of a method that runs on any two domains."""
    return ""


def needs_labels(domains: Domains) -> str:
    """`applies` of a method that learns from the classes of the source."""
    if domains.ys is None:
        return "it learns from the classes of the source, and none are given"
    return "" if len(domains.present) > 1 else "the source has a single class"


def inductive(domains: Domains, source: Mapping, target: Mapping, **rest: Any) -> Aligned:
    """An `Aligned` whose rows are what its two mappings give; `rest` are other fields of it."""
    return Aligned(zs=_mapped(source, domains.xs), zt=_mapped(target, domains.xt), source=source, target=target, **rest)


def _mapped(mapping: Mapping, x: np.ndarray) -> np.ndarray:
    """`mapping.transform(x)`, by blocks of rows: what it makes on the way is as small as they are."""
    first = mapping.transform(x[:_BLOCK])
    if len(x) <= _BLOCK:
        return first
    z = np.empty((len(x), first.shape[1]), dtype=first.dtype)
    z[:_BLOCK] = first
    for i in range(_BLOCK, len(x), _BLOCK):
        z[i : i + _BLOCK] = mapping.transform(x[i : i + _BLOCK])
    return z


def check_range(**bounds: tuple[float, float, float]) -> None:
    """Each `name=(value, low, high)` must lie in [low, high]; one `OptionError` tells of all that don't."""
    wrong = [
        f"{name} expects a number in [{low:g}, {high:g}], got {value:g}"
        for name, (value, low, high) in bounds.items()
        if not low <= value <= high
    ]
    if wrong:
        raise OptionError("; ".join(wrong) + ".")


def _fault(name: str, rows: Any) -> str:
    if sparse.issparse(rows):
        return f"{name} is sparse; alignment works on dense features N x D (reduce it first, e.g. by a truncated SVD)"
    rows = np.asarray(rows)
    if rows.ndim != 2 or rows.dtype.kind not in "fiub":
        return f"{name} expects numbers N x D, got {rows.dtype} of shape {' x '.join(map(str, rows.shape)) or '()'}"
    if len(rows) < 2 or not rows.shape[1]:
        return f"{name} expects at least 2 samples with 1 feature, got {rows.shape[0]} x {rows.shape[1]}"
    bad = len(rows) - int(np.isfinite(rows).all(axis=1).sum())
    return f"{name} has NaN or infinite values in {bad} of {len(rows)} samples" if bad else ""


def _fault_beside(beside: Any, sizes: tuple[int, int]) -> str:
    if beside is None or (
        all(one.shape[0] == n for one, n in zip(beside, sizes, strict=True))
        and beside[0].shape[1] == beside[1].shape[1]
    ):
        return ""
    shapes = " and ".join(" x ".join(map(str, one.shape)) for one in beside)
    return f"beside expects {sizes[0]} x V and {sizes[1]} x V columns, got {shapes}"


def _fault_of_weights(weights: Any, n: int) -> str:
    if weights is None:
        return ""
    weights = np.asarray(weights)
    if weights.shape != (n,) or weights.dtype.kind not in "fiu":
        return f"weights expects {n} numbers, one for each source sample, got shape {weights.shape}"
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        return "weights expects finite numbers above 0"
    return ""


def _fault_of_labels(ys: Any, n: int, n_classes: int | None) -> str:
    if ys is None:
        return ""
    ys = np.asarray(ys)
    if ys.shape != (n,) or ys.dtype.kind not in "iu":
        shape = " x ".join(map(str, ys.shape)) or "()"
        return f"ys expects {n} class indices, one for each source sample, got {ys.dtype} of shape {shape}"
    top = np.inf if n_classes is None else n_classes
    if ys.min() < 0 or ys.max() >= top:
        return f"ys expects class indices from 0 to {top - 1:g}, got {ys.min()} to {ys.max()}"
    return ""
