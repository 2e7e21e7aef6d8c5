"""Run a model over a dataset, or over a folder of images, into an embeddings file; neither is ever held in memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from os import cpu_count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmkit.data.images import SUFFIXES, load_rgb
from mmkit.errors import UserError
from mmkit.files import check_output, make_way
from mmkit.vectors import EmbeddingsWriter, check_target, files_of, is_ours, joined, read_meta, unit

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model

BATCHES_AHEAD = 2

Progress = Callable[[int, int], None]
Row = dict[str, Any]


@dataclass(frozen=True)
class Pace:
    """How a run over data goes; none of it changes the vectors beyond rounding."""

    batch_size: int = 64
    workers: int | None = None
    progress: Progress = field(default=lambda done, total: None)


def embed_dataset(
    model: Model,
    data: Dataset,
    split: str | None = None,
    out: str | Path | None = None,
    limit: int | None = None,
    force: bool = False,
    pace: Pace | None = None,
) -> Path:
    """Embed every image and every caption of a split, or of all splits; an image and its captions carry one id.

    A file that the same model made from the same data, read in the same way, is reused.

    Args:
        out: `.arrow`, `.parquet` or `.npy`; by default `embeddings_path`.
        limit: only the first rows.
        force: move a different file at `out` aside.

    Returns:
        The path of the file.

    Raises:
        UserError: an image cannot be read (its id is named), a vector is not finite, `out` holds something else, or
            nothing is there to embed.
    """
    _require_image_encoder(model)
    split = data.split_name(split) if split else None
    path = Path(out) if out else embeddings_path(model, data_name(data), split or "all", limit)
    made_from = _made_by(model) | {"data_hash": data.hash, "data_split": split, "limit": limit}
    if _reusable(path, made_from, force, own=out is None):
        return path
    total = sum(count for name, count in data.splits.items() if split in (None, name))
    meta = made_from | {"data": str(Path(data.path).resolve()), "data_name": data_name(data)}
    return _embed(model, _dataset_rows(data, split, limit), min(total, limit or total), path, meta, pace or Pace())


def embed_folder(model: Model, folder: str | Path, out: str | Path | None = None, pace: Pace | None = None) -> Path:
    """Embed the images of a plain folder and its subfolders; an image's id is its path within the folder.

    A file that cannot be read as an image is left out; `meta["unreadable"]` counts them.

    Raises:
        UserError: the folder has no image.
    """
    _require_image_encoder(model)
    folder = Path(folder).resolve()
    files = images_in(folder)
    if not files:
        raise UserError("no images in this folder", str(folder), f"looked for {' '.join(sorted(SUFFIXES))}")
    digest = blake2b(digest_size=8)
    for file in files:
        stat = file.stat()
        digest.update(f"{file.relative_to(folder)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    # two folders of one name are common (photos, images), so the place is part of the file's name
    place = blake2b(str(folder).encode(), digest_size=3).hexdigest()
    path = Path(out) if out else embeddings_path(model, folder.name, place)
    made_from = _made_by(model) | {"data_hash": digest.hexdigest()}
    if _reusable(path, made_from, force=False, own=out is None):
        return path
    rows = ({"id": str(file.relative_to(folder)), "image": {"bytes": None, "path": str(file)}, "skip": True} for file in files)
    meta = made_from | {"data": str(folder), "data_name": folder.name, "folder": True}
    return _embed(model, rows, len(files), path, meta, pace or Pace())


def images_in(folder: Path) -> list[Path]:
    """The image files under a folder, by name, hidden ones left out."""
    found = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    return sorted(file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts))


def embed_image(model: Model, path: str) -> torch.Tensor:
    """The vector of one image file, (d,).

    Raises:
        UserError: the file is missing or is no image, or the vector is not finite.
    """
    _require_image_encoder(model)
    require_image(path)
    try:
        picture = load_rgb(path)
    except (UserError, OSError, ValueError) as e:
        raise UserError(f"cannot be read as an image ({_reason(e)})", path) from e
    return _finite(model, model.encode_images(model.pixels(picture)[None]))[0]


def embed_texts(model: Model, texts: list[str]) -> torch.Tensor:
    """The vectors of some texts, (n, d).

    Raises:
        UserError: a vector is not finite.
    """
    return _finite(model, model.encode_texts(texts))


def diverged(model: Model, what: str) -> UserError:
    """The error for weights that answer with something that is not finite."""
    hint = "the model has diverged"
    if model.folder:
        hint += f"; an earlier checkpoint of the run may not have: --model {model.folder}/checkpoints/step-…"
    return UserError(what, model.name, hint)


def _finite(model: Model, vectors: torch.Tensor) -> torch.Tensor:
    """The vectors as they are, (n, d), where each is finite."""
    try:
        unit(vectors.numpy())
    except UserError as e:
        raise diverged(model, e.what) from e
    return vectors


def require_image(path: str) -> None:
    """Make sure that a file is there to be read as an image.

    Raises:
        UserError: there is none, or it is a folder.
    """
    if Path(path).is_dir():
        raise UserError("this is a folder, not an image", path, f'mmkit retrieve "a red circle" --in {path}   searches one')
    if not Path(path).is_file():
        raise UserError("no such image", path)


def _reason(e: Exception) -> str:
    """What went wrong, without the path that a UserError would name a second time."""
    return e.what if isinstance(e, UserError) else str(e)


def _require_image_encoder(model: Model) -> None:
    if "image" not in model.modalities:
        raise UserError("the model has no image encoder", model.name, f"it was trained on: {', '.join(model.modalities)}")


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
    run, place = model.folder.resolve(), Path(model_name(model)).resolve()
    stem += f"-{place.name}" if place != run else ""
    return Path(model_name(model) if place == run else model.folder) / "embeddings" / f"{stem}.arrow"


def _made_by(model: Model) -> dict[str, Any]:
    """What tells two makers of vectors apart: the weights, and how pictures and texts are prepared for them."""
    return {"model_hash": model.hash, "preprocessing_hash": model.made_of_hash}


def _reusable(path: Path, made_from: dict[str, Any], force: bool, own: bool) -> bool:
    """Whether `path` is up to date; else make sure that it may be written."""
    check_target(path)
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


def _dataset_rows(data: Dataset, split: str | None, limit: int | None) -> Iterator[Row]:
    image = data.column("image")
    captions = data.column("text") if "text" in data.columns.values() else ""
    label = next(iter(data.columns_of("label")), "")
    for row in data.rows(split, [name for name in ("id", image, captions, label) if name], limit):
        yield {
            "id": row["id"],
            "image": row[image],
            "captions": row.get(captions) or [],
            "label": joined(row.get(label)),
            "split": row["split"],
        }


def _embed(model: Model, rows: Iterable[Row], total: int, path: Path, meta: dict[str, Any], pace: Pace) -> Path:
    cost = Cost()
    made_by = {
        "model": model_name(model),
        "normalised": True,
        "resolution": model.pixels.size,
        "precision": "fp32",
        "parameters": model.parameter_count,
    }
    done = unreadable = 0
    pace.progress(0, total)  # the first batch may take long
    with EmbeddingsWriter(path, model.dim, made_by | meta) as writer:
        for batch, pixels in _decoded(model, rows, pace):
            seen = [(row, p) for row, p in zip(batch, pixels, strict=True) if p is not None]
            if seen:
                _write_images(model, writer, [row for row, _ in seen], torch.stack([p for _, p in seen]), cost)
            _write_texts(model, writer, batch, pace.batch_size, cost)
            done += len(batch)
            unreadable += len(batch) - len(seen)
            pace.progress(done, total)
        if not cost.images + cost.texts:
            raise UserError("nothing to embed", meta["data"])
        writer.meta |= {"cost": cost.summary(), "unreadable": unreadable}
    return path


@dataclass
class Cost:
    """Time spent inside the encoders."""

    images: int = 0
    texts: int = 0
    image_seconds: float = 0.0
    text_seconds: float = 0.0

    def summary(self) -> dict[str, float]:
        """Milliseconds per item, of what was embedded."""
        parts = {"ms_per_image": (self.image_seconds, self.images), "ms_per_text": (self.text_seconds, self.texts)}
        return {name: round(1000 * seconds / n, 3) for name, (seconds, n) in parts.items() if n}


def _decoded(model: Model, rows: Iterable[Row], pace: Pace) -> Iterator[tuple[list[Row], list[torch.Tensor | None]]]:
    """Batches with their pixels, decoded by threads a few batches ahead of the model."""
    source = iter(rows)
    waiting: deque[tuple[list[Row], list[Future[torch.Tensor | None]]]] = deque()
    with ThreadPoolExecutor(pace.workers or cpu_count()) as pool:
        try:
            while True:
                while len(waiting) <= BATCHES_AHEAD and (batch := list(islice(source, pace.batch_size))):
                    waiting.append((batch, [pool.submit(_pixels, model, row) for row in batch]))
                if not waiting:
                    return
                batch, futures = waiting.popleft()
                yield batch, [future.result() for future in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _pixels(model: Model, row: Row) -> torch.Tensor | None:
    image = row["image"]
    if not image:
        return None
    try:
        return model.pixels(load_rgb(image["bytes"] or image["path"]))
    except (UserError, OSError, ValueError) as e:
        if row.get("skip"):
            return None
        raise UserError(
            f"the image of row {row['id']} cannot be read ({_reason(e)})", image["path"] or "", "prepare the dataset again"
        ) from e


def _write_images(model: Model, writer: EmbeddingsWriter, rows: list[Row], pixels: torch.Tensor, cost: Cost) -> None:
    begin = time.perf_counter()
    vectors = _finite(model, model.encode_images(pixels)).numpy()
    cost.image_seconds += time.perf_counter() - begin
    cost.images += len(rows)
    splits, labels = [row.get("split") for row in rows], [row.get("label") for row in rows]
    writer.write([row["id"] for row in rows], "image", vectors, splits, None, labels)


def _write_texts(model: Model, writer: EmbeddingsWriter, rows: list[Row], batch_size: int, cost: Cost) -> None:
    pairs = [(row, text) for row in rows for text in row.get("captions", ())]
    if not pairs or "text" not in model.modalities:
        return
    begin = time.perf_counter()
    # texts of like length share a batch, since a batch is as long as its longest
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][1]))
    vectors = torch.empty(len(pairs), model.dim)
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        vectors[part] = embed_texts(model, [pairs[i][1] for i in part])
    cost.text_seconds += time.perf_counter() - begin
    cost.texts += len(pairs)
    splits, labels = [row.get("split") for row, _ in pairs], [row.get("label") for row, _ in pairs]
    writer.write([row["id"] for row, _ in pairs], "text", vectors.numpy(), splits, [text for _, text in pairs], labels)
