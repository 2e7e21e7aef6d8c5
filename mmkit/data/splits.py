"""Which split a row belongs to: as typed, as the source says, or 80/10/10."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from mmkit.data.cells import is_missing
from mmkit.data.schema import Row, Source
from mmkit.errors import UsageError
from mmkit.files import stable_hash

DEFAULT = {"train": 0.8, "val": 0.1, "test": 0.1}
# split names become names of files; `datasets.load_dataset` takes no others
NAMES = "letters, digits and _, such as test_2"
NAMED = 8
# split -> how people write it
WORDS = {
    "train": ("train", "training", "trn", "restval"),
    "val": ("val", "valid", "validation", "validate", "dev", "devel", "development", "eval", "evaluation"),
    "test": ("test", "testing", "tst"),
}
ALIASES = {word: split for split, words in WORDS.items() for word in words}
YEAR = re.compile(r"(?<!\d)(19|20)\d\d(?!\d)")
# some data has them beside a val of its own, and then they are something else
DOUBTFUL = ("eval", "evaluation")
# to train on, unless there is a train beside it
BOTH = ("trainval", "train_val", "train+val", "traindev", "train_dev", "train+dev")
# what folders of splits are called beside the word itself: test_images, training_set, train2017
FILLERS = {
    *("set", "split", "data", "dataset", "images", "image", "imgs", "img", "pictures", "photos", "files", "folder", "samples"),
}


def split_name(name: str) -> str:
    """The name that mmkit uses for a split: `Training`, `train-set` and `train2017` are `train`, `dev` is `val`.

    Other names are kept, in small letters and with `_` for blanks and hyphens: `test-B` is `test_b`, `test_2` stays.
    """
    plain = _plain(name)
    if plain in ALIASES or re.search(r"\d", YEAR.sub("", plain)):
        return ALIASES.get(plain, plain)
    word, rest = folder_split(name) or (plain, "")
    return plain if rest else ALIASES.get(word, plain)


def _plain(word: str) -> str:
    return re.sub(r"[\s-]+", "_", word.strip().lower())


def find_split(name: str, there: Iterable[str]) -> str | None:
    """The split that a typed name means: one that is called so, else the one whose name means the same."""
    there = list(there)
    wanted = split_name(name)
    return name if name in there else next((split for split in there if wanted in (split, split_name(split))), None)


def readings(words: Iterable[str]) -> dict[str, str]:
    """Word -> split, of all words in one source: `eval` is `val` and `trainval` is `train` unless there is another one."""
    found = {word: split_name(word) for word in words}
    if any(split == "val" and _plain(word) not in DOUBTFUL for word, split in found.items()):
        found |= {word: plain for word in found if (plain := _plain(word)) in DOUBTFUL}
    if "train" not in found.values():
        found |= {word: "train" for word in found if _plain(word) in BOTH}
    return found


def folder_split(name: str) -> tuple[str, str] | None:
    """The word of a split in the name of a folder, and what else it says: `seg_train` is (`train`, `seg`), `val2017` (`val`, ``).

    None where there is no such word, or more than one; but `train_val` is a word.
    """
    if (both := YEAR.sub("", _plain(name)).strip("_")) in BOTH:
        return both, ""
    parts = re.findall(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![a-z])", name)
    parts = [part.lower() for part in parts]
    parts = [short if (short := re.sub("(set|data|images|imgs)$", "", part)) in ALIASES else part for part in parts]
    words = [part for part in parts if part in ALIASES]
    rest = [part for part in parts if part not in ALIASES and part not in FILLERS]
    return (words[0], " ".join(rest)) if len(set(words)) == 1 else None


def is_name(name: str) -> bool:
    """A split may be called so."""
    return bool(re.fullmatch(r"\w+(\.\w+)*", name))


def parse(text: str) -> dict[str, float]:
    """`train:0.9,test:0.1` as shares.

    Raises:
        UsageError: it is not of that form, names no train, has a name that no split may have, or does not add up to 1.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\S+)\s*:\s*([0-9.]+)\s*", part)
        if not match:
            raise UsageError("not a list of splits and shares", f"--splits {text}", "such as --splits train:0.9,test:0.1")
        if not is_name(match[1]):
            raise UsageError(f"{match[1]!r} is no name of a split", f"--splits {text}", NAMES)
        name = split_name(match[1])
        shares[name] = shares.get(name, 0) + _number(match[2], text)
    if not shares.get("train"):
        raise UsageError("train gets no share", f"--splits {text}", "train is never empty: --splits train:0.9,test:0.1")
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        what = f"the shares add up to {sum(shares.values()):g}, not to 1"
        raise UsageError(what, f"--splits {text}", "such as --splits train:0.9,test:0.1")
    return shares


def _number(text: str, splits: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{text} is not a number", f"--splits {splits}") from None


def settle(source: Source, shares: dict[str, float] | None, say: Callable[[str], None]) -> None:
    """Give the official splits the names that mmkit uses, and rows whose split is blank one of those that the others have.

    A blank row is drawn by the shares of the others. Where none of those says train, the blank ones are what is left to train
    on. A picture that another row has too stays in one split. Official lists leave rows out, and those stay without a split.
    With `shares` typed, the official splits are not used, and that is said.
    """
    rows = [row for row in source.rows if isinstance(row, Row)]
    for row in rows:
        row.split = None if is_missing(row.split or "") else row.split
    named = Counter(row.split for row in rows if row.split)
    if shares is not None:
        if named:
            say(f"the official splits are not used, as --splits is typed: {_counted(named)}")
        return
    names = readings(named)
    for row in rows:
        row.split = names[row.split] if row.split else None
    blank = [row for row in rows if row.split is None]
    found = Counter(row.split for row in rows if row.split and is_name(row.split))
    drawn = bool(blank and found) and not source.lists
    _say_readings(named, names, drawn or "train" in found, say)
    if drawn:
        _draw(blank, found, {row.key: row.split for row in rows if row.split}, say)


def _draw(blank: Sequence[Row], found: Counter[str], places: dict[str, str], say: Callable[[str], None]) -> None:
    """Give the blank rows splits.

    Args:
        found: split -> number of the other rows.
        places: key of a picture -> the split that it is in already.
    """
    shares = {name: n / found.total() for name, n in sorted(found.items())} if "train" in found else {"train": 1.0}
    for row in blank:
        row.split = places.setdefault(row.key, _drawn(row.id, shares))
    drawn = ", ".join(f"{name} {n:,}" for name, n in Counter(row.split for row in blank).items())
    how = "drawn by the shares of the others" if "train" in found else "the others name no train"
    say(f"{_rows(len(blank))} with a blank split: {how} ({drawn})")


def _say_readings(named: Counter[str], names: dict[str, str], kept: bool, say: Callable[[str], None]) -> None:
    """Tell which words were read as which split, where it is more than upper and lower case, and which are no usual ones.

    Args:
        kept: the splits stay as they are named.
    """
    usual, own, bad = Counter[str](), Counter[str](), Counter[str]()
    for word, n in named.items():
        if names[word] not in WORDS:
            (own if is_name(names[word]) else bad)[names[word]] += n
        elif word.strip().lower() != names[word]:
            usual[f"{word.strip()} is {names[word]}"] += n
    if usual:
        say(f"splits by their usual names: {_counted(usual)}")
    if bad:
        say(f"no name that a split may have, so rejected: {_counted(bad)}; rename it, or type --splits")
    if own and kept:
        say(f"not the name of a usual split, so a split of its own: {_counted(own)}; rename it, or type --splits")


def _counted(words: Counter[str]) -> str:
    """`dev (3 rows), test (1 row)`; the most frequent ones of many."""
    shown = ", ".join(f"{word} ({_rows(n)})" for word, n in words.most_common(NAMED))
    return shown + (f" and {len(words) - NAMED:,} more" if len(words) > NAMED else "")


def _rows(n: int) -> str:
    return f"{n:,} row{'' if n == 1 else 's'}"


def assign(rows: Sequence[Row], shares: dict[str, float] | None, say: Callable[[str], None]) -> list[Row]:
    """Give every row its split and return those that have one; `train` gets at least one row.

    Where a source has official splits, the rows that are in none of them are left out, as the papers leave them out.
    """
    if shares is None and any(is_train(row) for row in rows):
        return listed(rows, shares, say)
    if shares is None and (named := Counter(row.split for row in rows if row.split)):
        say(
            f"the official splits have no usable train rows, only {_counted(named)}: all are split 80/10/10 instead; "
            "name one of them train, or type --splits"
        )
    shares = shares or DEFAULT
    for row in rows:
        row.split = _drawn(row.id, shares)
    if rows and not any(row.split == "train" for row in rows):
        # so few rows that chance left train empty: it takes one from the largest split
        largest = Counter(row.split for row in rows).most_common(1)[0][0]
        min((r for r in rows if r.split == largest), key=lambda r: stable_hash(r.id)).split = "train"
    for name in shares:
        if not any(row.split == name for row in rows):
            say(f"the split {name} is empty: it gets no file")
    return list(rows)


def listed(rows: Sequence[Row], shares: dict[str, float] | None, say: Callable[[str], None]) -> list[Row]:
    """The rows that official splits leave: those in one of them, if there is a train split and no `shares`, else all."""
    if shares is not None or not any(is_train(row) for row in rows):
        return list(rows)
    found = [row for row in rows if row.split]
    if len(found) < len(rows):
        say(f"{len(rows) - len(found):,} rows are in no official split: left out (--splits takes them in)")
    return found


def _drawn(row_id: str, shares: dict[str, float]) -> str:
    point = (stable_hash(f"split:{row_id}") + 2**63) / 2**64
    for name, share in shares.items():
        point -= share
        if point < 0:
            return name
    return next(reversed(shares))


def is_train(row: Row) -> bool:
    """The source itself counts the row to train; its splits are settled."""
    return row.split == "train"
