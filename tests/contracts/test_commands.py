"""Every recipe x every command that takes a model: it gives its product, or says in one line what the model is not for."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmkit.data.shards import open_dataset
from mmkit.explain.asked import can_be_looked_at, words_of
from mmkit.explain.support import has_target
from mmkit.loading import load_model
from mmkit.losses.matching import Matching
from mmkit.metrics.evaluation import metrics_of
from mmkit.model import Model
from mmkit.talk import Talk
from mmkit.views import page, style
from mmkit.views import report as views
from mmkit.workflows import fit
from tests.conftest import Outcome
from tests.core import RECIPES, smallest, whole_dataset


@pytest.fixture(scope="module")
def place(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    whole_dataset(run / "data", folder / "data")
    Image.new("RGB", (24, 20), (200, 40, 40)).save(folder / "red.png")
    return folder


@pytest.fixture(scope="module")
def trained(place: Path) -> Callable[[str], Path]:
    """The run of a recipe, made once."""

    @functools.cache
    def made(recipe: str) -> Path:
        config = smallest(recipe, place / "data", {"train": {"steps": 2}})
        return fit.start(config, place / "runs", recipe, False, "cpu", Talk())

    return made


@pytest.fixture(scope="module")
def loaded(trained: Callable[[str], Path]) -> Callable[[str], Model]:
    """The model of that run, loaded once."""
    return functools.cache(lambda recipe: load_model(str(trained(recipe)), "cpu"))


@pytest.fixture(autouse=True)
def for_light_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chart of a report is drawn once, and not again in the colours for dark."""

    def chart(draw: Callable[[style.Theme], Any]) -> page.Chart:
        return page.Chart(*[page.data_uri(style.encode(draw(style.LIGHT), ".svg"), "svg+xml")] * 2)

    monkeypatch.setattr(views, "chart", chart)


def compares(model: Model) -> bool:
    return len(model.embedded) > 1


def sees(model: Model) -> bool:
    return any(one.modality == "image" for one in model.inputs.values())


def asking(model: Model) -> list[str]:
    """A text, of a model that reads texts."""
    return ["a red circle"] if sees(model) and words_of(model, can_be_looked_at(model)[0]) else []


def decides(model: Model) -> bool:
    """Something is decided by several inputs: a target, or what belongs together, by their similarity or a head."""
    told = any(has_target(loss) or isinstance(loss, Matching) for loss in model.loss.values())
    return len(model.inputs) > 1 and (model.pairing is not None or told)


# command -> its arguments, and of which models there is a product
COMMANDS: dict[str, tuple[Callable[[Model], list[str]], Callable[[Model], bool]]] = {
    "eval": (lambda model: [*(metrics_of(model) or ["loss"]), "--split", "test"], lambda model: True),
    "eval linear-probe": (lambda model: ["--split", "test"], lambda model: True),
    "eval cost": (lambda model: ["--split", "test", "--limit", "4"], lambda model: True),
    "embed": (lambda model: ["--split", "test"], compares),
    "retrieve": (lambda model: ["a red circle", "--split", "test"], lambda model: compares(model) and "text" in model.embedded),
    "predict": (
        lambda model: ["red.png", *([] if "classify" in metrics_of(model) else ["a red circle", "a blue cross"])],
        lambda model: sees(model) and (compares(model) or bool({"classify", "match", "regress"} & set(metrics_of(model)))),
    ),
    "answer": (lambda model: ["red.png", "what colour is the circle?"], lambda model: "vqa" in metrics_of(model)),
    "caption": (lambda model: ["red.png"], lambda model: "caption" in metrics_of(model)),
    "attn-viz": (lambda model: ["red.png", *asking(model), "-o", "maps.npz", "--force"], sees),
    "contribution": (lambda model: ["--split", "test", "--limit", "8"], decides),
    "report": (lambda model: ["-o", "page.html", "--force"], lambda model: True),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_command_on_every_recipe(
    recipe: str,
    command: str,
    place: Path,
    trained: Callable[[str], Path],
    loaded: Callable[[str], Model],
    invoke: Callable[..., Outcome],
) -> None:
    run, model = trained(recipe), loaded(recipe)
    args, can = COMMANDS[command]
    words = command.split()
    given = [run] if command == "report" else ["--model", run]
    data = [] if command in ("predict", "answer", "caption", "attn-viz", "report") else ["data"]
    data = ["--data", "data"] if words[0] in ("eval", "contribution") else ["--in", "data"] if command == "retrieve" else data
    found = invoke(*words, *args(model), *data, *given, cwd=place)
    if can(model):
        assert found.code == 0, found.stderr
        assert found.stdout.strip() or command in ("attn-viz", "report")
        assert "error" not in found.stderr
    else:
        assert found.code in (1, 2) and not found.stdout
        assert found.stderr.startswith("error: ") and len(found.stderr.strip().splitlines()) <= 2


@pytest.mark.parametrize(("name", "file"), [("audio", "one.wav"), ("series", "one.npy"), ("video", "one.mp4")])
def test_a_file_of_every_modality(
    name: str, file: str, place: Path, trained: Callable[[str], Path], invoke: Callable[..., Outcome]
) -> None:
    row = next(open_dataset(place / "data").rows("test", [name]))[name]
    if name == "series":
        np.save(place / file, np.array(row))
    else:
        (place / file).write_bytes(row["bytes"])
    model = ("--model", trained("nmodal"))
    for out in ("one.npz", "one.html", "one.png"):
        found = invoke("attn-viz", file, "a red circle", *model, "-o", out, "--force", cwd=place)
        assert found.code == 0, found.stderr
    with np.load(place / "one.npz") as maps:
        assert np.isfinite(maps[name]).all() and maps[name].any() and maps[f"{name}_layers"].ndim == 4
    page = (place / "one.html").read_text()
    assert ("<audio controls" in page) == (name == "audio")
    (seen,) = invoke("attn-viz", file, "a red circle", *model, "--faithfulness", "--json", cwd=place).lines
    assert seen[name] == file and len(seen["peak"]) == (3 if name == "video" else 2) and seen["faithfulness"]
    said = invoke("predict", file, "a red circle", "a blue cross", *model, "--json", cwd=place).lines
    assert [line[name] for line in said] == [file, file]
    (told,) = invoke("retrieve", file, *model, "--in", "data", "--find", "text", "--top", 1, "--json", cwd=place).lines
    assert told["text"]
    drawn = invoke(
        "retrieve", "a red circle", *model, "--in", "data", "--find", name, "--top", 1, "--figure", "f.png", "--force", cwd=place
    )
    assert drawn.code == 0 and drawn.lines[0]["modality"] == name, drawn.stderr
    with Image.open(place / "f.png") as sheet:
        (x, y), side = (sheet.width - 14 - 168, 14), 168
        assert len(sheet.convert("RGB").crop((x, y, x + side, y + side)).getcolors(1 << 20) or []) > 20, "a picture, no id"


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_ablated(
    recipe: str, place: Path, trained: Callable[[str], Path], invoke: Callable[..., Outcome], tmp_path: Path
) -> None:
    vary = ["--vary", "train.lr=1e-3,1e-4", "--steps", 2]
    found = invoke("ablate", place / "data", "--from", trained(recipe), *vary, "-o", tmp_path / "grid", "--json", cwd=place)
    assert found.code == 0, found.stderr
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(rows) == 2 and all(row["error"] is None and row["metrics"] for row in rows)


def test_the_table_knows_all_commands_that_take_a_model() -> None:
    from mmkit.cli.app import COMMANDS as ALL

    others = {"demo", "prep", "train", "recipes", "compare", "ablate", "umap", "env", "generate"}
    assert set(ALL) - others <= {name.split()[0] for name in COMMANDS}
