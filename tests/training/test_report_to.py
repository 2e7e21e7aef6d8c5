"""Experiment trackers: what they are told of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mmkit.training.report_to import wandb


def test_a_resumed_run_keeps_its_wandb_id_and_no_other_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun: list[dict[str, Any]] = []

    def init(**settings: Any) -> Any:
        begun.append(settings)
        return SimpleNamespace(log=lambda row, step: None)

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    folders = [tmp_path / place / "runs" / "clip-data-1" for place in ("a", "b")]
    for folder in folders:
        folder.mkdir(parents=True)
    for folder in (folders[0], folders[1], folders[0]):
        wandb(folder)
    first, other, resumed = begun
    assert first["id"] != other["id"] and first["id"] == resumed["id"]
    assert first["name"] == other["name"] == "clip-data-1"
    folders[0].rename(tmp_path / "old")  # --force moves a run aside; a new one of its name is another
    folders[0].mkdir()
    wandb(folders[0])
    assert begun[-1]["id"] not in (first["id"], other["id"])
