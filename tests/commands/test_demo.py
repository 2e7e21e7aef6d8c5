from __future__ import annotations

import json
import shutil
import signal

import pytest

from mmkit.cli.live import LiveView
from tests.conftest import Outcome, invoke_mmkit
from tests.views.test_report import Page

SCENES = 800


@pytest.fixture(scope="module", autouse=True)
def fewer_scenes():
    """A twelfth of the scenes; the test split keeps its 300."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmkit.workflows.demo.SCENES", SCENES)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A demo of five steps in ./demo; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    outcome = invoke_mmkit("demo", "--steps", 5, cwd=folder)
    assert outcome.code == 0, outcome.stderr
    return folder, outcome


@pytest.fixture
def copy(made, tmp_path):
    """A copy of that demo, to be changed."""
    shutil.copytree(made[0] / "demo", tmp_path / "demo", symlinks=True)
    return tmp_path


def demo(cwd, *args) -> Outcome:
    return invoke_mmkit("demo", "--steps", 5, *args, cwd=cwd)


def test_the_whole_path_and_nothing_outside_the_folder(made):
    folder, outcome = made
    assert outcome.stdout == "demo/report.html\n"
    assert [p.name for p in folder.iterdir()] == ["demo"]
    made_names = sorted(p.name for p in (folder / "demo").iterdir())
    assert made_names == ["data", "demo.json", "report.html", "runs"]
    assert (folder / "demo" / "runs" / "latest" / "model.safetensors").is_file()
    for text in ("about 1 min", "recall on 300 unseen combinations", "R@1", "chance", "0.003"):
        assert text in outcome.stderr


def test_the_report_is_whole_and_loads_nothing(made):
    page = Page((made[0] / "demo" / "report.html").read_text(encoding="utf-8"))
    assert all(value.startswith("data:image/") for value in page.loads)
    assert "A map of what it learned" in page.titles
    record = json.loads((made[0] / "demo" / "demo.json").read_text())["record"]
    assert record["n"] == {"image": 300, "text": 300}
    assert f"{record['metrics']['image_retrieval_recall@1']:.3f}" in page.text
    assert "--model demo/runs/latest --in demo/data" in page.text


def test_the_folders_are_what_the_other_commands_take(made):
    folder = made[0]
    assert invoke_mmkit("prep", "shapes", "demo/data", "--limit", SCENES, cwd=folder).code == 0
    outcome = invoke_mmkit("eval", "recall@1", "--data", "demo/data", "--model", "demo/runs/latest", cwd=folder)
    assert outcome.lines[0]["split"] == "test"


def test_what_is_finished_is_reused(copy):
    report = copy / "demo" / "report.html"
    before = report.stat().st_mtime_ns
    outcome = demo(copy)
    assert (outcome.code, outcome.stdout) == (0, "demo/report.html\n")
    assert "finished" in outcome.stderr
    assert report.stat().st_mtime_ns == before


def test_json_is_one_line_of_metrics(copy):
    outcome = demo(copy, "--json", "--quiet")
    (record,) = outcome.lines
    assert set(record["metrics"]) == set(record["chance"])
    assert record["report"] == "demo/report.html"
    assert record["seconds"]["train"] > 0
    assert outcome.stderr == ""


def test_a_report_that_is_missing_is_drawn_from_what_is_there(copy):
    weights = (copy / "demo" / "runs" / "latest" / "model.safetensors").stat().st_mtime_ns
    (copy / "demo" / "report.html").unlink()
    assert demo(copy).code == 0
    assert (copy / "demo" / "report.html").is_file()
    assert (copy / "demo" / "runs" / "latest" / "model.safetensors").stat().st_mtime_ns == weights


def test_other_options_are_refused_and_force_moves_aside(copy):
    outcome = invoke_mmkit("demo", cwd=copy)
    assert outcome.code == 1
    assert "error: the demo here was made with steps 5, seed 0, not steps " in outcome.stderr
    assert "hint: --force moves it aside" in outcome.stderr
    # --force on a folder that holds where one is would pull the ground away
    outcome = invoke_mmkit("demo", copy, "--force", cwd=copy)
    assert outcome.code == 1
    assert (copy / "demo" / "report.html").is_file()


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    outcome = invoke_mmkit("demo", ".", cwd=tmp_path)
    assert outcome.code == 1
    assert "not empty and holds no demo" in outcome.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupted_demo_goes_on(copy, monkeypatch):
    """Ctrl-C in training is exit code 130 with everything saved; the same command then finishes."""
    shutil.rmtree(copy / "demo" / "runs")
    state = copy / "demo" / "demo.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"record": None}))
    with monkeypatch.context() as patch:
        patch.setattr(LiveView, "row", lambda self, row: signal.raise_signal(signal.SIGINT) if row["step"] == 1 else None)
        outcome = demo(copy)
    assert (outcome.code, outcome.stdout) == (130, "")
    assert "the same command goes on" in outcome.stderr
    outcome = demo(copy)
    assert outcome.code == 0, outcome.stderr
    assert "resuming" in outcome.stderr
    assert len(list((copy / "demo" / "runs").glob("clip-*"))) == 1
