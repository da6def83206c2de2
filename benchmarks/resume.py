"""Is a killed run that goes on the same run, to the bit? `kill -9` at random moments, then `graft fit --resume`.

Fits few texts (TREC) with LP-FT in a process that is killed at a random moment of what an uninterrupted run took,
resumes until it ends (killed again now and then), and compares the bytes of `model.safetensors`.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from finetune import _draw  # the same draws


def main() -> None:
    """Print one line for each kill and, last, how many finishes were equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--labels", type=int, default=8, help="a class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", default="linear_probe,lp_ft,gradual")
    arguments = parser.parse_args()
    draw, equal, kills = random.Random(arguments.seed), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        options = _draw(arguments.data / "trec", arguments.labels, 0, Path(folder))
        options += ["--method", arguments.method, "--rate", "3e-4", "--epochs", "2", "--budget", "1h"]
        start = time.monotonic()
        _wait(_start(options, Path(folder, "whole"), Path(folder, "cache-whole")))
        took = time.monotonic() - start
        expected = Path(folder, "whole", "model", "model.safetensors").read_bytes()
        print(f"An uninterrupted run takes {took:.0f} s.", flush=True)
        runs = 0
        while kills < arguments.kills:
            run, cache = Path(folder, f"run-{runs}"), Path(folder, f"cache-{runs}")
            process = _start(options, run, cache)
            runs += 1
            while kills < arguments.kills:
                moment = draw.uniform(0.1, 1.0) * took
                where = _kill_after(process, moment, run)
                if where is None:
                    break  # it was done before
                kills += 1
                print(f"kill {kills}: after {moment:.1f} s, {where}", flush=True)
                process = (
                    _start(["--resume", str(run)], None, cache)
                    if (run / "run.toml").exists()
                    else _start(options, run, cache)
                )
            _wait(process)
            same = Path(run, "model", "model.safetensors").read_bytes() == expected
            equal += same
            print(f"run {runs}: {'equal to the bit' if same else 'NOT EQUAL'}", flush=True)
    print(f"{kills} kills in {runs} runs; {equal} of {runs} finishes equal to the bit.")


def _start(options: list[str], out: Path | None, cache: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "torchgraft", "fit", *options, "--quiet"] + (["--out", str(out)] if out else [])
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "TORCHGRAFT_CACHE": str(cache)})


def _kill_after(process: subprocess.Popen, seconds: float, run: Path) -> str | None:
    """Kill it, and say how far it was; None where it ended by itself."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        files = sorted(path.name for path in (run / "work").glob("*")) if (run / "work").is_dir() else []
        return f"{len(files)} files in work: {', '.join(files[-2:]) or 'none'}"
    if process.returncode:
        raise SystemExit(f"it ended with {process.returncode}")
    return None


def _wait(process: subprocess.Popen) -> None:
    if process.wait():
        raise SystemExit(f"it ended with {process.returncode}")


if __name__ == "__main__":
    main()
