"""Files that hold data but are not read: what each is, and the command that makes of it what is read."""

from __future__ import annotations

import os
import shlex
import tarfile
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from mmkit.data.modalities import file_suffixes
from mmkit.errors import UserError

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
SHEETS = (".xlsx", ".xlsm", ".xls", ".ods")
PICKLES = (".pkl", ".pickle")
ARROWS = (".arrow", ".feather")
TABLES_INSIDE = (".csv", ".tsv", ".jsonl", ".parquet")
ARCHIVES = (*TARS, ".zip", ".7z", ".rar")
ALL = (*ARCHIVES, *SHEETS, *PICKLES, *ARROWS)
LFS = b"version https://git-lfs"
# so many members tell what an archive holds
PEEK = 50
UTF_8_CSV = "csv:Text - txt - csv (StarCalc):44,34,76"


def refuse(path: Path) -> None:
    """Raise the error that says what `path` is, if it is such a file; what a folder holds of them counts where it is one.

    Raises:
        UserError: what it is and how to go on.
    """
    if path.is_file() and path.stat().st_size < 1024 and path.read_bytes().startswith(LFS):
        raise UserError(
            "a pointer of Git LFS, not the file itself", str(path), f"git -C {shlex.quote(str(path.parent))} lfs pull"
        )
    for found in _files(path) if path.is_dir() else [path]:
        if kind := next((end for end in ALL if found.name.lower().endswith(end)), None):
            # of many shards the folder is named, not the first
            raise _error(found, kind, path)


def shards_beside(tables: list[Path]) -> bool:
    """Whether the tables describe tar files of the same names, as img2dataset writes them."""
    return any(table.with_suffix(".tar").is_file() for table in tables)


def _files(folder: Path) -> Iterator[Path]:
    """Those of the folder, then those of its subfolders."""
    try:
        entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
        yield from (p for p in entries if p.is_file())
        for sub in (p for p in entries if p.is_dir()):
            yield from sorted(p for p in sub.iterdir() if p.is_file())
    except OSError:
        return


def _error(found: Path, kind: str, asked: Path) -> UserError:
    if kind in TARS:
        return _tar(found, kind, asked)
    if kind == ".zip":
        return _zip(found)
    if kind in SHEETS:
        file, csv, folder = (shlex.quote(str(path)) for path in (found, found.with_suffix(".csv"), found.parent))
        hint = "in the spreadsheet program: File > Save As > CSV UTF-8; or: "
        hint += (
            f"soffice --headless --convert-to '{UTF_8_CSV}' --outdir {folder} {file} && mmkit prep table ./data --source {csv}"
        )
        return UserError("a spreadsheet, which is not read: save it as CSV", str(found), hint)
    if kind in PICKLES:
        code = f"import pandas; pandas.read_pickle({str(found)!r}).to_parquet({str(found.with_suffix('.parquet'))!r})"
        return UserError("a pickle, which may run any code and is not opened", str(found), f"python -c {shlex.quote(code)}")
    if kind in ARROWS:
        return _arrow(found)
    return UserError("an archive, which is not read: unpack it", str(found), "then --source names the folder")


def _arrow(found: Path) -> UserError:
    if not (found.parent / "state.json").exists():
        code = f"import pandas; pandas.read_feather({str(found)!r}).to_parquet({str(found.with_suffix('.parquet'))!r})"
        return UserError("an Arrow file, which is not read: save it as Parquet", str(found), f"python -c {shlex.quote(code)}")
    folder = found.parent.parent if (found.parent.parent / "dataset_dict.json").exists() else found.parent
    code = "import sys, datasets; p = sys.argv[1]; d = datasets.load_from_disk(p); "
    code += "[x.to_parquet(f'{p}/{k}.parquet') for k, x in (d if isinstance(d, dict) else {'train': d}).items()]"
    place = shlex.quote(str(folder))
    hint = f'python -c "{code}" {place} && mmkit prep table ./data --source {place}'
    return UserError("what datasets wrote with save_to_disk, which is not read: save it as Parquet", str(folder), hint)


def _tar(found: Path, kind: str, asked: Path) -> UserError:
    names = _tar_names(found)
    suffixes = {Path(name).suffix.lower() for name in names}
    paired = bool(suffixes & file_suffixes()) and bool(suffixes & {".txt", ".json", ".cls", ".caption"})
    what = "shards of the webdataset format (WebDataset, img2dataset)" if paired else "a tar archive"
    if paired and ".txt" not in suffixes:
        hint = "unpack them and write the names of the pictures and their captions to a table: mmkit prep table reads it"
    elif asked.is_dir() and kind == ".tar":
        folder = shlex.quote(str(asked))
        unpack = 'mkdir -p "${0%.tar}" && tar -xf "$0" -C "${0%.tar}"'
        hint = f"find {folder} -name '*.tar' -execdir sh -c '{unpack}' {{}} \\; && mmkit prep folder ./data --source {folder}"
    else:
        folder = shlex.quote(str(found)[: -len(kind)])
        hint = (
            f"mkdir -p {folder} && tar -xf {shlex.quote(str(found))} -C {folder} && mmkit prep {_reader(names)} --source {folder}"
        )
    return UserError(f"{what}, which {'are' if paired else 'is'} not read yet: unpack first", str(asked), hint)


def _tar_names(path: Path) -> list[str]:
    try:
        with tarfile.open(path, "r|*") as pack:
            return [member.name for member in islice(pack, PEEK) if member.isfile()]
    except (tarfile.TarError, OSError, EOFError):
        return []


def _zip(found: Path) -> UserError:
    try:
        with zipfile.ZipFile(found) as pack:
            names = [name for name in pack.namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, OSError):
        return UserError("the zip archive is truncated or damaged", str(found), "get it again")
    pictures = sum(Path(name).suffix.lower() in file_suffixes() for name in names)
    folder = shlex.quote(str(found.with_suffix("")))
    hint = f"unzip -q {shlex.quote(str(found))} -d {folder} && mmkit prep {_reader(names)} --source {folder}"
    return UserError(
        f"a zip archive of {pictures:,} pictures and {len(names) - pictures:,} other files: unpack it", str(found), hint
    )


def _reader(names: list[str]) -> str:
    return "table ./data" if any(os.path.splitext(name)[1].lower() in TABLES_INSIDE for name in names) else "folder ./data"
