"""Names that mean something in a data set: suffixes, folders that are splits, and names as people may be shown them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"})
TABLES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})
ARRAYS = frozenset({".npz", ".npy", ".mat"})
PICKLES = frozenset({".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".dill"})

TEXT_NAMES = (
    ("text",),
    (
        "sentence",
        "review",
        "reviewtext",
        "content",
        "comment",
        "commenttext",
        "message",
        "tweet",
        "question",
        "document",
        "body",
    ),
    ("title", "description", "utterance", "query", "headline", "phrase", "sms", "email", "article"),
)
LABEL_NAMES = (
    ("label", "labels"),
    ("class", "classname", "category", "target", "sentiment", "intent", "topic", "polarity"),
    ("rating", "stars", "score", "y"),
)
FILE_NAMES = (("filename",), ("file", "image", "path", "filepath", "imagepath"))
"""Column names, best first: a name of an earlier group wins, two of one group are a question to the user."""

EXAMPLES = 10
"""How many samples a finding names."""

_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {name: split for split, names in _SPLITS.items() for name in names}


def squeeze(name: str) -> str:
    """A column name without case, spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]+", "", name).lower()


def split_of(name: str) -> str:
    """train, val or test for a folder, file or cell that is called so in one of the usual ways; else ''."""
    return _SPLIT_OF.get(name.strip().lower(), "")


def plain(name: str) -> str:
    """A file name as text that can be encoded: bytes that are not UTF-8 become escapes (backslash, x, two digits)."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def shown(text: str, limit: int = 80) -> str:
    """A name for a message: one line, unprintable characters escaped (no name may steer a terminal), cut at `limit`."""
    text = plain(text[: limit + 1])
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def shown_all(names: Iterable[str], limit: int = 8) -> str:
    """The first `limit` names for a message, comma-separated, with the number of those left out."""
    names = list(names)
    rest = f", ... (+{len(names) - limit} more)" if len(names) > limit else ""
    return ", ".join(shown(name, 60) for name in names[:limit]) + rest if names else "nothing"


def contents(folder: Path, limit: int = 6) -> str:
    """What lies in a folder, in words: `2 folders (a, b) and 3 files (notes.txt, ...)`."""
    entries = sorted(p for p in folder.iterdir() if not hidden(p.name))
    parts = []
    for word, names in (
        ("folder", [p.name for p in entries if p.is_dir()]),
        ("file", [p.name for p in entries if not p.is_dir()]),
    ):
        if names:
            parts.append(f"{len(names)} {word}{'s' * (len(names) > 1)} ({shown_all(names, limit)})")
    return " and ".join(parts) or "nothing"


def hidden(name: str) -> bool:
    """Whether a name is the system's own (.DS_Store, ._x.jpg, __MACOSX, Thumbs.db)."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")
