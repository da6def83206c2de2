"""All that is at hand side by side (several backbones; embeddings and TF-IDF), with a linear probe on top."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from torchgraft.core.errors import OptionError, did_you_mean
from torchgraft.features import mapping
from torchgraft.features.tfidf import TfIdf
from torchgraft.model import LinearHead, Part
from torchgraft.tune._path import Recipe, fit_penalised, mapping_for
from torchgraft.tune.base import Candidate, Problem, Skip

TRANSFER = True

HOWS = ("concat", "pca", "mix", "attention", "gru")


@dataclass(frozen=True, kw_only=True)
class Options:
    """`class_weight`: none, or balanced. `scales`: relative scales of the TF-IDF block that are tried (above 0).

    `how` joins the sources: `concat`; `pca` (concatenated, then the directions of largest variance); or by a neck that
    is trained with the classifier: `mix` (a weighted mean), `attention` (weights of each sample's own), `gru` (read one
    after the other). All but `concat` take the dense sources only. `width`: directions of `pca`, width of a neck's
    tokens and states, 1 or more.
    """

    class_weight: str = "none"
    scales: tuple[float, ...] = (1.0, 2.0, 0.5)
    how: str = "concat"
    width: int = 256


def applies(problem: Problem) -> str:
    """It needs a backbone's features, and something to put beside them."""
    if not problem.dense:
        return "there are no features: no backbone is at hand"
    beside = len(problem.dense) > 1 or "text" in problem.blocks  # the paths of pictures are no features
    return "" if beside else f"{problem.dense[0]} is alone: nothing to put beside it"


def fit(problem: Problem, options: Options) -> Candidate:
    """Join the sources as `how` says, with a linear classifier on top.

    `concat` is the probe of `linear_probe` on [z_1, z_2, ..., s t]: l2-normalised features z (`array`: standardised),
    TF-IDF t. Every block has total variance 1 before it is scaled; s is chosen on the held-out rows together with C.
    The TF-IDF rows stay sparse. `pca` is the probe on the first directions of [z_1, z_2, ...], each of total variance
    1, fitted on each fold's rows. `mix`, `attention` and `gru` are the necks of `model.FusedHead`.

    Raises `OptionError` for another `how` or `width`, `Skip` where one dense source is all that there is to join.
    """
    _check(options)
    if options.how == "concat":
        return _concatenated(problem, options)
    if len(problem.dense) < 2:
        raise Skip(f"{options.how} joins features of several backbones or layers; there is only {problem.dense[0]}")
    if options.how == "pca":
        return _reduced(problem, options)
    from torchgraft.tune import _neck  # loads torch, which the others don't need

    return _neck.fit_neck(problem, options.how, width=options.width, class_weight=options.class_weight)


def _check(options: Options) -> None:
    problems = []
    if options.how not in HOWS:
        near = did_you_mean(options.how, HOWS)
        problems.append(f"how expects one of {', '.join(HOWS)}, got {options.how!r}.{near}")
    if options.width < 1:
        problems.append(f"width expects a whole number from 1, got {options.width}.")
    if problems:
        raise OptionError(" ".join(problems))


def _concatenated(problem: Problem, options: Options) -> Candidate:
    recipes = [Recipe(source, mapping_for(source)) for source in problem.dense]
    if "text" not in problem.blocks:
        return fit_penalised(problem, recipes, options.class_weight)[0]
    ones = [1.0] * len(recipes)
    recipes.append(Recipe("text", TfIdf.fit))
    scalings = [(*ones, scale) for scale in options.scales]
    candidate, scaling = fit_penalised(problem, recipes, options.class_weight, scalings=scalings)
    chosen = {**candidate.chosen, "text_scale": scaling[-1]}
    return replace(candidate, chosen=chosen, note=f"{candidate.note}, TF-IDF times {scaling[-1]:g}")


@dataclass(frozen=True, eq=False)
class _Joined:
    """Sources side by side, each mapped as the probe does it and scaled to total variance 1, then their `pca`."""

    mappings: tuple[mapping.Mapping, ...]
    scales: np.ndarray  # one for each column
    pca: mapping.PCA
    cuts: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, cuts: np.ndarray, names: tuple[str, ...], k: int) -> _Joined:
        blocks = np.split(values, cuts, axis=1)
        mappings = tuple(mapping_for(name)(z, None) for name, z in zip(names, blocks, strict=True))
        mapped = [m.transform(z) for m, z in zip(mappings, blocks, strict=True)]
        scales = [np.full(z.shape[1], 1 / np.sqrt(max(float(z.var(axis=0).sum()), 1e-12))) for z in mapped]
        column = np.concatenate(scales).astype(np.float32)
        return cls(mappings, column, mapping.PCA.fit(np.hstack(mapped) * column, k=k), cuts)

    def transform(self, values: np.ndarray) -> np.ndarray:
        blocks = np.split(values, self.cuts, axis=1)
        z = np.hstack([m.transform(one) for m, one in zip(self.mappings, blocks, strict=True)])
        return self.pca.transform(z * self.scales)

    def unfolded(self, head: LinearHead) -> LinearHead:
        """The head on the sources side by side: logits = ((s z - m) P) W^T + b = z (s P W^T) + b - m P W^T."""
        weight = head.weight.astype(np.float64) @ self.pca.projection.T.astype(np.float64)
        return LinearHead(weight * self.scales, head.bias - weight @ self.pca.mean)


def _reduced(problem: Problem, options: Options) -> Candidate:
    names = problem.dense
    blocks = [problem.blocks[name] for name in names]
    cuts = np.cumsum([z.shape[1] for z in blocks])[:-1]
    recipe = Recipe("joined", lambda values, y: _Joined.fit(values, cuts, names, options.width))
    found, _ = fit_penalised(replace(problem, blocks={"joined": np.hstack(blocks)}), [recipe], options.class_weight)
    joined = found.parts[0].mapping
    return replace(
        found,
        parts=tuple(Part(name, one) for name, one in zip(names, joined.mappings, strict=True)),
        head=joined.unfolded(found.head),
        chosen={**found.chosen, "how": "pca", "width": joined.pca.projection.shape[1]},
        note=f"{found.note}, {joined.pca.projection.shape[1]} directions",
    )
