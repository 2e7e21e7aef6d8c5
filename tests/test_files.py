"""Where the bytes go: over a file, through a link, into a pipe; and one writer a folder."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import tomllib

import numpy as np
import pytest

from mmkit.errors import UserError
from mmkit.files import check_beginning, lock, move_folder_aside, toml_text, write_text, writing
from mmkit.vectors_writer import EmbeddingsWriter


@pytest.fixture
def pipe(tmp_path):
    """A named pipe, and what a reader at its other end has received once it is closed."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    path, received = tmp_path / "pipe", []
    os.mkfifo(path)
    # a daemon, so that a writer that never comes leaves no test run hanging
    reader = threading.Thread(target=lambda: received.append(path.read_text()), daemon=True)
    reader.start()

    def text() -> str:
        reader.join(10)
        return "".join(received)

    return path, text


def test_a_pipe_is_written_into_and_stays(pipe):
    path, received = pipe
    write_text(path, "one line")
    assert received() == "one line"
    assert path.is_fifo()
    assert os.listdir(path.parent) == ["pipe"]


def test_a_result_goes_into_a_pipe(pipe, invoke, tmp_path):
    path, received = pipe
    with EmbeddingsWriter(tmp_path / "e.arrow", 2) as writer:
        for modality in ("image", "text"):
            writer.write(["a"], modality, np.ones((1, 2), np.float32))
    outcome = invoke("eval", "recall@k", "--embeddings", tmp_path / "e.arrow", "-o", path)
    assert outcome.code == 0, outcome.stderr
    assert '"task": "zeroshot_retrieval"' in received()
    assert path.is_fifo()


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    link, target = tmp_path / "link.json", tmp_path / "far" / "target.json"
    link.symlink_to(os.path.join("far", "target.json"))
    for text in ("dangling before", "there before"):
        write_text(link, text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert os.listdir(tmp_path / "far") == ["target.json"]


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="this is a folder, not a file"):
        write_text(tmp_path / "mine", "text")
    assert os.listdir(tmp_path) == ["mine"]


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with contextlib.suppress(RuntimeError), writing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_without_flock_there_is_no_file_that_could_stay_open(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with lock(tmp_path):
        assert os.listdir(tmp_path) == []


def test_one_writer_a_folder_and_nothing_is_left(tmp_path):
    pytest.importorskip("fcntl")
    with lock(tmp_path), pytest.raises(UserError, match="another mmkit is writing here"), lock(tmp_path):
        pass
    assert os.listdir(tmp_path) == []
    with lock(tmp_path):
        assert os.listdir(tmp_path) == [".lock"]


def test_a_lock_that_was_removed_while_it_was_opened_keeps_out_the_next(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    path, flock, opened = tmp_path / ".lock", fcntl.flock, []

    def removed_meanwhile(f, how):
        # the one who held it ends between our open and our flock
        if not opened:
            path.unlink()
        opened.append(f)
        flock(f, how)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    with lock(tmp_path):
        assert len(opened) == 2
        with pytest.raises(UserError, match="another mmkit is writing here"), lock(tmp_path):
            pass


def test_work_begins_in_a_new_folder_or_where_a_killed_one_had_begun(tmp_path):
    folder = tmp_path / "work"
    check_beginning(folder, "state.json", "work", "")
    folder.mkdir()
    for name in (".lock", ".state.json.x.partial"):
        (folder / name).touch()
    check_beginning(folder, "state.json", "work", "")
    (folder / "mine.txt").touch()
    for path in (folder, folder / "mine.txt"):
        with pytest.raises(UserError, match="holds no work"):
            check_beginning(path, "state.json", "work", "")


def test_the_folder_that_one_is_in_is_not_moved(tmp_path, monkeypatch):
    (tmp_path / "work/inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work/inner")
    for path in (tmp_path / "work", tmp_path / "work/inner"):
        with pytest.raises(UserError, match="the one you are in"):
            move_folder_aside(path, "")
    monkeypatch.chdir(tmp_path)
    assert move_folder_aside(tmp_path / "work", "") == tmp_path / "work.old-1"


def test_lists_of_numbers_stand_in_one_line():
    tables = {
        "mean": [1.0, -2.5e-07, 3.0],
        "grid": [[1, 2], [3]],
        "names": ["a", "[\n    1,\n]"],
        "none": [],
        "in": {"std": [0.5] * 64},
    }
    text = toml_text(tables)
    assert tomllib.loads(text) == tables
    assert "mean = [1.0, -2.5e-07, 3.0]\n" in text and len(text.splitlines()) < 25
