"""The exact minimum of l2-penalised multinomial logistic regression, on dense and sparse blocks of columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from torchgraft.features.mapping import principal_axes
from torchgraft.model.heads import LinearHead

Values = np.ndarray | sparse.csr_matrix


class Block:
    """One matrix of columns in the solver's coordinates: centred and, where dense, rotated to its principal axes.

    Where D > N the axes are those of the span of the rows, which holds the minimum. Products run in float32.
    """

    def __init__(self, z: Values) -> None:
        self.mean = np.asarray(z.mean(axis=0), dtype=np.float64).ravel()
        self.axes: np.ndarray | None = None
        if sparse.issparse(z):
            self.z = sparse.csr_matrix(z, dtype=np.float32)
            self.transposed = self.z.T.tocsr()
            square = np.asarray(self.z.multiply(self.z).mean(axis=0), dtype=np.float64).ravel()
            self.variances = np.maximum(square - self.mean**2, 0.0)
        else:
            centred = z.astype(np.float64) - self.mean
            self.axes, self.variances = principal_axes(centred)
            self.z = (centred @ self.axes).astype(np.float32)

    def forward(self, theta: np.ndarray) -> np.ndarray:
        """N x K logits of r x K coefficients."""
        logits = self.z @ theta.astype(np.float32)
        return logits if self.axes is not None else logits - self.mean @ theta

    def backward(self, slope: np.ndarray) -> np.ndarray:
        """Gradient (r x K) for the N x K slopes of the loss."""
        if self.axes is not None:
            return (self.z.T @ slope.astype(np.float32)).astype(np.float64)
        return self.transposed @ slope.astype(np.float32) - np.outer(self.mean, slope.sum(axis=0))

    def unfold(self, theta: np.ndarray) -> np.ndarray:
        """K x D weights for the columns as they came."""
        return (theta if self.axes is None else self.axes @ theta).T


class Softmax:
    """min over W, b of  C sum_i s_i loss_i + 1/2 ||W||^2,  loss_i = -log softmax(W z_i + b)[y_i], b not penalised.

    This is the objective of scikit-learn's multinomial `LogisticRegression(C)`. The columns of `blocks` stand side by
    side; block k is multiplied by `scales[k]`, which the returned head takes in. `y` holds N classes in
    0..n_classes-1, `weights` the N sample weights s.

    It is solved by L-BFGS (Liu and Nocedal 1989) in coordinates where the Hessian is near the identity, so that a few
    dozen steps do: centring is taken up by b, the rotation of a block leaves ||W|| as it is, and axis j is scaled by
    (a v_j + 1 / (C sum s))^-1/2 with its variance v_j and the mean curvature a of the softmax. One object serves a
    whole path over C, each minimum being the start of the next.
    """

    def __init__(
        self, blocks: Sequence[Block], scales: Sequence[float], y: np.ndarray, weights: np.ndarray, n_classes: int
    ) -> None:
        self.blocks, self.scales, self.n_classes, self.n = blocks, scales, n_classes, len(y)
        self.present, self.y = np.unique(y, return_inverse=True)
        self.total = float(weights.sum())
        self.share = weights / self.total
        self.widths = [len(block.variances) for block in blocks]
        variances = [block.variances * scale**2 for block, scale in zip(blocks, scales, strict=True)]
        self.variances = np.concatenate([*variances, np.ones(1)])  # the last coordinate is the bias
        prior = np.log(np.bincount(self.y, weights=self.share))
        self.theta = np.zeros((len(self.variances), len(self.present)))
        self.theta[-1] = prior - prior.mean()
        self.objective = float("nan")

    def solve(self, c: float, *, tolerance: float = 1e-9, limit: int = 1000) -> LinearHead:
        """The minimum for C = `c`, from the last one found; stops where a step gains less than `tolerance` of it.

        `objective` then holds the value reached, divided by C sum s. See `spread` for classes without a sample.
        """
        penalty = np.append(np.full(len(self.variances) - 1, 1 / (c * self.total)), 0.0)[:, None]
        stretch = 1 / np.sqrt(self._curvature() * self.variances[:, None] + penalty)

        def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
            theta = flat.reshape(self.theta.shape) * stretch
            loss, gradient = self._loss(theta)
            return loss + 0.5 * float((penalty * theta**2).sum()), ((gradient + penalty * theta) * stretch).ravel()

        options = {"maxiter": limit, "maxfun": 2 * limit, "gtol": 1e-9, "ftol": tolerance}
        if len(self.present) > 1:
            found = minimize(value, (self.theta / stretch).ravel(), jac=True, method="L-BFGS-B", options=options)
            self.theta, self.objective = found.x.reshape(self.theta.shape) * stretch, float(found.fun)
        return self._head()

    def _logits(self, theta: np.ndarray) -> np.ndarray:
        logits = np.repeat(theta[-1:], self.n, axis=0)
        for block, scale, part in zip(self.blocks, self.scales, self._parts(theta), strict=True):
            logits += block.forward(part * scale)
        return logits

    def _loss(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        log_p = log_softmax(self._logits(theta), axis=1)
        rows = np.arange(self.n)
        slope = np.exp(log_p)
        slope[rows, self.y] -= 1
        slope *= self.share[:, None]
        pairs = zip(self.blocks, self.scales, strict=True)
        gradient = [block.backward(slope) * scale for block, scale in pairs]
        return -float(self.share @ log_p[rows, self.y]), np.concatenate([*gradient, slope.sum(axis=0, keepdims=True)])

    def _curvature(self) -> float:
        """Mean of trace(diag p - p p^T) / (K - 1) over the samples at the present theta, kept off 0."""
        p = softmax(self._logits(self.theta), axis=1)
        k = max(len(self.present), 2)
        return max(float(self.share @ (1 - (p**2).sum(axis=1))) / (k - 1), 1e-3 / k)

    def _parts(self, theta: np.ndarray) -> list[np.ndarray]:
        return np.split(theta[:-1], np.cumsum(self.widths)[:-1])

    def _head(self) -> LinearHead:
        weight, bias = np.zeros((len(self.present), 0)), self.theta[-1]
        for block, scale, part in zip(self.blocks, self.scales, self._parts(self.theta), strict=True):
            own = block.unfold(part) * scale
            weight, bias = np.hstack([weight, own]), bias - own @ block.mean
        return spread(weight, bias, self.present, self.n_classes, self.n)


def spread(weight: np.ndarray, bias: np.ndarray, present: np.ndarray, n_classes: int, n: int) -> LinearHead:
    """A head over all classes from the K x D weights and K biases of those in `present`.

    Logits of present classes sum to 0 for every input, so their largest is at least 0; the others get -log(n + 1).
    """
    full = np.zeros((n_classes, weight.shape[1]))
    full[present] = weight - weight.mean(axis=0)
    biases = np.full(n_classes, -np.log(n + 1))
    biases[present] = bias - bias.mean()
    return LinearHead(full, biases)
