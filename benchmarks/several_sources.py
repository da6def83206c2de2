"""Several sources for one target: does it help to let each count by its gap to the target?

Each domain of a set is once the target, all others are sources. Accuracy on the target (its labels are printed, and
used for nothing else) of source-only and of what is shipped, with every source sample counting alike and weighted by
1 / gap, as `graft fit --source A --source B` does. Run it with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np

from adaptation import SETS, domains_of
from torchgraft.core.progress import SILENT
from torchgraft.fit import FitOptions, _several, adaptation
from torchgraft.fit._domains import TARGET


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--set", nargs="*", default=["office10", "surf", "amazon_reviews"], choices=list(SETS))
    arguments = parser.parse_args()
    for name in arguments.set:
        with tempfile.TemporaryDirectory() as folder:
            _set(name, domains_of(arguments.data, name, Path(folder)))


def _set(name: str, domains: dict[str, Path]) -> None:
    print(f"\n| {name}: target | a sample counts | source-only, alike | weighted | shipped, alike | weighted |")
    print("|---|---|---|---|---|---|")
    rows = []
    for target in domains:
        others = [other for other in domains if other != target]
        options = FitOptions(
            target=str(domains[target]),
            source=tuple(str(domains[other]) for other in others),
            oracle_labels=True,
            backbone=SETS[name],
        )
        with patch.object(_several, "gaps_to_target", lambda x, origin: np.ones(origin.max() + 1)):
            alike = _right(adaptation.run(options, SILENT))
        found = adaptation.run(options, SILENT)
        weighted = _right(found)
        rows.append((alike[0], weighted[0], alike[1], weighted[1]))
        counts = ", ".join(f"{other} {one.weight:.1f}" for other, one in zip(others, found.several, strict=True))
        print(f"| {target} | {counts} | {' | '.join(f'{value:.1f}' for value in rows[-1])} |", flush=True)
    print(f"| **mean** | | {' | '.join(f'{value:.1f}' for value in np.mean(rows, axis=0))} |", flush=True)


def _right(found: adaptation.Adaptation) -> tuple[float, float]:
    """Percent right on the target: source-only, and what is shipped."""
    y = found.domains.oracle[found.rows(TARGET)]
    first, shipped = (found.ladder[i].probabilities.argmax(1) == y for i in (0, found.index))
    return 100 * float(first.mean()), 100 * float(shipped.mean())


if __name__ == "__main__":
    main()
