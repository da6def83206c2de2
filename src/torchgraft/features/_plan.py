"""What an extraction set out to compute, on disk until it is done.

The last bits of features depend on the batch they are computed in and on the form of the network. An extraction that is
cut (killed, interrupted, out of disk) and started again therefore goes on with the batches and the form that it began
with: it ends with the same bits as one that was never cut. Samples that the store holds already keep their values, also
where their batch is computed once more for the sake of others.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from torchgraft.core.files import digest, write_json

SUFFIX = ".plan"


@dataclass(frozen=True, eq=False)
class Plan:
    """Positions to compute, `at` (n,), among N samples in their order; the `form` of the network (see `Engine`)."""

    at: np.ndarray
    form: str = ""


def path(folder: Path, keys: np.ndarray) -> Path:
    """Where the plan for samples of these contents (N, in their order) lies in the folder of a shelf."""
    return folder / f"{digest([keys.tobytes()])}{SUFFIX}"


def read(path: Path, missing: np.ndarray, n: int) -> Plan:
    """The plan of an earlier try; a new one where there is none, or it doesn't hold all that is `missing` of `n`."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(stored["at"]), dtype=np.uint8))
        plan = Plan(np.flatnonzero(bits[:n]), str(stored["form"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Plan(missing)
    return plan if np.isin(missing, plan.at).all() else Plan(missing)


def write(path: Path, plan: Plan, n: int) -> None:
    """Keep the plan. Raises `StorageError` where it can't be written."""
    bits = np.zeros(n, dtype=bool)
    bits[plan.at] = True
    write_json(path, {"form": plan.form, "at": np.packbits(bits).tobytes().hex()})


def remove(path: Path) -> None:
    """Forget a plan that is carried out."""
    with contextlib.suppress(OSError):  # a plan left behind costs the next run at most a batch
        path.unlink(missing_ok=True)
