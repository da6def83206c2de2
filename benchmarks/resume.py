"""Is a killed run that goes on the same run, to the bit? `kill -9` at random moments, then `graft fit --resume`.

Fits few texts (TREC) with the linear probe, LP-FT and gradual unfreezing in a process that is killed at a random moment
of what an uninterrupted run took, resumes it, and compares the bytes of `model.safetensors`. Each kill is that of a run
from nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
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
    parser.add_argument("--labels", type=int, default=4, help="a class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", default="linear_probe,lp_ft,gradual")
    arguments = parser.parse_args()
    draw, equal = random.Random(arguments.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        options = _draw(arguments.data / "trec", arguments.labels, 0, Path(folder))
        options += ["--method", arguments.method, "--rate", "3e-4", "--epochs", "2", "--budget", "1h"]
        start = time.monotonic()
        _wait(_start(options, Path(folder, "whole"), Path(folder, "cache-whole")))
        took = time.monotonic() - start
        expected = Path(folder, "whole", "model", "model.safetensors").read_bytes()
        print(f"An uninterrupted run takes {took:.0f} s.", flush=True)
        for number in range(arguments.kills):
            run, cache = Path(folder, f"run-{number}"), Path(folder, f"cache-{number}")
            where = None
            while where is None:  # a run that was done before its moment is begun anew
                shutil.rmtree(run, ignore_errors=True)
                shutil.rmtree(cache, ignore_errors=True)
                moment = draw.uniform(0.05, 1.0) * took
                where = _kill_after(_start(options, run, cache), moment, run)
            begun = (run / "run.toml").exists()
            _wait(_start(["--resume", str(run)] if begun else options, None if begun else run, cache))
            same = Path(run, "model", "model.safetensors").read_bytes() == expected
            equal += same
            said = "equal to the bit" if same else "NOT EQUAL"
            print(f"kill {number + 1}: after {moment:.1f} s, {where}; then {said}", flush=True)
            shutil.rmtree(run, ignore_errors=True)
    print(f"{arguments.kills} kills, {equal} finishes equal to the bit.")


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
