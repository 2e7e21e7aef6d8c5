"""Each example runs as it stands, in a short form."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.sh"))


@pytest.fixture(scope="module")
def bin(tmp_path_factory):
    """A folder with a command `mmkit` whose start takes no seconds."""
    folder = tmp_path_factory.mktemp("bin")
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    serve = [sys.executable, "-m", "tests.warm", str(folder / "socket")]
    with subprocess.Popen(serve, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "ready\n"
        warm.command(folder, folder / "socket")
        yield folder
        server.kill()


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda p: p.name)
def test_example_runs(script, bin, tmp_path):
    env = os.environ | {"PATH": f"{bin}:{os.environ['PATH']}", "STEPS": "3", "SCENES": "60", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", str(script)], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert (tmp_path / "runs/latest").exists()


def test_there_are_examples():
    assert len(EXAMPLES) >= 3
