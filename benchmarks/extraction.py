"""How fast are features extracted, decode included, beside the loop that one would write by hand?

The plain loop: Pillow decode, antialiased resize, normalise, eager network, batches of 32, torch's own threads, the
default allocator. Ours: `torchgraft.features.extract` into an empty store; engines are exported (and for `auto`
chosen) once before. Every number comes from a fresh process; processes alternate; medians are printed, as markdown.

    python benchmarks/extraction.py --data ../shared/data/hymenoptera --part lite0
    python benchmarks/extraction.py --texts ../shared/data/sst2/train.csv --part text
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import _extraction_cells as cells

PARTS = ("lite0", "mobilenetv3", "resnet50", "text", "memory", "engines")
LITE0, RESNET50 = "packaged/efficientnet_lite0", "random/resnet50"
MOBILENETS = ("random/mobilenetv3_large_100", "random/mobilenetv3_small_100")
MINILM = "packaged/minilm_l6"
TARGETS = {
    (LITE0, "auto"): 2.5,
    (LITE0, "torch"): 1.8,
    **dict.fromkeys(((name, "auto") for name in MOBILENETS), 2.5),
    (RESNET50, "auto"): 1.3,
}


def main() -> None:
    options = _options()
    if options.cell:
        print(json.dumps(cells.run(json.loads(options.cell))))
        return
    with tempfile.TemporaryDirectory(prefix="torchgraft-benchmark-") as folder:
        bench = Bench(options, Path(folder))
        for part in options.part:
            print(f"\n## {part}\n")
            getattr(bench, part)()


class Bench:
    """The parts; each prints one table."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.photos = {"data": str(options.data), "n": options.n, "folder": str(folder)}
        self.texts = {"texts": str(options.texts), "n": options.n_texts, "folder": str(folder)}

    def lite0(self) -> None:
        """The packaged network, with every engine."""
        self._rates((LITE0,), ("auto", "torch", *_installed()))

    def mobilenetv3(self) -> None:
        """Two small networks with random weights."""
        self._rates(MOBILENETS, ("auto", "torch"))

    def resnet50(self) -> None:
        """A large network with random weights."""
        self._rates((RESNET50,), ("auto", "torch"))

    def text(self) -> None:
        """Sentences, against padding to 128 tokens and against batches in the order given."""
        job = {**self.texts, "backbone": MINILM}
        self._prepare(job, ("auto", "torch"))
        plan = {
            "padded to 128": {**job, "cell": "plain_text", "padding": 128},
            "padded to the longest, unsorted": {**job, "cell": "plain_text", "padding": 0},
            **{f"ours, {name}": {**job, "cell": "ours", "engine": name} for name in ("auto", "torch")},
        }
        found = self._alternate(plan)
        print(
            "| variant | engine | texts/s | against 128 | against unsorted | CPU time: against 128, unsorted | cosine |"
        )
        print("|---|---|---|---|---|---|---|")
        long, short = found["padded to 128"], found["padded to the longest, unsorted"]
        for name, runs in found.items():
            ratios = f"{_ratio(runs, long):.2f} | {_ratio(runs, short):.2f}"
            work = f"{_ratio(runs, long, 'per_cpu'):.2f}, {_ratio(runs, short, 'per_cpu'):.2f}"
            cosine = cells.least_cosine(long[0]["z"], runs[0]["z"])
            print(f"| {name} | {runs[0]['engine']} | {_median(runs):.0f} | {ratios} | {work} | {cosine:.5f} |")
        print("\nTargets for auto: 4 against 128, 1.5 against unsorted.")

    def memory(self) -> None:
        """Peak memory of a process that extracts few and many photos."""
        few, many = self.options.memory_n
        job = {**self.photos, "backbone": MOBILENETS[1], "copies": many}
        self._child({**job, "cell": "copy_photos"})
        self._prepare(job, ("auto",))  # both runs with the engine that this machine likes best
        print("| photos | engine | peak memory, MiB | photos/s |\n|---|---|---|---|")
        peaks = []
        for n in (few, many):
            found = self._child({**job, "cell": "peak", "n": n})
            peaks.append(found["peak"])
            print(f"| {n} | {found['engine']} | {found['peak'] / 2**20:.0f} | {found['rate']:.0f} |")
        print(f"\nPeak memory of {many} over that of {few}: {peaks[1] / peaks[0]:.3f} (target: at most 1.2).")

    def engines(self) -> None:
        """What each engine does on pixels already in memory, and how much of it is left with reading and decoding."""
        print("| network | engine | in memory, photos/s | from files, photos/s | share | share of CPU time |")
        print("|---|---|---|---|---|---|")
        for backbone in (LITE0, *MOBILENETS, RESNET50):
            job = {**self.photos, "backbone": backbone}
            names = ("auto", "torch", *_installed())
            self._prepare(job, names)
            plan = {
                f"{kind} {name}": {**job, "cell": kind, "engine": name}
                for name in names
                for kind in ("in_memory", "ours")
            }
            found = self._alternate(plan)
            for name in names:
                inside, files = found[f"in_memory {name}"], found[f"ours {name}"]
                shares = f"{_ratio(files, inside):.2f} | {_ratio(files, inside, 'per_cpu'):.2f}"
                label = f"auto ({files[0]['engine']})" if name == "auto" else name
                print(f"| {backbone} | {label} | {_median(inside):.0f} | {_median(files):.0f} | {shares} |")
        print("\nTarget for auto: a share of at least 0.85.")

    def _rates(self, backbones: tuple[str, ...], engines: tuple[str, ...]) -> None:
        print("| network | engine | photos/s | plain loop | ratio | ratio of CPU time | least cosine | target |")
        print("|---|---|---|---|---|---|---|---|")
        for backbone in backbones:
            job = {**self.photos, "backbone": backbone}
            self._prepare(job, engines)
            ours = {name: {**job, "cell": "ours", "engine": name} for name in engines}
            found = self._alternate({"plain": {**job, "cell": "plain"}, **ours})
            plain = found["plain"]
            for name in engines:
                runs = found[name]
                label = f"auto ({runs[0]['engine']})" if name == "auto" else name
                rates = f"{_median(runs):.0f} | {_median(plain):.0f} | {_ratio(runs, plain):.2f}"
                cosine = cells.least_cosine(plain[0]["z"], runs[0]["z"])
                target = TARGETS.get((backbone, name), 1.0)
                work = _ratio(runs, plain, "per_cpu")
                print(f"| {backbone} | {label} | {rates} | {work:.2f} | {cosine:.6f} | {target} |")

    def _prepare(self, job: dict, engines: tuple[str, ...]) -> None:
        for name in engines:
            self._child({**job, "cell": "prepare", "engine": name})

    def _alternate(self, plan: dict[str, dict]) -> dict[str, list[dict]]:
        found: dict[str, list[dict]] = {name: [] for name in plan}
        for _ in range(self.options.runs):
            for name, cell in plan.items():
                found[name].append(self._child(cell))
        return found

    def _child(self, cell: dict) -> dict:
        environment = {**os.environ, "TORCHGRAFT_CACHE": str(self.folder / "cache")}
        command = [sys.executable, "-W", "ignore", __file__, "--cell", json.dumps(cell)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])


def _median(runs: list[dict], what: str = "rate") -> float:
    return statistics.median(run[what] for run in runs)


def _ratio(runs: list[dict], others: list[dict], what: str = "rate") -> float:
    """Median of the ratios of neighbours in time."""
    return statistics.median(a[what] / b[what] for a, b in zip(runs, others, strict=True))


def _installed() -> tuple[str, ...]:
    from torchgraft.features.engine import others

    return others()


def _options() -> argparse.Namespace:
    data = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="*", choices=PARTS, default=list(PARTS), help="parts to run (default: all)")
    parser.add_argument("--data", type=Path, default=data / "hymenoptera", help="folder with JPEG photos")
    parser.add_argument("--texts", type=Path, default=data / "sst2" / "train.csv", help="CSV with a column `text`")
    parser.add_argument("--n", type=int, default=256, help="photos of a run")
    parser.add_argument("--n-texts", type=int, default=1024, help="texts of a run")
    parser.add_argument("--runs", type=int, default=5, help="processes per variant")
    parser.add_argument("--memory-n", type=int, nargs=2, default=(2000, 20000), metavar=("FEW", "MANY"))
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
