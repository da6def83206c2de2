"""Writing so that nothing half-written is ever read: to a temporary name beside the target, then renamed."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torchgraft.core.errors import StorageError

_CURES = {
    errno.ENOSPC: "the disk is full. Free some space, then run the same command again: what was computed is kept",
    errno.EDQUOT: "the disk quota is used up. Free some space, then run the same command again",
    errno.EFBIG: "it is larger than a file may be here (see ulimit -f). Raise the limit, or choose another folder",
    errno.EACCES: "there is no permission to write there. Choose another folder",
    errno.EPERM: "there is no permission to write there. Choose another folder",
    errno.EROFS: "the file system is read-only. Choose another folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder. Choose another folder",
    errno.EISDIR: "a folder of that name is in the way. Choose another place",
    errno.ENOENT: "there is no such folder, and none can be made there. Choose another folder",
    errno.EEXIST: "a file of that name is in the way. Choose another folder",
}


@contextmanager
def storage(path: Path | str) -> Iterator[None]:
    """Turn the operating system's write errors inside the block into a `StorageError` that names `path` and a cure."""
    try:
        yield
    except OSError as error:
        cure = _CURES.get(error.errno or 0)
        if cure is None:
            raise
        raise StorageError(f"{path} can't be written: {cure}.") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well it takes `path`'s place in one step.

    Works for a file and for a folder (an older folder makes way first). On an error nothing is left behind,
    and what was there before stays.
    """
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            new = draft / path.name
            yield new
            if new.is_dir() and path.is_dir():
                _swap(new, path, draft / "old")
            else:
                new.replace(path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _swap(new: Path, path: Path, old: Path) -> None:
    path.rename(old)
    try:
        new.replace(path)
    except BaseException:
        old.rename(path)
        raise


def clear_drafts(path: Path) -> None:
    """Remove what killed processes left of writing `path`. Not while another process may be writing there."""
    for draft in path.parent.glob(f".{glob.escape(path.name)}.*"):
        shutil.rmtree(draft, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    r"""Write UTF-8 text in one step; half a surrogate pair, which UTF-8 can't hold, becomes JSON's `\ud800`."""
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write JSON in one step; NaN and Inf are refused rather than written as something no parser reads."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def digest(parts: Iterable[bytes | str]) -> str:
    """BLAKE2b of the parts, 32 hexadecimal digits; each part's length is hashed too, so that none run together."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """BLAKE2b of a file's bytes, 32 hexadecimal digits, read in pieces."""
    total = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            total.update(piece)
    return total.hexdigest()


def cache_root() -> Path:
    """Where features and exported engines are kept: `$TORCHGRAFT_CACHE`, else `~/.cache/torchgraft`."""
    named = os.environ.get("TORCHGRAFT_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "torchgraft"
