"""TF-IDF of words and characters: texts to sparse rows without any pretrained network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import sparse

from torchgraft.core.types import State

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

WORD = r"(?u)\b\w+\b"
"""A word is one letter or digit or more: "I", "a" and "2" carry meaning in short texts."""


@dataclass(frozen=True, eq=False)
class Grams:
    """One block of columns: n-grams of words (`word`) or of characters (`char`, across words), low <= n <= high.

    `vocabulary` holds the V n-grams in the order of the columns, `idf` their V weights (float32).
    """

    analyzer: str
    low: int
    high: int
    vocabulary: tuple[str, ...]
    idf: np.ndarray

    def transform(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """N texts to N x V float32 rows of length 1 (0 where a text holds none of the n-grams)."""
        if not self.vocabulary or not texts:
            return sparse.csr_matrix((len(texts), len(self.vocabulary)), dtype=np.float32)
        return self._vectoriser.transform(texts).astype(np.float32)

    @cached_property
    def _vectoriser(self) -> TfidfVectorizer:
        vectoriser = _vectoriser(self.analyzer, self.low, self.high, vocabulary=self.vocabulary)
        vectoriser.idf_ = self.idf
        return vectoriser


@dataclass(frozen=True, eq=False)
class TfIdf:
    """(1 + log count) idf of every n-gram, each block of columns at length 1 per text; idf = log((1 + N)/(1 + df)) + 1.

    Texts are lower-cased. `width` is the number of columns; it is 0 where no text of the fit held a single n-gram,
    and a text without a known n-gram is a row of zeros: the head then answers with its bias alone.
    """

    blocks: tuple[Grams, ...]
    kind: ClassVar[str] = "tfidf"

    @property
    def width(self) -> int:
        """D', the columns of all blocks."""
        return sum(len(block.vocabulary) for block in self.blocks)

    @classmethod
    def fit(
        cls,
        values: Sequence[str],
        y: np.ndarray | None = None,
        *,
        words: tuple[int, int] = (1, 2),
        characters: tuple[int, int] | None = (2, 4),
        min_df: int | None = None,
        limit: int = 100_000,
    ) -> TfIdf:
        """Vocabulary and idf of N texts; labels are not used.

        `words` and `characters` are the shortest and longest n-gram of each block (None: no such block). An n-gram
        must stand in `min_df` texts (None: 2 from 1000 texts on, else 1); of each block the `limit` most frequent are
        kept.
        """
        if min_df is None:
            min_df = 2 if len(values) >= 1000 else 1
        spans = [("word", *words)] + ([("char", *characters)] if characters else [])
        return cls(tuple(_fit_block(values, *span, min_df, limit) for span in spans))

    def transform(self, values: Sequence[str]) -> sparse.csr_matrix:
        """N texts to N x D' sparse float32 rows."""
        texts = list(values)
        return sparse.hstack([block.transform(texts) for block in self.blocks], format="csr", dtype=np.float32)

    def state(self) -> State:
        """Each vocabulary is a JSON list, kept as bytes beside its idf: it is too long for `graft.json`."""
        spans = [{"analyzer": b.analyzer, "low": b.low, "high": b.high} for b in self.blocks]
        arrays = {}
        for i, block in enumerate(self.blocks):
            arrays[f"{i}.idf"] = block.idf
            arrays[f"{i}.vocabulary"] = np.frombuffer(json.dumps(block.vocabulary).encode(), dtype=np.uint8)
        return {"blocks": spans}, arrays

    @classmethod
    def from_state(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> TfIdf:
        """Undo `state`."""
        blocks = []
        for i, span in enumerate(config["blocks"]):
            vocabulary = tuple(json.loads(arrays[f"{i}.vocabulary"].tobytes()))
            blocks.append(Grams(span["analyzer"], span["low"], span["high"], vocabulary, arrays[f"{i}.idf"]))
        return cls(tuple(blocks))


def _fit_block(texts: Sequence[str], analyzer: str, low: int, high: int, min_df: int, limit: int) -> Grams:
    vectoriser = _vectoriser(analyzer, low, high, min_df=min(min_df, len(texts)), max_features=limit)
    try:
        vectoriser.fit(texts)
    except ValueError:  # scikit-learn's way to say that no n-gram is there, or none is frequent enough
        return Grams(analyzer, low, high, (), np.zeros(0, dtype=np.float32))
    return Grams(
        analyzer, low, high, tuple(vectoriser.get_feature_names_out().tolist()), vectoriser.idf_.astype(np.float32)
    )


def _vectoriser(analyzer: str, low: int, high: int, **options: Any) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer  # a second to import: photos shall not wait for it

    pattern = WORD if analyzer == "word" else None
    return TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=(low, high),
        token_pattern=pattern,
        sublinear_tf=True,
        dtype=np.float32,
        **options,
    )
