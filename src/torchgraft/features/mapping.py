"""Mappings: what is fitted on features before a head sees them. Plain arrays, so that they save as safetensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from scipy import sparse

from torchgraft.core.errors import ArtifactError, DataError, OptionError
from torchgraft.core.types import State
from torchgraft.features.tfidf import TfIdf

Values = np.ndarray | sparse.csr_matrix


class Mapping(Protocol):
    """N values of one source (N x D features, or N texts) to N x D' float32 rows, dense or sparse.

    Every kind has a classmethod `fit(values, y=None, **options)`; what it learns is all in its fields.
    """

    kind: ClassVar[str]

    def transform(self, values: Any) -> Values:
        """N x D' rows of N values. Raises `DataError` where the width is not the fitted one."""
        ...

    def state(self) -> State:
        """What `mapping_from_state` needs to make this mapping again."""
        ...


@dataclass(frozen=True)
class Identity:
    """z' = z."""

    kind: ClassVar[str] = "identity"

    @classmethod
    def fit(cls, values: np.ndarray, y: np.ndarray | None = None) -> Identity:
        """Nothing is learned."""
        return cls()

    def transform(self, values: np.ndarray) -> np.ndarray:
        """N x D rows as float32."""
        return _rows(values)

    def state(self) -> State:
        """Nothing."""
        return {}, {}

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Identity:
        """Undo `state`."""
        return cls()


@dataclass(frozen=True)
class L2:
    """z' = z / ||z||_2, row by row; a row of zeros stays so."""

    kind: ClassVar[str] = "l2"

    @classmethod
    def fit(cls, values: np.ndarray, y: np.ndarray | None = None) -> L2:
        """Nothing is learned."""
        return cls()

    def transform(self, values: np.ndarray) -> np.ndarray:
        """N x D rows of length 1."""
        values = _rows(values)
        return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)

    def state(self) -> State:
        """Nothing."""
        return {}, {}

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> L2:
        """Undo `state`."""
        return cls()


@dataclass(frozen=True, eq=False)
class Standardise:
    """z' = (z - mean) / scale, column by column; `mean` and `scale` are D numbers.

    A column that does not vary is centred and left at scale 1, so it stays (close to) 0.
    """

    mean: np.ndarray
    scale: np.ndarray
    kind: ClassVar[str] = "standardise"

    @classmethod
    def fit(cls, values: np.ndarray, y: np.ndarray | None = None) -> Standardise:
        """Mean and population standard deviation of each column; labels are not used."""
        values = _rows(values)
        return cls.of(values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64))

    @classmethod
    def of(cls, mean: np.ndarray, std: np.ndarray) -> Standardise:
        """From the mean and standard deviation of each column."""
        # float32 can't hold a smaller spread beside the mean; a dead unit of a network varies by 1e-33
        constant = std <= np.maximum(1e-6 * np.abs(mean), 1e-20)
        return cls(mean.astype(np.float32), np.where(constant, 1.0, std).astype(np.float32))

    def transform(self, values: np.ndarray) -> np.ndarray:
        """N x D standardised rows."""
        return (_rows(values, len(self.mean)) - self.mean) / self.scale

    def state(self) -> State:
        """Mean and scale."""
        return {}, {"mean": self.mean, "scale": self.scale}

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Standardise:
        """Undo `state`."""
        return cls(arrays["mean"], arrays["scale"])


@dataclass(frozen=True, eq=False)
class Projection:
    """z' = (z - mean) P, with `mean` D and `projection` P, D x D'. What PCA and LDA have in common."""

    mean: np.ndarray
    projection: np.ndarray
    kind: ClassVar[str] = ""

    def transform(self, values: np.ndarray) -> np.ndarray:
        """N x D' projected rows."""
        return (_rows(values, len(self.mean)) - self.mean) @ self.projection

    def state(self) -> State:
        """Mean and projection."""
        return {}, {"mean": self.mean, "projection": np.ascontiguousarray(self.projection)}

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Projection:
        """Undo `state`."""
        return cls(arrays["mean"], arrays["projection"])


@dataclass(frozen=True, eq=False)
class Affine:
    """z' = (z - mean) P + offset, with `mean` D, `projection` P, D x D', and `offset` D'.

    Made from what it does, not fitted on rows: alignments of two domains end in one.
    """

    mean: np.ndarray
    projection: np.ndarray
    offset: np.ndarray
    kind: ClassVar[str] = "affine"

    @classmethod
    def of(cls, mean: np.ndarray, projection: np.ndarray, offset: np.ndarray | None = None) -> Affine:
        """In float32; without an `offset` it is 0."""
        offset = np.zeros(projection.shape[1]) if offset is None else offset
        return cls(*(np.ascontiguousarray(a, dtype=np.float32) for a in (mean, projection, offset)))

    def transform(self, values: np.ndarray) -> np.ndarray:
        """N x D' rows."""
        return (_rows(values, len(self.mean)) - self.mean) @ self.projection + self.offset

    def state(self) -> State:
        """Mean, projection and offset."""
        return {}, {"mean": self.mean, "projection": self.projection, "offset": self.offset}

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Affine:
        """Undo `state`."""
        return cls(arrays["mean"], arrays["projection"], arrays["offset"])


@dataclass(frozen=True, eq=False)
class PCA(Projection):
    """The directions of largest variance (Pearson 1901). Signs: the largest entry of a direction is positive."""

    kind: ClassVar[str] = "pca"

    @classmethod
    def fit(
        cls, values: np.ndarray, y: np.ndarray | None = None, *, k: int | float = 0.95, whiten: bool = False
    ) -> PCA:
        """`k` directions (int >= 1, cut at the rank), or so many that they hold the share `k` of the variance (float).

        With `whiten` each projected column has variance 1 (divided by N - 1, as scikit-learn does). Labels are not
        used. Raises `OptionError` for another `k`.
        """
        values = _rows(values).astype(np.float64)
        mean = values.mean(axis=0)
        axes, variances = principal_axes(values - mean)
        keep = _kept(k, variances)
        axes, variances = axes[:, :keep], variances[:keep] * len(values) / max(len(values) - 1, 1)
        axes *= np.where(axes[np.abs(axes).argmax(axis=0), np.arange(keep)] < 0, -1.0, 1.0)
        if whiten:
            axes /= np.sqrt(variances)
        return cls(mean.astype(np.float32), axes.astype(np.float32))


@dataclass(frozen=True, eq=False)
class LDA(Projection):
    """The C - 1 directions that tell the classes apart: eigenvectors of S_w^-1 S_b (Fisher 1936, Rao 1948).

    S_w, the covariance within classes, is shrunk to (1 - a) S_w + a tr(S_w) / D I with a from Ledoit and Wolf
    (2004); projected classes have covariance I (of the shrunk S_w).
    """

    kind: ClassVar[str] = "lda"

    @classmethod
    def fit(cls, values: np.ndarray, y: np.ndarray | None = None, *, shrinkage: float | None = None) -> LDA:
        """`y` holds N class indices, `shrinkage` is a in [0, 1] (None: Ledoit and Wolf's). `DataError` without `y`."""
        if y is None:
            raise DataError("the mapping 'lda' needs the class of each sample, got none.")
        values = _rows(values).astype(np.float64)
        present, position, counts = np.unique(y, return_inverse=True, return_counts=True)
        means = np.stack([values[y == c].mean(axis=0) for c in present])
        within = values - means[position]
        alpha = ledoit_wolf(within, principal_axes(within)[1]) if shrinkage is None else shrinkage
        mean = values.mean(axis=0)
        between = (means - mean) * np.sqrt(counts / len(values))[:, None]  # C x D
        whitened = whitener(within, alpha)(between)
        _, s, axes = np.linalg.svd(whitened, full_matrices=False)
        axes = axes[: len(present) - 1][s[: len(present) - 1] > 1e-10]
        projection = whitener(within, alpha)(axes).T
        return cls(mean.astype(np.float32), projection.astype(np.float32))


@dataclass(frozen=True, eq=False)
class Chain:
    """Mappings one after the other."""

    mappings: tuple[Mapping, ...]
    kind: ClassVar[str] = "chain"

    @classmethod
    def fit(cls, values: Any, y: np.ndarray | None = None, *, steps: Sequence[Callable[[Any, Any], Mapping]]) -> Chain:
        """Fit each step on what the ones before it give; a step is a `fit`, e.g. `Standardise.fit`."""
        mappings: list[Mapping] = []
        for step in steps:
            mappings.append(step(values, y))
            values = mappings[-1].transform(values)
        return cls(tuple(mappings))

    def transform(self, values: Any) -> Values:
        """N x D' rows of the last mapping."""
        for mapping in self.mappings:
            values = mapping.transform(values)
        return values

    def state(self) -> State:
        """The states of the mappings, their arrays under `0.`, `1.`, ..."""
        config, arrays = [], {}
        for i, mapping in enumerate(self.mappings):
            own, own_arrays = mapping.state()
            config.append({"kind": mapping.kind, "mapping": own})
            arrays |= {f"{i}.{name}": a for name, a in own_arrays.items()}
        return {"mappings": config}, arrays

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Chain:
        """Undo `state`."""
        mappings = []
        for i, entry in enumerate(config["mappings"]):
            own = {name.removeprefix(f"{i}."): a for name, a in arrays.items() if name.startswith(f"{i}.")}
            mappings.append(mapping_from_state(entry["kind"], entry["mapping"], own))
        return cls(tuple(mappings))


def mapping_from_state(kind: str, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Mapping:
    """Make a mapping again from what `state` gave. Raises `ArtifactError` for a kind this version doesn't know."""
    kinds = {mapping.kind: mapping for mapping in (Identity, L2, Standardise, Affine, PCA, LDA, Chain, TfIdf)}
    if kind not in kinds:
        known = ", ".join(sorted(kinds))
        raise ArtifactError(
            f"a feature mapping is a '{kind}'; this version of torchgraft knows {known}. Update torchgraft."
        )
    return kinds[kind].from_state(config, arrays)


def principal_axes(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal axes V (D x r) of centred rows z (N x D) and the variance along each (r,), largest first.

    By one eigendecomposition of the smaller of z^T z (then r = D, a rotation) and z z^T (then r = rank: the axes span
    every row, so nothing of z is lost).
    """
    n, d = z.shape
    if d <= n:
        values, axes = np.linalg.eigh(z.T @ z)
        return axes[:, ::-1], np.maximum(values[::-1], 0.0) / max(n, 1)
    values, left = np.linalg.eigh(z @ z.T)
    values, left = values[::-1], left[:, ::-1]
    keep = values > 1e-11 * max(values[0], 1e-300) if n else np.zeros(0, dtype=bool)
    values, left = values[keep], left[:, keep]
    return (z.T @ left) / np.sqrt(values), values / n


def ledoit_wolf(z: np.ndarray, variances: np.ndarray) -> float:
    """The shrinkage a = b / d of Ledoit and Wolf (2004) for centred rows z (N x D) with S = z^T z / N.

    d = (||S||_F^2 - tr(S)^2 / D) / D, b = min(d, (sum_i ||z_i||^4 / N - ||S||_F^2) / (N D)); a is 0 where d is.
    `variances` are the eigenvalues of S, which say ||S||_F^2 and tr(S) without another product of the rows.
    """
    n, d = z.shape
    square, trace = float((variances**2).sum()), float(variances.sum())
    distance = (square - trace**2 / d) / d
    noise = min(distance, float(((z**2).sum(axis=1) ** 2).sum() / n - square) / (n * d))
    return max(noise, 0.0) / distance if distance > 0 else 0.0


def whitener(z: np.ndarray, shrinkage: float) -> Callable[[np.ndarray], np.ndarray]:
    """Rows -> rows S_a^(-1/2), where S_a = (1 - a) S + a tr(S) / D I and S = z^T z / N of centred rows z (N x D).

    Works where D > N without a D x D matrix. Where S is 0 (every class one sample) it is the identity.
    """
    axes, variances = principal_axes(z)
    level = variances.sum() / max(z.shape[1], 1)
    if level <= 0:
        return lambda rows: rows
    floor = max(shrinkage, 1e-6) * level  # with no shrinkage at all a direction without variance would be divided by 0
    outside = 1 / np.sqrt(floor)
    gain = 1 / np.sqrt((1 - shrinkage) * variances + floor) - outside
    return lambda rows: rows * outside + ((rows @ axes) * gain) @ axes.T


def _kept(k: int | float, variances: np.ndarray) -> int:
    rank = int((variances > 1e-12 * variances.max(initial=0.0)).sum())
    if isinstance(k, int | np.integer) and not isinstance(k, bool) and k >= 1:
        return min(int(k), rank)
    if isinstance(k, float) and 0 < k <= 1:
        share = np.cumsum(variances) / max(variances.sum(), 1e-300)
        return min(int(np.searchsorted(share, k - 1e-12)) + 1, rank)
    raise OptionError(f"k of pca expects a whole number from 1 on, or a share in (0, 1], got {k!r}.")


def _rows(values: np.ndarray, width: int | None = None) -> np.ndarray:
    values = np.asarray(values, dtype=np.float32)
    if values.ndim != 2 or width not in (None, values.shape[1]):
        raise DataError(
            f"expected features N x {width or 'D'}, got shape {' x '.join(map(str, values.shape)) or 'of one number'}."
        )
    return values
