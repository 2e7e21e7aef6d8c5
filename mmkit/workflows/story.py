"""What the demo's report says beside that of any run: how it came about, and how to go on with one's own data."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

from mmkit.data.shards import Dataset, open_dataset
from mmkit.talk import Talk
from mmkit.views.report import Report
from mmkit.workflows.report import Asked, gather


def tell(folder: Path, trained: Path, seconds: dict[str, float], steps: int, device: str, talk: Talk) -> Report:
    """Gather the report of the demo in `folder`.

    Args:
        trained: the run; seconds: of each part so far.
    """
    data = open_dataset(folder / "data")
    report = gather(Asked(str(trained), folder / "data", "test", device=device), talk)
    record = report.records[0]
    images = record["n"]["image"]
    return replace(
        report,
        title="A model that finds pictures by sentence",
        kicker="mmkit demo",
        lead=(
            f"Trained from nothing on this machine in {_clock(seconds.get('train', 0))}, then asked to find its way among "
            f"{images} scenes whose combinations of colour, shape and place it had never seen."
        ),
        stats=[*report.stats, (_clock(seconds.get("train", 0)), "of training", f"{steps} steps on {platform.machine()}")],
        steps=[
            (f"Drew {sum(data.splits.values()):,} scenes with captions: mmkit prep shapes", _clock(seconds.get("data", 0))),
            (f"Trained an image and a text encoder for {steps} steps: mmkit train", _clock(seconds.get("train", 0))),
            (f"Measured recall on {images} unseen combinations: mmkit eval recall@k", ""),
        ],
        data_note=_data_note(data),
        curve_note=(
            f"It stays below the figure on the {images} test scenes: several val scenes show the same combination or share "
            "a caption, and only one of them counts as right."
        ),
        commands=_commands(folder, report),
    )


def _data_note(data: Dataset) -> str:
    counts = data.manifest.get("source", {}).get("combinations", {})
    total = f"the {sum(counts.values()):,}" if counts else "all"
    return (
        "Scenes of 48 × 48 pixels with one or two objects out of 8 colours, 4 shapes, 2 sizes and 9 places, and a sentence that "
        f"says what is to be seen. A fifth of {total} combinations was held out of training, and the test split shows only "
        "those. What was learned by heart would find nothing there: colour, shape and place have to be understood apart."
    )


def _commands(folder: Path, report: Report) -> list[tuple[str, str]]:
    run, data = folder / "runs" / "latest", folder / "data"
    sentence = next((tile.text for tile in report.samples if tile.text), "a red circle")
    return [
        (f'mmkit retrieve "{sentence}" --model {run} --in {data} --split test --figure found.png', "search the scenes yourself"),
        (f"mmkit umap {data} --split test --model {run} -o map.html", "walk about on the map"),
        (f"mmkit attn-viz --data {data} --id test-000000 --model {run} -o seen.html", "see which patches a word goes to"),
        ("mmkit prep folder ./data --source ~/photos", "photos, each beside a .txt of the same name with its captions"),
        ("mmkit prep table ./data --source captions.csv", "or a table with a column of image paths and one of captions"),
        ("mmkit train", "everything automatic; an estimate is printed before the first step"),
        ("mmkit report runs/latest -o report.html", "a page like this one, of your model"),
        ('mmkit retrieve "a dog on a beach" --figure found.html', "search your pictures"),
    ]


def _clock(seconds: float) -> str:
    return f"{seconds:.{int(seconds < 10)}f} s" if seconds < 100 else f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
