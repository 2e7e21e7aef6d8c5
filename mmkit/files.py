"""Files on disk: atomic writes, locks, and the names and versions of mmkit's formats. No torch here."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmkit.errors import UserError

DATASET_VERSION = 1
WEIGHTS, CONFIG, TARGETS = "model.safetensors", "config.toml", "targets.json"  # of a run folder
MAKER = "mmkit"  # what a picture or a page of ours names as the software that made it


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path; on success it is synced and takes the place of `path`, whole, else it is removed.

    A symlink stays, and what it points to is replaced. A pipe or a device stays, and the bytes are written into it.

    Raises:
        UserError: `path` is a folder, the disk is full or the folder cannot be written; `path` is as it was before.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError("this is a folder, not a file", str(path), "name a file in it")
        in_place = is_special(path)
        target = path if in_place else Path(os.path.realpath(path))
        temporary = _temporary(target, None if in_place else target.parent)
    except OSError as e:
        raise disk_error(e, path) from e
    try:
        yield temporary
        if in_place:
            with open(temporary, "rb") as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink)
            return
        with open(temporary, "rb+") as f:
            os.fsync(f.fileno())
        # mkstemp makes 0600; a product is readable like any file the user writes
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as e:
        raise disk_error(e, path) from e
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_folder(path: str | os.PathLike[str], force: bool) -> Iterator[Path]:
    """Yield a temporary folder; on success it takes the place of `path`, whole, else it is removed.

    Args:
        force: what stands there is moved aside; else only an empty folder may stand there, see `check_folder`.

    Raises:
        UserError: the disk is full or the folder cannot be written; `path` is as it was before.
    """
    path = Path(os.path.abspath(path))
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial"))
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif force and path.exists():
            move_aside(path)
        temporary.rename(path)
    except OSError as e:
        raise disk_error(e, path) from e
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)


def check_folder(path: str | os.PathLike[str], force: bool = False) -> None:
    """Refuse a folder of outputs that would replace something, before any work is done.

    Raises:
        UserError: it is a file, or a folder that is not empty, and there is no `force`.
    """
    path = Path(path)
    if path.exists() and not force and not (path.is_dir() and not any(path.iterdir())):
        what = "the folder exists and is not empty" if path.is_dir() else "this is a file, not a folder"
        raise UserError(what, str(path), "name a new folder; --force moves this one aside")


def _temporary(target: Path, folder: Path | None) -> Path:
    """A new empty file in `folder`, or in the system's own for temporary files."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=f".{target.name}.", suffix=".partial")
    os.close(handle)
    return Path(name)


def is_special(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is there and is a pipe, a device or the like: neither a regular file nor a folder."""
    path = Path(path)
    return path.exists() and not path.is_file() and not path.is_dir()


def disk_error(e: OSError, path: str | os.PathLike[str]) -> UserError:
    """Translate an OSError met while writing `path` into one line with a hint."""
    if e.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError("the disk is full", str(path), "free some space and run the same command again: it continues")
    if e.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError("no permission to write", str(path), "choose another folder with --out or fix its permissions")
    return UserError(f"cannot write ({e.strerror or e})", str(path))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def toml_text(tables: dict[str, Any]) -> str:
    """Tables as TOML, lists of numbers in one line each: a mean for each of 64 bands is one key and not 64 lines."""
    import tomli_w

    numbers = re.compile(r"\[\n((?: +[-+.\w]+,\n)+) *\]")
    return numbers.sub(lambda found: f"[{' '.join(found[1].split()).rstrip(',')}]", tomli_w.dumps(tables))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write indented JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike[str], hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Read a JSON file.

    Args:
        hook: what becomes of each object, as of `json.loads`.

    Raises:
        UserError: it is missing or is not JSON; the file is named.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), object_hook=hook)
    except FileNotFoundError:
        raise UserError("no such file", str(path)) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise UserError(f"not valid JSON ({e})", str(path)) from e


def pointed(path: Path) -> Path:
    """What `runs/latest` names, where a system with no symlinks holds it as a text file; any other path as it is."""
    return path.with_name(path.read_text().strip()) if path.name == "latest" and path.is_file() else path


def sha256(path: str | os.PathLike[str]) -> str:
    """Hex digest of a file's bytes, read in blocks."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def stable_hash(text: str | bytes) -> int:
    """A signed 64-bit hash that is the same in every process and on every machine."""
    data = text.encode() if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little", signed=True)


def move_aside(path: Path) -> Path:
    """Rename an existing file or folder to `<name>.old-<n>` and return the new name: nothing is deleted."""
    n = 1
    while (target := path.with_name(f"{path.name}.old-{n}")).exists():
        n += 1
    path.rename(target)
    return target


def move_folder_aside(folder: Path, hint: str) -> Path:
    """As `move_aside`, of a folder that a command works in.

    Raises:
        UserError: it is the current folder, or holds it; with the hint.
    """
    here = Path.cwd().resolve()
    if folder.resolve() in (here, *here.parents):
        raise UserError("the folder is the one you are in, or holds it", str(folder), hint)
    return move_aside(folder)


def check_beginning(folder: Path, state: str, what: str, hint: str) -> None:
    """Refuse to begin in a folder that holds more than a process that was killed before its first line of state leaves behind.

    Args:
        state: name of the file that the state is kept in.
        what: a word for what is begun.

    Raises:
        UserError: it does, or it is a file; with the hint.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or any(p.name != ".lock" and not p.name.startswith(f".{state}.") for p in folder.iterdir()):
        raise UserError(f"the folder is not empty and holds no {what}", str(folder), hint)


def check_output(path: str | os.PathLike[str], is_ours: Callable[[Path], bool], force: bool = False) -> None:
    """Refuse an output that exists and is not ours, before any work is done; a pipe or a device takes whatever comes.

    Args:
        is_ours: whether mmkit wrote a file, by its content.
        force: a file of others is fine, too: `make_way` moves it aside once there is something to write.

    Raises:
        UserError: it is a folder, or a file of others.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError("this is a folder, not a file", str(path), "name a file in it")
    if path.is_file() and not force and not is_ours(path):
        raise UserError("the file exists and is not one that mmkit wrote", str(path), "--force moves it aside")


def make_way(path: str | os.PathLike[str], force: bool) -> None:
    """With `force`, move a file that stands where an output is now written aside."""
    if force and Path(path).is_file():
        move_aside(Path(path))


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for one writer; the lock dies with the process, so a killed one leaves nothing behind.

    Raises:
        UserError: another process is writing there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows: no flock; two writers are then the user's to avoid
        yield
        return
    path = folder / ".lock"
    while True:
        with open(path, "a+") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as e:
                raise UserError("another mmkit is writing here", str(folder), "wait for it to end") from e
            # whoever held it may have removed this file since it was opened: a lock on it would keep nobody out
            if not _is_open(path, f.fileno()):
                continue
            try:
                yield
            finally:
                if _is_open(path, f.fileno()):
                    path.unlink()
            return


def _is_open(path: Path, handle: int) -> bool:
    """Whether `path` still names the file that `handle` is open on."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def free_bytes(path: Path) -> int:
    """Free space of the disk that holds `path` or its nearest existing parent."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def cache_folder() -> Path:
    """The only state outside a run folder: `$MMKIT_CACHE`, default `~/.cache/mmkit`; safe to delete."""
    return Path(os.environ.get("MMKIT_CACHE") or Path.home() / ".cache" / "mmkit")
