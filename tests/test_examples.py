"""Each example runs as it stands, in a short form."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.sh"))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda p: p.name)
def test_example_runs(script, tmp_path):
    python = Path(sys.executable).parent
    env = os.environ | {"PATH": f"{python}:{os.environ['PATH']}", "STEPS": "3", "SCENES": "60", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", str(script)], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert (tmp_path / "runs/latest").exists()


def test_there_are_examples():
    assert len(EXAMPLES) >= 3
