"""How long until `import torchgraft` and `graft --help` answer, beside `python -c pass`?

Prints the median wall-clock seconds of fresh processes, run in turn, and their ratio to `python -c pass`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import torchgraft'": [sys.executable, "-c", "import torchgraft"],
    "graft --help": [sys.executable, "-m", "torchgraft", "--help"],
    "graft fit --help": [sys.executable, "-m", "torchgraft", "fit", "--help"],
}


def main() -> None:
    """Run the commands in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="rounds; the first is a warm-up and not counted")
    rounds = parser.parse_args().runs
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(rounds + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    base = statistics.median(seconds["python -c pass"])
    print("| command | median s | ratio |\n|---|---|---|")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"| `{name}` | {median:.2f} | {median / base:.1f} |")
    loads = subprocess.run(
        [sys.executable, "-c", "import sys, torchgraft; print('torch' in sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    print(f"\n`import torchgraft` loads torch: {loads.stdout.strip()}")


if __name__ == "__main__":
    main()
