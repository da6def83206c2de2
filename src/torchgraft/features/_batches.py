"""Samples to batches that an engine takes: which samples go together, and how their bytes or words become arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from torchgraft.backbones import Backbone
from torchgraft.core.errors import DataError
from torchgraft.core.files import digest
from torchgraft.core.types import ImagePreprocessing
from torchgraft.features.decode import decode

IMAGES = 16
"""Images in a batch: on a processor small batches stay in its caches."""
TOKENS = 512
"""Tokens in a batch, padding included."""
CHUNK = 4096
"""Texts that are tokenised and sorted by length together; bounds memory."""

CUT = 1
"""Flag of a text that fills the token limit."""
ENGINE = 2
"""Times 1, 2, 3 in a sample's flags: computed by the first, second, third of `engine.ENGINES`; 0: not known."""


@dataclass(frozen=True, eq=False)
class Batch:
    """n samples ready for an engine: positions `at`, content `keys` (S32), `inputs`, `flags`; and what failed."""

    at: np.ndarray
    keys: np.ndarray
    inputs: tuple[np.ndarray, ...]
    flags: np.ndarray
    failed: dict[int, str]


class Images:
    """Batches of photos; reading and decoding happen in `load`, so that many threads can do them."""

    def __init__(self, paths: Sequence[Path], preprocessing: ImagePreprocessing) -> None:
        self._paths = paths
        self._preprocessing = preprocessing

    def key(self, position: int) -> bytes:
        """Digest of the file's bytes. Raises `DataError` where it can't be read."""
        return digest([_read(Path(self._paths[position]))]).encode()

    def plan(self, at: np.ndarray, wanted: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """The positions `at`, batch by batch.

        Batches of which nothing is `wanted` (bool, one for each sample) are left out; the others stay as they are.
        """
        batches = (at[start : start + IMAGES] for start in range(0, len(at), IMAGES))
        yield from (batch for batch in batches if _any(wanted, batch))

    def load(self, at: np.ndarray) -> Batch:
        """Read and decode; the key is that of the bytes decoded, should the file have changed meanwhile."""
        size = self._preprocessing.size
        x = np.empty((len(at), size, size, 3), dtype=np.uint8)
        keys, done, failed = [], [], {}
        for position in at.tolist():
            try:
                data = _read(Path(self._paths[position]))
                image = decode(data, self._preprocessing)
            except DataError as error:
                failed[position] = str(error)
                continue
            x[len(done)] = image.permute(1, 2, 0).numpy()
            keys.append(digest([data]).encode())
            done.append(position)
        n = len(done)
        return Batch(np.array(done, np.int64), np.array(keys, "S32"), (x[:n],), np.zeros(n, np.uint8), failed)


class Texts:
    """Batches of texts of like length, so that hardly any padding is computed."""

    def __init__(self, texts: Sequence[str], backbone: Backbone) -> None:
        self._texts = texts
        self._backbone = backbone  # its tokenizer is loaded when the first text has to be computed

    def key(self, position: int) -> bytes:
        """Digest of the text. Raises `DataError` where it is none."""
        text = self._texts[position]
        if not isinstance(text, str):
            raise DataError(f"not a text but {type(text).__name__}")
        return digest([text.encode("utf-8", "surrogatepass")]).encode()

    def plan(self, at: np.ndarray, wanted: np.ndarray | None = None) -> Iterator[list[tuple[int, list[int]]]]:
        """(position, token ids) of the texts of each batch, the longest of a chunk first; as for images."""
        chunks = (at[start : start + CHUNK] for start in range(0, len(at), CHUNK))
        for some in (chunk.tolist() for chunk in chunks if _any(wanted, chunk)):
            rows = self._backbone.tokenizer([_unicode(self._texts[position]) for position in some])
            pairs = sorted(zip(some, rows, strict=True), key=lambda pair: (-len(pair[1]), pair[0]))
            yield from (batch for batch in _bounded(pairs) if _any(wanted, [position for position, _ in batch]))

    def load(self, pairs: list[tuple[int, list[int]]]) -> Batch:
        """Fill up to the longest of the batch, on the right."""
        at = np.array([position for position, _ in pairs], dtype=np.int64)
        lengths = np.array([len(row) for _, row in pairs])
        ids = np.full((len(pairs), max(lengths.max(), 1)), self._backbone.tokenizer.padding, dtype=np.int64)
        for i, (_, row) in enumerate(pairs):
            ids[i, : len(row)] = row
        mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
        keys = np.array([self.key(position) for position in at.tolist()], "S32")
        flags = np.where(lengths >= self._backbone.preprocessing.max_tokens, CUT, 0).astype(np.uint8)
        return Batch(at, keys, (ids, mask), flags, {})


def source(x: Sequence, backbone: Backbone) -> Images | Texts:
    """What makes batches of `x` for this backbone."""
    if backbone.modality == "text":
        return Texts(x, backbone)
    return Images(x, backbone.preprocessing)


def typical(source: Images | Texts, at: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """Inputs of a few real batches of unlike shapes, the smallest first; empty where nothing can be read."""
    plan = list(source.plan(at[: 4 * IMAGES]))
    if isinstance(source, Texts):
        some = [source.load(plan[i]).inputs for i in sorted({len(plan) - 1, len(plan) // 2, 0})]
        return sorted(some, key=lambda inputs: inputs[0].size)
    for item in plan:
        (x,) = source.load(item).inputs
        if len(x):
            return [(x[:1],), (x,)]
    return []


def _any(wanted: np.ndarray | None, at: np.ndarray | list[int]) -> bool:
    return wanted is None or bool(wanted[at].any())


def _bounded(pairs: list[tuple[int, list[int]]]) -> Iterator[list[tuple[int, list[int]]]]:
    """Runs of pairs, longest first, of at most `TOKENS` tokens with padding (one text at least)."""
    start = 0
    while start < len(pairs):
        n = max(TOKENS // max(len(pairs[start][1]), 1), 1)
        yield pairs[start : start + n]
        start += n


def _unicode(text: str) -> str:
    """Half of a surrogate pair is no Unicode text; tokenizers refuse it."""
    return text.encode("utf-8", "replace").decode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError("the file does not exist") from None
    except IsADirectoryError:
        raise DataError("a folder, not a file") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise DataError(f"can't be opened: {getattr(error, 'strerror', None) or error}") from None
