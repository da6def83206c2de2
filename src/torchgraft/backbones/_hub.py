"""The local cache of the Hugging Face hub first, the hub itself where the cache has nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import constants  # alone: the rest of it is loaded when something is fetched

from torchgraft.core.errors import UserError
from torchgraft.core.files import storage

WAY_OUT = (
    "Load it once where the hub can be reached (it is kept in the cache), copy its folder here and use local/FOLDER, "
    "or use a backbone that is here: `graft list backbones`."
)


def repositories() -> Iterator[tuple[str, Path]]:
    """Name and folder of every model repository in the cache, at the revision fetched last."""
    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*")):
        ref = folder / "refs" / "main"
        if ref.is_file():
            snapshot = folder / "snapshots" / ref.read_text(encoding="utf-8").strip()
            if snapshot.is_dir():
                yield folder.name.removeprefix("models--").replace("--", "/"), snapshot


def file(repository: str, names: Sequence[str], *, backbone: str) -> Path:
    """The first of `names` that the repository has; from the cache, else downloaded. Raises `UserError`."""
    snapshot = dict(repositories()).get(repository)
    for name in names:
        if snapshot and (snapshot / name).is_file():
            return snapshot / name
    for name in names:
        # Not hf_hub_download: without a network it tries six times, for half a minute.
        found = _fetch(repository, [name], backbone) / name
        if found.is_file():
            return found
    raise UserError(
        f"backbone '{backbone}': {repository} on the Hugging Face hub has none of {', '.join(names)}. {WAY_OUT}"
    )


def folder(repository: str, patterns: Sequence[str], *, backbone: str, complete: Callable[[Path], bool]) -> Path:
    """The repository's folder: from the cache where it is `complete`, else downloaded (`patterns` alone)."""
    snapshot = dict(repositories()).get(repository)
    if snapshot and complete(snapshot):
        return snapshot
    return _fetch(repository, list(patterns), backbone)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one where the file is missing or holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _fetch(repository: str, patterns: list[str], backbone: str) -> Path:
    """The snapshot's folder, with the files that match."""
    from huggingface_hub import errors, snapshot_download

    try:
        with storage(constants.HF_HUB_CACHE):
            return Path(snapshot_download(repository, allow_patterns=patterns))
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        raise UserError(
            f"backbone '{backbone}' is not on this machine, and the Hugging Face hub can't be reached. {WAY_OUT}"
        ) from None
    except errors.GatedRepoError:
        raise UserError(
            f"backbone '{backbone}': the hub gives {repository} only to those who accepted its terms. "
            "Accept them on its page, then log in: `hf auth login`."
        ) from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise UserError(
            f"backbone '{backbone}': the Hugging Face hub has no model '{repository}' (or it is private)."
        ) from None
