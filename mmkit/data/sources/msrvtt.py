"""MSR-VTT: clips with about twenty sentences each, from the official JSON with `videos` and `sentences`.

train_val_videodatainfo.json, test_videodatainfo.json or MSRVTT_data.json, as released, and the clips (video0.mp4 …) in any
folder below --source or --video-root. Splits are those that the JSON says (train, validate, test); --split-csv names the clips
of the test split instead (MSRVTT_JSFUSION_test.csv, the 1,000 pairs of 1k-A, each with its own sentence): all others train.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from mmkit.data.cells import text_of
from mmkit.data.modalities import text, video
from mmkit.data.schema import Ask, Picture, Reject, Row, Source
from mmkit.data.walk import walk
from mmkit.errors import UserError
from mmkit.files import read_json

EXAMPLES = (
    "mmkit prep msrvtt ./data --source ~/MSRVTT",
    "mmkit prep msrvtt ./data --source ~/MSRVTT --split-csv ~/MSRVTT/MSRVTT_JSFUSION_test.csv",
    "mmkit prep msrvtt ./data --source ~/msrvtt_data --video-root ~/MSRVTT_Videos --link",
)
LICENSE = "that of MSR-VTT (Microsoft, for research); the clips belong to those who put them on YouTube"
LAYOUT = "a JSON with `videos` and `sentences`, such as MSRVTT_data.json or train_val_videodatainfo.json"
DEPTH = 3


def read(
    ask: Ask,
    *,
    video_root: Annotated[
        Path | None, Option("--video-root", metavar="FOLDER", help="Where the clips are.", show_default="below --source")
    ] = None,
    split_csv: Annotated[
        Path | None,
        Option("--split-csv", metavar="FILE", help="Names the clips of test (1k-A).", show_default="the splits in the JSON"),
    ] = None,
) -> Source:
    """The clips with their sentences, in the order of their names.

    Raises:
        UserError: there is no such JSON, no clip, or the CSV names no clips.
    """
    root = ask.folder
    files = _files(root)
    clips = _clips(video_root or (root if root.is_dir() else root.parent))
    if not clips:
        raise UserError("no clips found", str(video_root or root), "--video-root FOLDER   names where they are")
    sentences: dict[str, list[str]] = defaultdict(list)
    splits: dict[str, str] = {}
    where: dict[str, Path] = {}
    for path, content in files.items():
        for one in content["videos"]:
            splits[one["video_id"]], where[one["video_id"]] = text_of(one.get("split")), path
        for one in content["sentences"]:
            sentences[one["video_id"]].append(text_of(one.get("caption")))
            where.setdefault(one["video_id"], path)
    test = _test(split_csv) if split_csv else {}
    rows = []
    for name in sorted(where, key=lambda name: (len(name), name)):
        said, split = sentences.get(name, []), splits.get(name)
        if split_csv:
            said, split = test.get(name) or said, "test" if name in test else "train"
        rows.append(_row(name, said, split or None, clips, where[name]))
    note = f"{len(rows):,} clips with {sum(map(len, sentences.values())):,} sentences, in {', '.join(p.name for p in files)}"
    note += f"; test: the {len(test):,} clips that {split_csv.name} names" if split_csv else ""
    return Source(rows, "." if ask.source is None else str(root), LICENSE, note)


def _row(name: str, said: list[str], split: str | None, clips: dict[str, Path], path: Path) -> Row | Reject:
    where = f"{path} {name}"
    if name not in clips:
        return Reject(name, where, "missing file: no clip of that name")
    try:
        return Row(name, {video.COLUMN: Picture.file(clips[name]), text.COLUMN: said}, where, split)
    except OSError as e:
        return Reject(name, where, f"cannot read the file ({e.strerror})")


def _files(root: Path) -> dict[Path, Any]:
    """The official files, by name; one that holds all clips alone, where it lies beside the halves."""
    if root.is_file():
        paths = [root]
    elif root.is_dir():
        paths = sorted(root / folder / name for folder, names in walk(root, DEPTH) for name in names if name.endswith(".json"))
    else:
        raise UserError("no such folder", str(root), f"--source holds {LAYOUT}")
    found = {path: content for path in paths if _is_official(content := read_json(path))}
    if not found:
        raise UserError("no MSR-VTT found", str(root), f"looked for {LAYOUT}")
    most = max(found, key=lambda path: len(found[path]["videos"]))
    ids = {path: {one["video_id"] for one in content["videos"]} for path, content in found.items()}
    whole = all(names <= ids[most] for names in ids.values())
    return {most: found[most]} if whole else found


def _is_official(content: Any) -> bool:
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in ("videos", "sentences")):
        return False
    named = [one for key in ("videos", "sentences") for one in content[key]]
    return bool(named) and all(isinstance(one, dict) and isinstance(one.get("video_id"), str) for one in named)


def _clips(root: Path) -> dict[str, Path]:
    """Name without suffix -> clip, in any folder."""
    found: dict[str, Path] = {}
    for folder, names in walk(root):
        for name in sorted(names):
            if Path(name).suffix.lower() in video.SUFFIXES:
                found.setdefault(Path(name).stem, root / folder / name)
    return found


def _test(path: Path) -> dict[str, list[str]]:
    """Clip -> its sentence, of a CSV with the columns video_id and, perhaps, sentence; of a list, the names alone.

    Raises:
        UserError: there is no such file, or no clip in it.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as f:
            rows = list(csv.reader(f))
    except OSError as e:
        raise UserError(f"cannot read the file ({e.strerror})", str(path)) from e
    header = rows[0] if rows else []
    if "video_id" in header:
        at, said = header.index("video_id"), header.index("sentence") if "sentence" in header else None
        rows = rows[1:]
    else:
        at, said = 0, None
    found = {row[at].strip(): [row[said]] if said is not None and len(row) > said else [] for row in rows if len(row) > at}
    found.pop("", None)
    if not found:
        raise UserError("the file names no clips", str(path), "a column video_id, as in MSRVTT_JSFUSION_test.csv")
    return found
