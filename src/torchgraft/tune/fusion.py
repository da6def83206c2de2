"""All that is at hand side by side (several backbones; embeddings and TF-IDF), with a linear probe on top."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torchgraft.features.tfidf import TfIdf
from torchgraft.tune._path import Recipe, fit_penalised, mapping_for
from torchgraft.tune.base import Candidate, Problem

TRANSFER = True


@dataclass(frozen=True, kw_only=True)
class Options:
    """`class_weight`: none, or balanced. `scales`: relative scales of the TF-IDF block that are tried (above 0)."""

    class_weight: str = "none"
    scales: tuple[float, ...] = (1.0, 2.0, 0.5)


def applies(problem: Problem) -> str:
    """It needs a backbone's features, and something to put beside them."""
    if not problem.dense:
        return "there are no features: no backbone is at hand"
    return "" if len(problem.blocks) > 1 else f"{problem.dense[0]} is alone: nothing to put beside it"


def fit(problem: Problem, options: Options) -> Candidate:
    """The probe of `linear_probe` on [z_1, z_2, ..., s t]: l2-normalised features z (`array`: standardised), TF-IDF t.

    Every block has total variance 1 before it is scaled; s is chosen on the held-out rows together with C. The TF-IDF
    rows stay sparse.
    """
    recipes = [Recipe(source, mapping_for(source)) for source in problem.dense]
    if "text" not in problem.blocks:
        return fit_penalised(problem, recipes, options.class_weight)[0]
    ones = [1.0] * len(recipes)
    recipes.append(Recipe("text", TfIdf.fit))
    scalings = [(*ones, scale) for scale in options.scales]
    candidate, scaling = fit_penalised(problem, recipes, options.class_weight, scalings=scalings)
    chosen = {**candidate.chosen, "text_scale": scaling[-1]}
    return replace(candidate, chosen=chosen, note=f"{candidate.note}, TF-IDF times {scaling[-1]:g}")
