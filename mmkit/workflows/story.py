"""What the demo's report says: facts and examples gathered from its dataset, its run and its vectors."""

from __future__ import annotations

import platform
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmkit import __version__
from mmkit.config import Config
from mmkit.data import pictures
from mmkit.data.images import load_rgb
from mmkit.data.shards import Dataset, open_dataset
from mmkit.loading import run_config
from mmkit.metrics.ranking import rank
from mmkit.training.doctor import read_rows
from mmkit.training.loop import LOG
from mmkit.vectors import Embeddings, read_embeddings
from mmkit.views.projection import flat, modality_gap
from mmkit.views.report import Report, SpaceMap
from mmkit.views.sheet import Strip, Tile, verdicts

ANSWERS = 6
RIGHT, WRONG, REVERSE, SAMPLES = 4, 4, 3, 8


def tell(folder: Path, trained: Path, record: dict[str, Any], vectors: Path, seconds: dict[str, float], steps: int) -> Report:
    """Gather the report of the demo in `folder`.

    Args:
        trained: the run; vectors: the embeddings of its test split; seconds: of each part so far.
    """
    data, found = open_dataset(folder / "data"), read_embeddings(vectors)
    config = run_config(trained)
    right, wrong, reverse = examples(found, data)
    metrics, chance = record["metrics"], record["chance"]
    images = record["n"]["image"]
    blind = f"chance {chance['image_retrieval_recall@1']:.3f}"
    return Report(
        title="A model that finds pictures by sentence",
        kicker="mmkit demo",
        lead=(
            f"Trained from nothing on this machine in {_clock(seconds.get('train', 0))}, then asked to find its way among "
            f"{images} scenes whose combinations of colour, shape and place it had never seen."
        ),
        stats=[
            (f"{metrics['image_retrieval_recall@1']:.1%}", "sentence finds its picture first", blind),
            (f"{metrics['text_retrieval_recall@1']:.1%}", "picture finds its sentence first", blind),
            (f"{record['cost']['parameters']:,}", "parameters", f"{config.recipe}, size {config.size}"),
            (_clock(seconds.get("train", 0)), "of training", f"{steps} steps on {platform.machine()}"),
        ],
        steps=[
            (f"Drew {sum(data.splits.values()):,} scenes with captions: mmkit prep shapes", _clock(seconds.get("data", 0))),
            (f"Trained an image and a text encoder for {steps} steps: mmkit train", _clock(seconds.get("train", 0))),
            (f"Measured recall on {images} unseen combinations: mmkit eval recall@k", _clock(seconds.get("measure", 0))),
        ],
        splits=data.splits,
        data_note=_data_note(data),
        samples=_samples(data),
        model=_facts(config, record),
        rows=read_rows(trained / LOG),
        batch_size=config.train.batch_size,
        curve_note=(
            f"It stays below the figure on the {images} test scenes: several val scenes show the same combination or share "
            "a caption, and only one of them counts as right."
        ),
        record=record,
        right=right,
        wrong=wrong,
        reverse=reverse,
        map=_map(found),
        commands=_commands(folder, found),
        footer=f"mmkit {__version__} · {platform.system()} {platform.machine()} · this page is one file and loads nothing",
    )


def examples(found: Embeddings, data: Dataset) -> tuple[list[Strip], list[Strip], list[Strip]]:
    """Sentences that found their picture at once, sentences that were furthest from it, and pictures that look for sentences."""
    images, texts = found.rows("image"), found.rows("text")
    image_vectors, text_vectors = found.vectors[images], found.vectors[texts]
    numbers = np.unique(found.ids, return_inverse=True)[1]
    ranks = rank(text_vectors, numbers[texts], image_vectors, numbers[images])
    scores = text_vectors @ image_vectors.T
    # spread over the captions, long and short, instead of the first ones
    at_once = _spread(np.flatnonzero(ranks == 1), RIGHT)
    missed = [q for q in np.argsort(-ranks, kind="stable")[:WRONG] if ranks[q] > 1]
    best = {q: np.argsort(-scores[q], kind="stable")[:ANSWERS] for q in (*at_once, *missed)}
    asked = images[_spread(np.arange(len(images)), REVERSE)]
    seen = (
        {found.ids[images[i]] for order in best.values() for i in order}
        | set(found.ids[asked])
        | {found.ids[texts[q]] for q in missed}
    )
    shown = pictures.of_dataset(data, seen)

    def strip(q: int) -> Strip:
        return _strip(found, texts[q], images[best[q]], scores[q][best[q]], ranks[q], shown)

    return [strip(q) for q in at_once], [strip(q) for q in missed], [_reverse(found, row, texts, shown) for row in asked]


def _strip(
    found: Embeddings, query: int, rows: np.ndarray, scores: np.ndarray, place: float, shown: dict[str, Image.Image]
) -> Strip:
    """A sentence and its best pictures. What stands below the right one is neither right nor wrong."""
    own = found.ids[query]
    marks = verdicts([found.ids[row] == own for row in rows])
    tiles = [Tile("", shown[found.ids[row]], float(s), mark) for row, s, mark in zip(rows, scores, marks, strict=True)]
    if place == 1:
        return Strip(Tile(found.text[query]), tiles)
    note = f"its picture came at place {place:g}"
    if own not in found.ids[rows]:
        note += f", behind these {len(tiles)}"
    return Strip(Tile(found.text[query]), tiles, note)


def _reverse(found: Embeddings, row: int, texts: np.ndarray, shown: dict[str, Image.Image]) -> Strip:
    scores = found.vectors[texts] @ found.vectors[row]
    best = np.argsort(-scores, kind="stable")[: ANSWERS // 2]
    marks = verdicts([found.ids[texts[i]] == found.ids[row] for i in best])
    tiles = [Tile(found.text[texts[i]], None, float(scores[i]), mark) for i, mark in zip(best, marks, strict=True)]
    return Strip(Tile("", shown[found.ids[row]]), tiles)


def _spread(items: np.ndarray, count: int) -> np.ndarray:
    """`count` of the items, evenly spaced."""
    if not len(items):
        return items
    return items[np.unique(np.linspace(0, len(items) - 1, count + 2).round().astype(int)[1:-1])]


def _map(found: Embeddings) -> SpaceMap:
    points, method = flat(found.vectors)
    return SpaceMap(points, found.modality, found.ids, method, modality_gap(found.vectors, found.modality, found.ids))


def _data_note(data: Dataset) -> str:
    counts = data.manifest.get("source", {}).get("combinations", {})
    total = f"the {sum(counts.values()):,}" if counts else "all"
    return (
        "Scenes of 48 × 48 pixels with one or two objects out of 8 colours, 4 shapes, 2 sizes and 9 places, and a sentence that "
        f"says what is to be seen. A fifth of {total} combinations was held out of training, and the test split shows only "
        "those. What was learned by heart would find nothing there: colour, shape and place have to be understood apart."
    )


def _samples(data: Dataset) -> list[Tile]:
    column, captions = data.column("image"), data.column("text")
    rows = islice(data.rows("train", ["id", column, captions]), SAMPLES)
    return [Tile(row[captions][0], load_rgb(row[column]["bytes"] or row[column]["path"])) for row in rows]


def _facts(config: Config, record: dict[str, Any]) -> list[tuple[str, str]]:
    """The model in the words of its configuration."""
    train, rows = config.train, []
    for modality, table in config.encoder.items():
        rest = ", ".join(f"{key} {value}" for key, value in table.items() if key != "kind")
        rows.append((f"{modality} encoder", f"{table['kind']} ({rest})"))
    cost = record["cost"]
    timed = (("ms_per_image", "picture"), ("ms_per_text", "sentence"))
    speed = ", ".join(f"{cost[key]:.2g} ms a {name}" for key, name in timed if key in cost)
    image, text = config.data["image"], config.data["text"]
    return [
        *rows,
        ("shared space", f"{config.project.dim} dimensions"),
        ("input", f"pictures of {image.size} px, sentences of up to {text.context} tokens of {text.vocab_size:,}"),
        ("loss", ", ".join(table["kind"] for table in config.loss.values())),
        ("parameters", f"{cost['parameters']:,}"),
        (
            "training",
            f"{train.steps} steps of {train.batch_size} pairs, learning rate {train.lr:g}, {train.precision}, seed {train.seed}",
        ),
        ("weights", str(config.run.get("weights", ""))),
        *([("speed", speed)] if speed else []),
    ]


def _commands(folder: Path, found: Embeddings) -> list[tuple[str, str]]:
    run, data = folder / "runs" / "latest", folder / "data"
    sentence = next(text for text in found.text if text)
    return [
        (f'mmkit retrieve "{sentence}" --model {run} --in {data} --split test --figure found.png', "search the scenes yourself"),
        ("mmkit prep folder ./data --source ~/photos", "photos, each beside a .txt of the same name with its captions"),
        ("mmkit prep table ./data --source captions.csv", "or a table with a column of image paths and one of captions"),
        ("mmkit train", "everything automatic; an estimate is printed before the first step"),
        ("mmkit eval recall@k", "how well it finds, beside chance"),
        ('mmkit retrieve "a dog on a beach" --figure found.html', "search your pictures"),
    ]


def _clock(seconds: float) -> str:
    return f"{seconds:.{int(seconds < 10)}f} s" if seconds < 100 else f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
