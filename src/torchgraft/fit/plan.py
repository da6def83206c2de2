"""What to try: from what was given to rungs, in order of how simple the shipped graft would be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torchgraft.core import options as core_options
from torchgraft.core import registry
from torchgraft.core.errors import OptionError, UnknownName

AUTO = "auto"

ORDER = ("majority", "lda", "tfidf", "linear_probe", "knn", "fusion")
"""Simplest first: by how much is fitted on the user's labels. Means and one shared covariance (LDA) before a weight
for each of tens of thousands of words (TF-IDF); a closed form before a penalty that is chosen; a matrix before a stored
training set (kNN); one source before several. Methods that are not named here follow, by name."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One thing to try: a method, on one source (None: the method takes what it needs itself), with its options."""

    method: str
    source: str | None
    options: Any

    @property
    def name(self) -> str:
        """`lda(packaged/efficientnet_lite0)`, for messages."""
        return f"{self.method}({self.source})" if self.source else self.method


def methods(asked: str) -> tuple[str, ...]:
    """Names from a comma-separated option, or every method in the order of simplicity. Raises `UnknownName`."""
    known = registry.names("tune")
    if asked == AUTO:
        return tuple(sorted(known, key=lambda name: (_simplicity(name), name)))
    names = tuple(name.strip() for name in asked.split(",") if name.strip())
    for name in names:
        if name not in known:
            raise UnknownName("tune", name, known, see="See `graft list methods`.")
    if not names:
        raise OptionError(f"--method expects auto or names like lda,linear_probe, got {asked!r}.")
    return tuple(sorted(names, key=lambda name: (_simplicity(name), name)))


def rungs(names: Sequence[str], sources: Sequence[str], values: dict[str, Any]) -> list[Rung]:
    """The rungs of `names` over `sources` (simplest backbone first).

    A method whose options have a `source` gives a rung for each source; another gives one. `values` are options that
    every method which knows them is given.
    """
    found = []
    for name in names:
        kind = registry.get("tune", name).Options
        fields = kind.__dataclass_fields__
        own = {key: value for key, value in values.items() if key in fields}
        for source in sources if "source" in fields else (None,):
            given = own | ({"source": source} if source else {})
            found.append(Rung(method=name, source=source, options=core_options.build(kind, given, where=name)))
    return found


def _simplicity(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)
