"""One answer for several processes, and none of torch where there is only one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from torchgraft.core import ranks

_CODE = """
import os, sys, time
from torchgraft.core import ranks
rank = int(os.environ["RANK"])
answer = ranks.agree({"rank": rank, "word": "größe"})
path = sys.argv[1]
with ranks.first_goes_first():
    if rank == 0:
        time.sleep(0.5)
        open(path, "w").write("stored")
    seen = open(path).read()
print(rank, ranks.world(), ranks.is_first(), answer, seen, flush=True)
"""


def test_alone_it_is_the_first_and_asks_nobody() -> None:
    code = (
        "import sys; from torchgraft.core import ranks;"
        "print(ranks.world(), ranks.is_first(), ranks.agree([1, 'a']), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=2) == ["1", "True", "[1, 'a'] False\n"]
    with ranks.first_goes_first():
        pass


def test_two_processes_get_the_first_one_s_answer_and_what_it_stored(tmp_path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {
        **os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", _CODE, str(tmp_path / "file")]
    both = [
        subprocess.Popen(
            command, env={**environment, "RANK": str(i), "LOCAL_RANK": str(i)}, stdout=subprocess.PIPE, text=True
        )
        for i in (0, 1)
    ]
    lines = [process.communicate(timeout=120)[0].strip() for process in both]
    answer = "{'rank': 0, 'word': 'größe'} stored"
    assert lines == [f"0 2 True {answer}", f"1 2 False {answer}"]
