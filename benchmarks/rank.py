"""Does a ranking name the right backbone? Scores of frozen features held against what fine-tuning reached.

`--part taus` (after `rank_truth.py`): for each set the weighted Kendall tau of every score with the mean fine-tuned
accuracy of eight networks, and the regret of its top pick in points. `--part cost`: CPU seconds of a ranking, nothing
computed before, and of that fine-tuning. `--part coverage`: how often the interval of the predicted accuracy holds what
the probe reached on the test part. `--part halving`: whether the race ends with the top pick of the full ranking, and
at which share of its cost. `--part chances`: what the chance of being the best is worth as a forecast of who fine-tunes
best.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

from _rank_sets import LABELS, MOBILENETS, add_places, backbones, draw, told, whole
from rank_truth import RESULTS, rows, seconds_an_epoch
from torchgraft import features
from torchgraft.backbones import load
from torchgraft.core import registry
from torchgraft.core.progress import SILENT
from torchgraft.core.runtime import keep_memory, wait_passively
from torchgraft.data import Samples
from torchgraft.evaluate.standings import Standing, Votes, standings
from torchgraft.fit._candidates import Limits, candidates
from torchgraft.fit._contest import SCORES, Networks
from torchgraft.fit._race import race
from torchgraft.fit.ranking import few, knee, predicted, rounds, run
from torchgraft.rank import regret, weighted_tau

IMAGENET = {"efficientnet_lite0": 75.1, "efficientnet_lite1": 76.7, "efficientnet_lite2": 77.6} | {
    name: about[3] for name, about in MOBILENETS.items()
}
DEFAULT = "default: mean rank by probe, neighbours, H-score and ImageNet table"

PICK = "the pick: the fastest within half a point"

REACHED = {
    "lp_ft": "Fine-tuned accuracy",
    "probe": "Accuracy of the linear probe on the test part",
    "better": "The better of fine-tuning and the probe",
}
"""What scores are held against."""


def main() -> None:
    """Print the tables of one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_places(parser)
    parser.add_argument("--truth", type=Path, default=RESULTS, help="what rank_truth.py wrote")
    parser.add_argument("--sets", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=4, help="races for each set")
    parser.add_argument("--against", default="lp_ft", choices=REACHED, help="of --part taus")
    parser.add_argument("--part", default="taus", choices=PARTS)
    arguments = parser.parse_args()
    keep_memory()  # as `graft rank` begins
    wait_passively()
    PARTS[arguments.part](arguments)


def _truth(arguments: argparse.Namespace) -> list[dict]:
    """Rows of the draws that hold all networks: of others nothing can be ranked."""
    found = rows(arguments.truth)
    draws = [(row["set"], row["seed"]) for row in found]
    whole = [row for row, one in zip(found, draws, strict=True) if draws.count(one) == len(IMAGENET)]
    if not whole:
        raise SystemExit(f"{arguments.truth}: no draw holds all {len(IMAGENET)} networks yet. Run rank_truth.py first.")
    return whole


def _taus(arguments: argparse.Namespace) -> None:
    truth = _truth(arguments)
    sets = [name for name in LABELS if any(row["set"] == name for row in truth)]
    print(f"{REACHED[arguments.against]} in % (mean of the draws), 8 networks.\n")
    shorts = list(IMAGENET)
    print(f"| set | draws | {' | '.join(shorts)} |\n|---|---|{'---|' * len(shorts)}")
    reached, seeds, again, best = {}, {}, {}, {}
    for name in sets:
        own = [row for row in truth if row["set"] == name]
        seeds[name] = sorted({row["seed"] for row in own})
        wanted = {b: [_reached(row, arguments.against) for row in own if row["backbone"] == b] for b in shorts}
        reached[name] = np.array([100 * np.mean(wanted[b]) for b in shorts])
        draws = 100 * np.array([wanted[b] for b in shorts]).T
        again[name], best[name] = _again(draws), _knowing(draws)
        print(f"| {name} | {len(seeds[name])} | {' | '.join(f'{value:.1f}' for value in reached[name])} |")
    found = {name: _scores(arguments, name, seeds[name]) for name in sets}
    print("\nWeighted tau, and in brackets the regret in points of a pick by one draw.\n")
    print(f"| score | {' | '.join(sets)} | mean tau | mean regret |")
    print(f"|---|{'---|' * len(sets)}---|---|")
    for score in found[sets[0]]:
        taus = [weighted_tau(found[name][score].mean(axis=0), reached[name]) for name in sets]
        lost = [np.mean([regret(draw, reached[name]) for draw in found[name][score]]) for name in sets]
        if score == PICK:  # is no order
            print(f"| {score} | {' | '.join(f'({points:.1f})' for points in lost)} | | {np.mean(lost):.1f} |")
            continue
        print(told(score, taus, lost))
    for title, found in (("another draw of the fine-tuning", again), ("who knew the expected accuracies", best)):
        print(told(title, *zip(*(found[name] for name in sets), strict=True)))


def _cost(arguments: argparse.Namespace) -> None:
    """As `graft rank` does it: features by the engine it takes, halving; the networks are loaded before."""
    truth = _truth(arguments)
    tuning = _tuning_seconds(truth, arguments)
    print("| set | draws | ranking, CPU s | fine-tuning, CPU s | ratio |\n|---|---|---|---|---|")
    both = np.zeros(2)
    for name in LABELS:
        seeds, spent = sorted({row["seed"] for row in truth if row["set"] == name}), np.array([0.0, tuning[name]])
        for seed in seeds:
            samples = draw(name, seed, arguments.data, arguments.work).samples
            contest = contest_of(samples.take(samples.split == "train"), arguments, seed, engine="auto")
            for one in contest.names:
                contest.backbone(one)
            with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, TORCHGRAFT_CACHE=folder):
                start = time.process_time()
                race(contest.names, rounds(contest.samples.y, seed), contest.ask, votes=contest.votes, seed=seed)
                spent[0] += time.process_time() - start
        if seeds:
            print(
                f"| {name} | {len(seeds)} | {spent[0]:.0f} | {spent[1]:.0f} | {spent[1] / spent[0]:.0f} |", flush=True
            )
            both += spent
    recorded = sum(row["lp_ft_cpu"] for row in truth)
    print(
        f"\nAll: ranking {both[0]:.0f}, fine-tuning {both[1]:.0f} CPU seconds, {both[1] / both[0]:.0f} times as much "
        f"({recorded:.0f} when it was recorded)."
    )


def _tuning_seconds(truth: Sequence[Mapping], arguments: argparse.Namespace) -> dict[str, float]:
    """Set -> CPU seconds that its rows would take at the pace of this very hour: an epoch of each network is timed."""
    first = draw(next(iter(LABELS)), 0, arguments.data, arguments.work)
    epoch = {_short(name): seconds_an_epoch(first, name) for name in backbones(arguments.weights, arguments.work)}
    found = dict.fromkeys(LABELS, 0.0)
    for row in truth:
        found[row["set"]] += row["epochs"] * epoch[row["backbone"]]
    return found


def _again(draws: np.ndarray) -> tuple[float, float]:
    """(tau, regret) of each draw of the truth (draws x networks) against the mean of the others, on average: what who
    fine-tunes all networks once would reach.
    """
    if len(draws) < 2:
        return float("nan"), float("nan")
    rest = [np.delete(draws, i, axis=0).mean(axis=0) for i in range(len(draws))]
    pairs = list(zip(draws, rest, strict=True))
    return float(np.mean([weighted_tau(*pair) for pair in pairs])), float(np.mean([regret(*pair) for pair in pairs]))


def _knowing(draws: np.ndarray, times: int = 2000) -> tuple[float, float]:
    """(tau, regret) to be expected of who knows what each network reaches on average, against the mean of such draws.

    Simulated. Draw d of network i is mu_i + a_d + e_di; the variance of e is that of the residuals, that of mu what the
    means (over draws) have beyond theirs. mu is drawn given the means, then a new mean of as many draws given mu.
    """
    n, networks = draws.shape
    if n < 2:
        return float("nan"), float("nan")
    means, rng = draws.mean(axis=0), np.random.default_rng(0)
    residuals = draws - means - draws.mean(axis=1, keepdims=True) + draws.mean()
    noise = (residuals**2).sum() / ((n - 1) * (networks - 1)) / n
    spread = max(means.var(ddof=1) - noise, 0.0)
    kept = spread / (spread + noise) if noise else 1.0
    centres = means.mean() + kept * (means - means.mean())
    known = centres + np.sqrt(kept * noise) * rng.standard_normal((times, networks))
    seen = known + np.sqrt(noise) * rng.standard_normal((times, networks))
    pairs = [(weighted_tau(*pair), regret(*pair)) for pair in zip(known, seen, strict=True)]
    return tuple(np.mean(pairs, axis=0).tolist())


def _reached(row: dict, against: str) -> float:
    return max(row["probe"], row["lp_ft"]) if against == "better" else row[against]


def _scores(arguments: argparse.Namespace, name: str, seeds: list[int]) -> Mapping[str, np.ndarray]:
    """Score -> draws x networks (of the default minus the mean rank, of a race minus the place)."""
    found: dict[str, list] = {}
    others = [score for score in registry.names("rank") if score not in SCORES]
    for seed in seeds:
        samples = draw(name, seed, arguments.data, arguments.work).samples
        contest = contest_of(samples.take(samples.split == "train"), arguments, seed)
        ended = [row.name for row in run(contest, (), deadline=float("inf"))]
        whole_run = run(contest, (), deadline=float("inf"), full=True)
        asked = {one: contest.ask(one, np.arange(len(contest.samples))) for one in contest.names}
        votes = contest.votes(contest.names)
        values = {
            DEFAULT: ranks(contest, standings(asked, votes=votes, seed=seed)),
            "the same, as halving ends": [-ended.index(one) for one in contest.names],
            PICK: [one == knee(whole_run).name for one in contest.names],
            "the same, without the table": ranks(contest, standings(asked, votes=_without(votes), seed=seed)),
        }
        values |= {score: [asked[one][score].mean() for one in contest.names] for score in SCORES}
        beside = {one: contest.scores(one, others) for one in contest.names}
        values |= {score: [beside[one][score] for one in contest.names] for score in others}
        values["ImageNet accuracy"] = list(IMAGENET.values())
        for score, numbers in values.items():
            found.setdefault(score, []).append(numbers)
    return {score: np.array(draws, dtype=float) for score, draws in found.items()}


def _without(votes: Votes) -> Votes:
    return {vote: known for vote, known in votes.items() if vote != "imagenet"}


def ranks(contest: Networks, found: Sequence[Standing]) -> list[float]:
    """Minus the mean rank of each contestant, in their order: higher is better."""
    ranks = {one.name: -one.rank for one in found}
    return [ranks[one] for one in contest.names]


def _coverage(arguments: argparse.Namespace) -> None:
    truth = {(r["set"], r["seed"], r["backbone"]): r["probe"] for r in _truth(arguments)}
    print("| set | intervals | hold the test accuracy | mean width | mean predicted | mean reached |")
    print("|---|---|---|---|---|---|")
    held, n = 0, 0
    for name in LABELS:
        cells = []
        for seed in sorted({key[1] for key in truth if key[0] == name}):
            samples = draw(name, seed, arguments.data, arguments.work).samples
            contest = contest_of(samples.take(samples.split == "train"), arguments, seed)
            for one in contest.names:
                if (name, seed, one.rpartition("/")[2]) in truth:
                    outcomes = contest.ask(one, np.arange(len(contest.samples)))
                    standing = standings({one: outcomes})[0]
                    cells.append((predicted(standing, len(contest.samples)), truth[name, seed, _short(one)]))
        if cells:
            inside = sum(e.low <= reached <= e.high for e, reached in cells)
            width, said, reached = np.mean([(e.high - e.low, e.value, r) for e, r in cells], axis=0)
            print(f"| {name} | {len(cells)} | {inside} | {width:.3f} | {said:.3f} | {reached:.3f} |")
            held, n = held + inside, n + len(cells)
    print(f"\n{held} of {n} intervals hold the accuracy that the probe reached on the test part.")


def _halving(arguments: argparse.Namespace) -> None:
    """On all labelled samples that the command would look at."""
    print("| set | draw | top of all | of the race | points behind | share of the cost | rounds run |")
    print("|---|---|---|---|---|---|---|")
    same, shares, lost = [], [], []
    for name in arguments.sets or LABELS:
        samples = whole(name, arguments.data, arguments.work)
        samples = samples.take(samples.split != "test")
        for seed in range(arguments.seeds):
            contest = contest_of(few(samples, seed), arguments, seed)
            pace = {one: _pace(one, contest.samples) for one in contest.names}
            shared = rounds(contest.samples.y, seed)
            full, raced = (
                race(contest.names, some, contest.ask, votes=contest.votes, seed=seed) for some in (shared[-1:], shared)
            )
            cost = sum(pace[p.standing.name] * p.samples for p in raced)
            shares.append(cost / sum(pace[p.standing.name] * p.samples for p in full))
            first, found = (places[0].standing.name for places in (full, raced))
            mean = {p.standing.name: np.mean([100 * e.value for e in p.standing.scores.values()]) for p in full}
            same.append(first == found)
            lost.append(mean[first] - mean[found])
            print(
                f"| {name} | {seed} | {_short(first)} | {_short(found)} | {lost[-1]:.2f} | {shares[-1]:.2f} "
                f"| {sorted({p.samples for p in raced})} |",
                flush=True,
            )
    cost = f"{np.mean(shares):.2f} of the cost (worst {max(shares):.2f})"
    print(f"\nSame top pick in {sum(same)} of {len(same)}, at {cost}; {np.mean(lost):.2f} points behind on average.")


def _chances(arguments: argparse.Namespace) -> None:
    """Log loss and Brier score of the chances, and how often the likeliest was the best; mean over sets and draws."""
    truth = _truth(arguments)
    found: dict[str, list] = {"every network alike": [], "samples alone": [], "with the ImageNet table": []}
    for name in dict.fromkeys(row["set"] for row in truth):
        own = [row for row in truth if row["set"] == name]
        wanted = [np.mean([_reached(row, arguments.against) for row in own if row["backbone"] == b]) for b in IMAGENET]
        best = np.arange(len(wanted)) == int(np.argmax(wanted))
        for seed in sorted({row["seed"] for row in own}):
            samples = draw(name, seed, arguments.data, arguments.work).samples
            contest = contest_of(samples.take(samples.split == "train"), arguments, seed)
            asked = {one: contest.ask(one, np.arange(len(contest.samples))) for one in contest.names}
            votes = contest.votes(contest.names)
            told = [
                {s.name: s.chance_best for s in standings(asked, votes=some, seed=seed)}
                for some in (_without(votes), votes)
            ]
            forecasts = [np.full(len(best), 1 / len(best))] + [np.array([t[n] for n in contest.names]) for t in told]
            for forecast, kept in zip(forecasts, found.values(), strict=True):
                loss = -np.log(max(forecast[best][0], 1e-3))
                kept.append((loss, ((forecast - best) ** 2).sum(), forecast.max(), best[forecast.argmax()]))
    print("| chances | log loss | Brier score | of the likeliest | the likeliest was the best |\n|---|---|---|---|---|")
    for title, kept in found.items():
        print(f"| {title} | {' | '.join(f'{value:.2f}' for value in np.mean(kept, axis=0))} |")


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _pace(name: str, samples: Samples, memory: dict = {}) -> float:  # noqa: B006 - one measurement a network
    """CPU seconds of one sample's features, on 32 of them in a store of their own."""
    if name not in memory:
        with tempfile.TemporaryDirectory() as folder:
            backbone = load(name)
            store = features.Store(Path(folder))
            features.extract(samples.take(np.arange(4)), backbone, engine="torch", store=store)
            start = time.process_time()
            features.extract(samples.take(np.arange(4, 36)), backbone, engine="torch", store=store)
            memory[name] = (time.process_time() - start) / 32
    return memory[name]


def contest_of(samples: Samples, arguments: argparse.Namespace, seed: int, engine: str = "torch") -> Networks:
    """The eight networks over these samples."""
    names = backbones(arguments.weights, arguments.work)
    known, _ = candidates("image", ",".join(names), Limits())
    known = {name: known[name] for name in names}  # in the order of `IMAGENET`
    return Networks(replace(samples, findings=()), known, engine=engine, seed=seed, progress=SILENT)


PARTS = {"taus": _taus, "cost": _cost, "coverage": _coverage, "halving": _halving, "chances": _chances}

if __name__ == "__main__":
    main()
