"""`--help` comes at once: its time against that of importing the command line's library alone, in one run.

Run it on an idle machine: python -m pytest tests/benchmarks/test_help.py -s
"""

import subprocess
import sys
import time

import pytest

ROUNDS = 7
BARE = "import typer"


def seconds(code, *args):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *args], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


@pytest.mark.parametrize("typed", ["--help", "train --help", "prep --help", "prep coco --help", "eval --help", "umap --help"])
def test_help_takes_a_few_times_its_library(typed):
    code = "from mmkit.__main__ import main; main()"
    ratio = min(seconds(code, *typed.split()) for _ in range(ROUNDS)) / min(seconds(BARE) for _ in range(ROUNDS))
    print(f"{typed}: {ratio:.2f} of `{BARE}`")
    assert ratio <= 4
