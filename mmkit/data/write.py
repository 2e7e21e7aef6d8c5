"""Rows to a dataset folder: Parquet shards in parallel, a journal that lets a killed run continue, dataset.json last."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fsspec

from mmkit.data import audit, card
from mmkit.data.modalities import MODALITIES, name_of, of_files
from mmkit.data.plan import Choices, Plan, Shard, failed, fingerprint, make_plan, nothing_left
from mmkit.data.schema import Ask, Reject, Source, arrow_schema
from mmkit.data.shard_file import sample, write_shard
from mmkit.data.shards import MANIFEST, Dataset
from mmkit.data.sources import reader
from mmkit.errors import UserError
from mmkit.files import DATASET_VERSION, free_bytes, lock, read_json, sha256, write_json, write_text

FORMAT = "mmkit-dataset"
JOURNAL = ".prep"
# where shards wait while a finished dataset is in their place
BESIDE = f"{JOURNAL}/new"
REJECTED = "rejected.jsonl"
_FORCE = "--force moves what mmkit wrote there aside and prepares again"


def prepare(kind: str, ask: Ask, choices: Choices, settings: dict[str, Any], force: bool = False) -> dict[str, Any]:
    """Make the dataset folder `ask.out`, continue what the same command left unfinished, or reuse what it finished.

    Args:
        settings: what was typed that changes the result; a folder made with others is refused.
        force: prepare again; what mmkit wrote there before is moved aside once the new shards are whole.

    Returns:
        The manifest, as written to dataset.json.

    Raises:
        UserError: the source cannot be read, no row is left, the folder is foreign or the disk is full.
    """
    out = ask.out
    fresh = not out.exists()
    try:
        with lock(out):
            finished = None if force else _finished(kind, ask, choices, settings)
            return finished or _make(kind, ask, choices, settings, force)
    finally:
        if fresh and out.is_dir() and not any(out.iterdir()):
            out.rmdir()


def _finished(kind: str, ask: Ask, choices: Choices, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of a finished dataset that the same command made, or None where there is nothing."""
    out, path = ask.out, ask.out / MANIFEST
    if not path.exists():
        return None
    manifest = _read_manifest(path)
    if manifest["version"] > DATASET_VERSION:
        raise UserError(
            f"written by a newer mmkit (format {manifest['version']}, this one writes {DATASET_VERSION})", str(path), _FORCE
        )
    made = manifest["source"]
    if (made["kind"], made["options"]) != (kind, settings):
        typed = " ".join(f"{k}={v}" for k, v in made["options"].items())
        raise UserError(
            f"holds the dataset of another command, `prep {' '.join([made['kind'], typed]).strip()}`", str(out), _FORCE
        )
    lost = [s["file"] for split in manifest["splits"].values() for s in split["shards"] if not (out / s["file"]).exists()]
    if lost:
        ask.say(f"{lost[0]} is missing: preparing again")
        return None
    if choices.fail and (n := manifest.get("rejected")):
        rejected = f"{n:,} rows were" if n > 1 else "1 row was"
        raise UserError(f"{rejected} rejected when the dataset was made", str(out / REJECTED), f"mend them; {_FORCE}")
    ask.download = False
    try:
        source = reader(kind)(ask, **ask.options)
    except UserError as e:
        ask.say(f"the source is not there any more ({e}); the dataset is whole and is reused")
    else:
        if fingerprint(source.rows, choices.link) != made["fingerprint"]:
            raise UserError("the source has changed since the dataset was made", str(out), _FORCE)
        ask.say(f"{out} is up to date: reused")
    shutil.rmtree(out / JOURNAL, ignore_errors=True)
    return manifest


def _read_manifest(path: Path) -> dict[str, Any]:
    manifest = read_json(path)
    ours = isinstance(manifest, dict) and manifest.get("format") == FORMAT
    if not ours or not {"version", "source", "splits"} <= manifest.keys():
        raise UserError("a dataset.json that mmkit did not write", str(path), "choose another folder")
    return manifest


def _make(kind: str, ask: Ask, choices: Choices, settings: dict[str, Any], force: bool) -> dict[str, Any]:
    out = ask.out
    beside = (out / MANIFEST).exists()
    if beside:
        _read_manifest(out / MANIFEST)
    source = reader(kind)(ask, **ask.options)
    if source.note:
        ask.say(source.note)
    plan = make_plan(source, choices, ask.say)
    _check_names(out, plan)
    work = out / BESIDE if beside else out
    command = {"kind": kind, "options": settings, "fingerprint": plan.fingerprint}
    aside = functools.partial(_set_aside, out, ask.say) if force else None
    _open_journal(work, command, plan, functools.partial(shutil.rmtree, work) if beside else aside)
    records = _write_shards(work, plan, choices, ask.progress("prepared"))
    rejects = plan.rejects + [Reject(**r) for record in records for r in record["rejected"]]
    if not any(record["rows"] for record in records):
        _drop_shards(work, plan.shards)
        shutil.rmtree(out / JOURNAL)
        raise nothing_left(rejects)
    if beside:
        _put_in_place(work, out, plan, ask.say)
    manifest = _manifest(kind, ask, choices, settings, source, plan)
    for held in dict.fromkeys(plan.columns.values()):
        modality: Any = MODALITIES.get(held)
        if modality in of_files():
            manifest[name_of(modality)] = _treatment(modality.TREATMENT, choices, plan, out)
    manifest["splits"] = _splits(out, plan, records, ask.say)
    manifest["rejected"] = len(rejects)
    manifest["merged"] = merged = sum(record["merged"] for record in records)
    if merged:
        what = next((row.told_by for shard in plan.shards for row in shard.rows if row.merged), "file")
        ask.say(f"{merged:,} rows were merged into samples that have the same {what}")
    _finish(out, manifest, rejects, ask, choices.workers)
    return manifest


def _check_names(out: Path, plan: Plan) -> None:
    ours = _written(out)
    for name in [*(shard.file for shard in plan.shards), REJECTED]:
        if name not in ours and (out / name).exists():
            raise UserError(
                "a file that mmkit did not write has the name of one it would", str(out / name), "choose another folder"
            )


def _open_journal(work: Path, command: dict[str, Any], plan: Plan, make_room: Callable[[], None] | None) -> None:
    """Continue the journal of the same command, else begin one.

    Args:
        make_room: takes away the shards that another command left unfinished; None where they must stay.

    Raises:
        UserError: another command left its work here unfinished, and it must stay.
    """
    journal = work / JOURNAL
    if (journal / "plan.json").exists():
        left = read_json(journal / "plan.json")
        _sweep(work, left["shards"])
        if left["command"] == command:
            return
        if not any((work / name).exists() for name in left["shards"]):
            shutil.rmtree(journal)
        elif make_room:
            make_room()
        else:
            raise UserError(
                f"an unfinished `prep {left['command']['kind']}` with other options or another source", str(work), _FORCE
            )
    write_json(journal / "plan.json", {"command": command, "shards": [shard.file for shard in plan.shards]})


def _put_in_place(work: Path, out: Path, plan: Plan, say: Callable[[str], None]) -> None:
    """Change the finished dataset for the shards that were written beside it."""
    # the journal of the finished dataset, if a kill left it, is of no use
    (out / JOURNAL / "plan.json").unlink(missing_ok=True)
    _set_aside(out, say)
    for entry in (work / JOURNAL).iterdir():
        entry.rename(out / JOURNAL / entry.name)
    for shard in plan.shards:
        (work / shard.file).rename(out / shard.file)
    shutil.rmtree(work)


def _sweep(out: Path, shards: Sequence[str]) -> None:
    """Remove the temporary files that a killed process left."""
    for name in (*shards, REJECTED, MANIFEST, *card.NAMES):
        for partial in out.glob(f".{name}.*.partial"):
            partial.unlink()


def _write_shards(out: Path, plan: Plan, choices: Choices, progress: Callable[[int, int], None]) -> list[dict[str, Any]]:
    sample_of = functools.partial(sample, choices=choices, origin=plan.origin)
    _check_space(out, plan, choices)
    records, done, total = [], 0, plan.rows
    for shard in plan.shards:
        path, journal = out / shard.file, _journal_of(out, shard)
        record = read_json(journal) if journal.exists() and path.exists() else None
        if record and record["sha256"] == sha256(path):  # else a crash of the machine lost part of what was written
            if choices.fail and record["rejected"]:
                raise failed(Reject(**record["rejected"][0]))
        else:
            report = functools.partial(_report, progress, done, total)
            record = write_shard(path, shard.rows, arrow_schema(plan.features), sample_of, choices, report)
            write_json(journal, record)
        done += len(shard.rows)
        progress(done, total)
        records.append(record)
    return records


def _journal_of(out: Path, shard: Shard) -> Path:
    return out / JOURNAL / f"{shard.file}.json"


def _report(progress: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    progress(before + done, total)


def _check_space(out: Path, plan: Plan, choices: Choices) -> None:
    """Fail before the work rather than in the middle of it, where the size is known."""
    if choices.link or choices.resize:
        return
    needed = sum(row.size for shard in plan.shards if not _journal_of(out, shard).exists() for row in shard.rows)
    free = free_bytes(out)
    if needed > free:
        hint = "--resize 256 makes the pictures smaller, --link leaves them where they are"
        raise UserError(f"the disk is too small: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free", str(out), hint)


def _manifest(kind: str, ask: Ask, choices: Choices, settings: dict[str, Any], source: Source, plan: Plan) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": DATASET_VERSION,
        "name": ask.out.resolve().name,
        "source": {"kind": kind, "path": source.path, "options": settings, "fingerprint": plan.fingerprint} | source.facts,
        "license": source.license,
        "splits": {},
        "columns": plan.columns,
        "rejected": 0,
        "merged": 0,
    }


def _treatment(treatment: str, choices: Choices, plan: Plan, out: Path) -> dict[str, Any]:
    """What was done to the files of a modality."""
    return {
        "treatment": "none: the files are linked" if choices.link else treatment,
        "resize": choices.resize,
        "linked": choices.link,
        "origin": plan.origin and _within(out, plan.origin),
    }


def _within(out: Path, folder: str) -> str:
    """A folder as dataset.json names it: from OUT where it lies there and moves along, else by its whole path."""
    inside = os.path.relpath(folder, out)
    return folder if inside.startswith(os.pardir) or os.path.isabs(inside) else Path(inside).as_posix()


def _splits(out: Path, plan: Plan, records: list[dict[str, Any]], say: Callable[[str], None]) -> dict[str, Any]:
    """The `splits` of the manifest; a split of which nothing is left loses its files."""
    found: dict[str, Any] = {}
    for shard, record in zip(plan.shards, records, strict=True):
        split = found.setdefault(shard.split, {"rows": 0, "captions": 0, "shards": []})
        split["rows"] += record["rows"]
        split["captions"] += record["captions"]
        split["shards"].append({"file": shard.file, "rows": record["rows"], "sha256": record["sha256"]})
    for name in [name for name, split in found.items() if not split["rows"]]:
        say(f"all rows of the split {name} were rejected: it gets no file")
        _drop_shards(out, [shard for shard in plan.shards if shard.split == name])
        del found[name]
    return found


def _drop_shards(out: Path, shards: Sequence[Shard]) -> None:
    for shard in shards:
        (out / shard.file).unlink(missing_ok=True)


def _finish(out: Path, manifest: dict[str, Any], rejects: Sequence[Reject], ask: Ask, workers: int) -> None:
    """Rejects, audit, card, and last of all dataset.json: its presence means finished."""
    data = Dataset(str(out), manifest, fsspec.filesystem("file"))
    found, facts = audit.audit(data, ask.progress("audited"), workers)
    for kind, fact in facts.items():
        manifest[kind] = manifest.get(kind, {}) | fact
    manifest["audit"] = found
    if rejects:
        write_text(out / REJECTED, "".join(json.dumps(asdict(r), ensure_ascii=True) + "\n" for r in rejects))
    card.write_card(out, manifest, ask.say)
    write_json(out / MANIFEST, manifest)
    shutil.rmtree(out / JOURNAL)


def _written(out: Path) -> list[str]:
    """The names of what mmkit wrote there, finished or not."""
    names = [name for name in card.NAMES if card.is_ours(out / name)]
    if (out / MANIFEST).exists():
        manifest = _read_manifest(out / MANIFEST)
        names += [MANIFEST, REJECTED, *(s["file"] for split in manifest["splits"].values() for s in split["shards"])]
    if (out / JOURNAL / "plan.json").exists():
        names += [REJECTED, *read_json(out / JOURNAL / "plan.json")["shards"], JOURNAL]
    return [name for name in dict.fromkeys(names) if (out / name).exists()]


def _set_aside(out: Path, say: Callable[[str], None]) -> None:
    """Move what mmkit wrote before to OUT/.old-n; raw data and the user's own files stay where they are."""
    names = _written(out)
    if not names:
        return
    n = 1
    while (out / f".old-{n}").exists():
        n += 1
    target = out / f".old-{n}"
    target.mkdir()
    # a kill in between leaves a dataset.json without its shards, which are then made again
    for name in sorted(names, key=lambda name: name in (MANIFEST, JOURNAL, *card.NAMES)):
        (out / name).rename(target / name)
    say(f"what was there before is in {target}")
