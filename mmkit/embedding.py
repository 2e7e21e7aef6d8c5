"""Run a model over a dataset, or over a folder of files, into an embeddings file; neither is ever held in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.data.modalities import MODALITIES, of_path
from mmkit.encode import Cost, Item, Pace, Row, Vectors, cell_items, chunks, columns_of, vectors
from mmkit.errors import MissingPackage, UserError
from mmkit.files import check_output, make_way
from mmkit.vectors import files_of, is_ours, read_meta
from mmkit.vectors_writer import EmbeddingsWriter, check_target

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model


def embed_dataset(
    model: Model,
    data: Dataset,
    split: str | None = None,
    out: str | Path | None = None,
    limit: int | None = None,
    force: bool = False,
    pace: Pace | None = None,
) -> Path:
    """Embed every item that the model has an encoder for, of a split or of all; the items of a row carry one id.

    A file that the same model made from the same data, read in the same way, is reused.

    Args:
        out: `.arrow`, `.parquet` or `.npy`; by default `embeddings_path`.
        limit: only the first rows.
        force: move a different file at `out` aside.

    Returns:
        The path of the file.

    Raises:
        UserError: an item cannot be read (its id is named), a vector is not finite, `out` holds something else, or
            nothing is there to embed.
    """
    columns = _columns(model, data)
    split = data.split_name(split) if split else None
    path = Path(out) if out else embeddings_path(model, data_name(data), split or "all", limit)
    made_from = _made_by(model) | {"data_hash": data.hash, "data_split": split, "limit": limit}
    if _reusable(path, made_from, force, out is None, model.tokenwise):
        return path
    total = sum(count for name, count in data.splits.items() if split in (None, name))
    meta = made_from | {"data": str(Path(data.path).resolve()), "data_name": data_name(data)}
    rows = _dataset_rows(data, columns, split, limit)
    return _embed(model, columns, rows, min(total, limit or total), path, meta, pace or Pace())


def embed_folder(model: Model, folder: str | Path, out: str | Path | None = None, pace: Pace | None = None) -> Path:
    """Embed the files of a plain folder and its subfolders; a file's id is its path within the folder.

    A file that cannot be read is left out; `meta["unreadable"]` names them.

    Raises:
        UserError: the folder has no file that the model has an encoder for.
    """
    folder = Path(folder).resolve()
    input_of = inputs_of_files(model, folder)
    digest = blake2b(digest_size=8)
    for file in input_of:
        stat = file.stat()
        digest.update(f"{file.relative_to(folder)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    # two folders of one name are common (photos, images), so the place is part of the file's name
    place = blake2b(str(folder).encode(), digest_size=3).hexdigest()
    path = Path(out) if out else embeddings_path(model, folder.name, place)
    made_from = _made_by(model) | {"data_hash": digest.hexdigest()}
    if _reusable(path, made_from, False, out is None, model.tokenwise):
        return path
    columns = {name: name for name in model.embedded if name in input_of.values()}
    rows = (_file_row(model, folder, file, name, columns) for file, name in input_of.items())
    meta = made_from | {"data": str(folder), "data_name": folder.name, "folder": True}
    return _embed(model, columns, rows, len(input_of), path, meta, pace or Pace(), lenient=True)


def _file_row(model: Model, folder: Path, file: Path, name: str, columns: Iterable[str]) -> Row:
    """The row of one file; empty where it holds nothing of the kind."""
    try:
        held = MODALITIES[str(model.inputs[name].modality)].of_file(str(file))
    except (OSError, ValueError, UserError):
        held = None
    return {**dict.fromkeys(columns), "id": str(file.relative_to(folder)), name: held}


def suffixes(model: Model, name: str) -> frozenset[str]:
    """The suffixes of the files that hold one item of an input."""
    row = MODALITIES[str(model.inputs[name].modality)]
    # a text file belongs to something, and is no item of its own
    return frozenset(row.SUFFIXES) if hasattr(row, "of_file") else frozenset()


def called_as(model: Model, names: Iterable[str], path: str | Path) -> str | None:
    """The first of some inputs that a file is of, as it is called and, where that says several, by what it shows; None where it
    is called like none: a picture may be called anything."""
    kinds = {name: str(model.inputs[name].modality) for name in names}
    kind = of_path(path, kinds.values())
    return next((name for name in kinds if kinds[name] == kind), None)


def inputs_of_files(model: Model, folder: Path) -> dict[Path, str]:
    """The files of a folder that a model reads, by name, and the input that each is of; see `called_as`.

    Raises:
        UserError: the model has no input that files hold, or the folder no such files.
    """
    endings = frozenset().union(*(suffixes(model, name) for name in model.embedded))
    if not endings:
        raise _without(model, "that files hold")
    found = {file: called_as(model, model.embedded, file) for file in files_in(folder, endings)}
    if not found:
        names = " and no ".join(name for name in model.embedded if suffixes(model, name))
        raise UserError(f"no {names} in this folder", str(folder), f"looked for {' '.join(sorted(endings))}")
    return {file: name for file, name in found.items() if name}


def files_in(folder: Path, endings: frozenset[str]) -> list[Path]:
    """The files with one of some endings under a folder, by name, hidden ones left out."""
    found = (file for file in folder.rglob("*") if file.suffix.lower() in endings and file.is_file())
    return sorted(file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts))


def embed_file(model: Model, name: str, path: str) -> Vectors:
    """How one file stands in the shared space, as `vectors` of one item.

    Raises:
        UserError: the file is missing or holds no such item, or the vector is not finite.
    """
    require_input(model, name)
    return vectors(model, name, [file_item(model, name, path)])


def file_item(model: Model, name: str, path: str) -> Any:
    """The prepared item that a file holds.

    Raises:
        UserError: the file is missing or holds no such item.
    """
    require_file(path, name)
    modality = str(model.inputs[name].modality)
    try:
        return model.reader(name).prepare(MODALITIES[modality].of_file(path))
    except MissingPackage:
        raise
    except (UserError, OSError, ValueError) as e:
        article = "an" if modality[0] in "aeiou" else "a"
        raise UserError(f"cannot be read as {article} {modality} ({e.what if isinstance(e, UserError) else e})", path) from e


def file_value(model: Model, name: str, path: str) -> Any:
    """What a file holds, as a row of a dataset would; it can be read. Raises as `file_item`."""
    file_item(model, name, path)
    return MODALITIES[str(model.inputs[name].modality)].of_file(path)


def embed_texts(model: Model, texts: list[str], name: str | None = None) -> Vectors:
    """How some texts stand in the shared space, as `vectors`.

    Args:
        name: the input; by default the first of words.

    Raises:
        UserError: the model has no input of words, or a vector is not finite.
    """
    name = name or language_of(model)
    return vectors(model, name, [model.reader(name).prepare(text) for text in texts])


def cut_off(model: Model, texts: Sequence[str], name: str | None = None) -> str:
    """What is to be said of texts that are longer than a model reads; nothing where none is."""
    tokenizer = getattr(model.reader(name or language_of(model)), "tokenizer", None)
    if tokenizer is None:
        return ""
    cut = [text for text, n in zip(texts, tokenizer.lengths(list(texts)), strict=True) if n > tokenizer.context]
    alone = f"{cut[0]!r}" if len(cut) == 1 else f"{len(cut):,} of {len(texts):,} texts"
    return f"the model reads {tokenizer.context} tokens of a text; cut off: {alone}" if cut else ""


def language_of(model: Model) -> str:
    """The first input of words in the shared space.

    Raises:
        UserError: the model has none.
    """
    found = next((name for name in model.embedded if model.config.is_language(name)), None)
    if found is None:
        raise _without(model, "of words")
    return found


def require_input(model: Model, name: str) -> None:
    """Make sure that a model has an encoder for an input.

    Raises:
        UserError: it has not.
    """
    if name not in model.embedded:
        if not model.embedded:
            raise _without(model)
        raise UserError(f"the model has no {name} encoder", model.name, f"it was trained on: {', '.join(model.modalities)}")


def require_file(path: str, what: str) -> None:
    """Make sure that a file is there to be read.

    Raises:
        UserError: there is none, or it is a folder.
    """
    if Path(path).is_dir():
        article = "an" if what[0] in "aeiou" else "a"
        hint = f'mmkit retrieve "a red circle" --in {path}   searches one'
        raise UserError(f"this is a folder, not {article} {what}", path, hint)
    if not Path(path).is_file():
        raise UserError(f"no such {what}", path)


def _without(model: Model, what: str = "") -> UserError:
    if not model.embedded:
        losses = ", ".join(table["kind"] for table in model.config.loss.values())
        return UserError("the model compares nothing: it has no loss of pairs", model.name, f"its losses: {losses}")
    return UserError(f"the model compares nothing {what}", model.name, f"it compares: {', '.join(model.embedded)}")


def _columns(model: Model, data: Dataset) -> dict[str, str]:
    if not model.embedded:
        raise _without(model)
    found = columns_of(model, data, model.embedded)
    if not found:
        there = ", ".join(sorted(set(data.columns.values())))
        raise UserError(f"the dataset has no {' and no '.join(model.embedded)} column", data.path, f"it has: {there}")
    return found


def data_name(data: Dataset) -> str:
    """The name of a dataset's folder, as results and files are named by it."""
    return Path(data.path).resolve().name or data.name


def model_name(model: Model) -> str:
    """A model as results name it: a run by its own folder also where `runs/latest` was typed."""
    if not model.folder:
        return model.name
    place, here = Path(model.name).resolve(), Path.cwd()
    if not place.is_dir():  # where symlinks are refused, `latest` is a text file
        place = model.folder.resolve()
    return str(place.relative_to(here) if place.is_relative_to(here) else place)


def embeddings_path(model: Model, data: str, part: str, limit: int | None = None) -> Path:
    """`<run>/embeddings/<data>-<part>.arrow`; beside no run, in `./<model>.embeddings/`."""
    # the first rows alone, or a checkpoint on the way, must not pass for the whole run's, or replace it
    stem = f"{data}-{part}" + (f"-first{limit}" if limit else "")
    if not model.folder:
        return Path(f"{Path(model.name).name}.embeddings") / f"{stem}.arrow"
    checkpoint = checkpoint_name(model)
    stem += f"-{checkpoint}" if checkpoint else ""
    return Path(model.folder if checkpoint else model_name(model)) / "embeddings" / f"{stem}.arrow"


def checkpoint_name(model: Model) -> str:
    """`step-00000500` of a checkpoint inside a run; empty for a run's own weights, or beside no run."""
    place = Path(model_name(model)).resolve()
    return place.name if model.folder and place != model.folder.resolve() else ""


def _made_by(model: Model) -> dict[str, Any]:
    """What tells two makers of vectors apart: the weights, and how their inputs are prepared for them."""
    return {"model_hash": model.hash, "preprocessing_hash": model.made_of_hash}


def _reusable(path: Path, made_from: dict[str, Any], force: bool, own: bool, several: bool) -> bool:
    """Whether `path` is up to date; else make sure that it may be written."""
    check_target(path, several)
    if path.exists():
        found = read_meta(path)
        if found and all(found.get(key) == value for key, value in made_from.items()):
            return True
        if not (own or force):
            raise UserError("the file exists and was not made by this model from this data", str(path), "--force moves it aside")
    for beside in files_of(path)[1:]:
        check_output(beside, is_ours, force)
    for file in files_of(path):
        make_way(file, force)
    return False


def _dataset_rows(data: Dataset, columns: dict[str, str], split: str | None, limit: int | None) -> Iterator[Row]:
    label = next(iter(data.columns_of("label")), None)
    wanted = ["id", *columns.values(), *([label] if label else [])]
    for row in data.rows(split, list(dict.fromkeys(wanted)), limit):
        yield row | ({"label": _joined(row[label])} if label else {})


def _joined(label: str | Iterable[str] | None) -> str | None:
    """A dataset's label as the file holds it: one string, several joined by a comma."""
    return label if label is None or isinstance(label, str) else ", ".join(label) or None


def _embed(
    model: Model,
    columns: dict[str, str],
    rows: Iterable[Row],
    total: int,
    path: Path,
    meta: dict[str, Any],
    pace: Pace,
    lenient: bool = False,
) -> Path:
    cost = Cost()
    made_by = {
        "model": model_name(model),
        "columns": columns,
        "normalised": True,
        "resolution": next((r.given()["size"] for r in model.readers.values() if "size" in r.given()), None),
        "precision": "fp32",
        "parameters": model.parameter_count,
    }
    done, unreadable = 0, list[str]()
    pace.progress(0, total)  # the first batch may take long
    with EmbeddingsWriter(path, model.dim, made_by | meta) as writer:
        for batch, items in chunks(model, columns, rows, pace, lenient):
            for name, found in items.items():
                if found:
                    _write(model, writer, name, columns[name], batch, found, pace, cost)
            done += len(batch)
            read = {item.row for found in items.values() for item in found}
            unreadable += [row["id"] for i, row in enumerate(batch) if lenient and i not in read]
            pace.progress(done, total)
        if not cost.items:
            raise UserError("nothing to embed", meta["data"])
        writer.meta |= {"cost": cost.summary(), "unreadable": unreadable}
    return path


def _write(
    model: Model, writer: EmbeddingsWriter, name: str, column: str, rows: list[Row], items: list[Item], pace: Pace, cost: Cost
) -> None:
    """The vectors of one input's items, and what they say where they are words."""
    found = vectors(model, name, [item.value for item in items], pace.batch_size, cost)
    of = [rows[item.row] for item in items]
    said = None
    if model.config.is_language(name):
        said = [cell_items(model, name, row[column])[item.number] for row, item in zip(of, items, strict=True)]
    splits, labels = [row.get("split") for row in of], [row.get("label") for row in of]
    writer.write([row["id"] for row in of], name, found, splits, said, labels)
