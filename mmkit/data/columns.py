"""Which columns of a stranger's table mean what: as typed, by name, and by what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmkit.data.cells import has_words, is_blank, is_code, is_number, is_real, is_url, texts_of
from mmkit.data.modalities import MODALITIES, image, name_of, of_files, text
from mmkit.data.naming import Rows, base, filled, plain, share, value_of
from mmkit.data.questions import ROLES, Asked, find_asked, is_of_questions
from mmkit.data.schema import EXTRA
from mmkit.data.splits import folder_split
from mmkit.data.tables import Table
from mmkit.errors import UsageError, UserError, misspelt, nearest

# columns called so hold splits where their values say so; `fold` and `set` may be anything
SPLIT_NAMES = ("split", "partition", "subset", "set", "usage", "use", "phase", "fold", "part")
# a column called so holds classes where no other says what a row is: texts, which are its captions as well, or numbers
CLASS_NAMES = (
    *("category", "class", "classes", "class_name", "classname", "class_id", "labels", "label_name", "label_id", "y"),
    *("emotion", "genre", "species", "activity", "gesture"),
)
# columns of numbers called so are what a model is to predict
TARGET_NAMES = ("target", "sentiment", "sentiment_score", "valence", "polarity", "rating", "score")
# what programs call columns that have no name: their numbers tell nothing
NAMELESS = ("column", "col", "field", "unnamed", "var", "feature")
NAMED_COLUMNS = 8
SAID = 24  # columns that a hint names
ROLES_HINT = "it may hold pictures, sounds, videos or series: files, bytes or lists of numbers"
# a picture column of this grade holds files, or is called so; a caption column of that is the only one of texts
SURE, ANY = 4, 7


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of a table are; a name may be a key of objects, such as `names.zh`.

    Args:
        of: role -> its columns: one, or several that are one value; a role is that of a modality, or typed in the place of one.
        kinds: of such a role, which is the dataset's column too, the modality of what it holds.
        left: other columns that hold values of a modality.
        asked: those of questions and their answers.
    """

    of: dict[str, tuple[str, ...]]
    kinds: dict[str, str]
    label: str | None
    target: str | None
    split: str | None
    id: str | None
    left: tuple[str, ...]
    asked: Asked | None = None

    @property
    def values(self) -> list[str]:
        """The columns of all modalities."""
        return [name for names in self.of.values() for name in names]

    @property
    def files(self) -> str | None:
        """The column that names or holds pictures, else other files."""
        roles = [modality.ROLE for modality in of_files()]
        roles += [role for role, kind in self.kinds.items() if MODALITIES[kind] in of_files()]
        return next((name for role in roles for name in self.of.get(role, ())), None)

    def held(self) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
        """The columns that the dataset gets of modalities, each with its modality and the columns of the table."""
        for modality in MODALITIES.values():
            if modality.ROLE in self.of:
                yield modality.COLUMN, modality, self.of[modality.ROLE]
        for role, kind in self.kinds.items():
            yield role, MODALITIES[kind], self.of[role]

    def read(self, table: Table) -> list[str]:
        """The columns of the table that are needed."""
        used = [name for name in (*self.values, self.label, self.target, self.split, self.id) if name is not None]
        used += self.asked.columns if self.asked else ()
        # `meta.file` may be the name of a column, or a key of the objects in the column `meta`
        needed = {name if name in table.columns else name.partition(".")[0] for name in used}
        return [name for name in table.columns if name in needed]

    @property
    def note(self) -> str:
        """What is taken and what is left, for the user."""
        note = ", ".join(f"{role} column{'s' if len(names) > 1 else ''} {_listed(names)}" for role, names in self.of.items())
        for role, name in (("id", self.id), ("split", self.split), ("label", self.label), ("target", self.target)):
            if name is not None:
                note += f", {name!r} column" if name == role else f", {role} column {name!r}"
        note += f", {self.asked.note}" if self.asked else ""
        return note + (f"; not taken: {_listed(self.left)}" if self.left else "")


def roles() -> dict[str, bool]:
    """What a column may be typed to be, and whether several may be it together."""
    return (
        {m.ROLE: hasattr(m, "cells") for m in MODALITIES.values()}
        | dict.fromkeys(("label", "target", "split", "id"), False)
        | ROLES
    )


def parse(typed: Iterable[str]) -> dict[str, list[str]]:
    """`caption=title` … as role -> names of columns; a role of one's own is a column beside those of `roles`, `depth=map`, of the
    modality that is found or said, `depth:image=map`.

    Raises:
        UsageError: it is not of that form, the role is none but nearly one, or one that only one column can have comes twice.
    """
    named: dict[str, list[str]] = {}
    for word in typed:
        role, equals, name = word.partition("=")
        if not equals or not name:
            raise UsageError("not a role and a column", f"--column {word}", "such as --column caption=title")
        known = [name for name, modality in MODALITIES.items() if not modality.LANGUAGE]
        own, colon, kind = role.partition(":")
        if colon and kind not in known:
            raise UsageError(f"no modality {kind!r}", f"--column {word}", nearest(kind, known))
        if role not in roles() and not _is_own(own):
            raise UsageError(f"no such role of a column: {role}", f"--column {word}", nearest(role, roles()))
        if role in named and not roles().get(role, True):
            raise UsageError(f"two columns for one {role}", f"--column {word}", f"leave --column {word} out")
        named.setdefault(role, []).append(name)
    return named


def _is_own(role: str) -> bool:
    """Whether a name may be that of a column of its own: `depth`, `imu`, `image_left`, but no misspelt role and no other word for
    one of the dataset's columns."""
    taken = {"id", "split", *MODALITIES, *(m.COLUMN for m in MODALITIES.values()), *EXTRA}
    if role in taken or not re.fullmatch(r"[a-z][a-z0-9_]*", role):
        return False
    return not misspelt(role, roles())


def choose(table: Table, sample: Rows, typed: Mapping[str, Sequence[str]]) -> Columns:
    """The columns of the table, as typed, else detected.

    Args:
        typed: role -> names, as `parse` gives them.

    Returns:
        The columns; what is typed as another role than those of `roles` is one of its own, of the modality that it holds.

    Raises:
        UserError: a column that is typed is not there, or there are not two that say something; the columns are named.
    """
    typed_as = {role.partition(":")[0]: role.partition(":")[2] for role in typed}
    named = {
        role.partition(":")[0]: tuple(dict.fromkeys(_typed(name, role, table, sample) for name in names))
        for role, names in typed.items()
    }
    taken = {name for names in named.values() for name in names}
    for role in ("id", "split", "label"):
        if role not in named:
            named[role] = tuple(name for name in table.columns if plain(name) == role and name not in taken)[:1]
    if not named["split"]:
        named["split"] = tuple(name for name in table.columns if name not in taken and _is_split(name, sample))[:1]
    taken |= {name for role in ("id", "split", "label") for name in named[role]}
    if "target" not in named:
        named["target"] = _target([name for name in table.columns if name not in taken], sample)
    taken |= set(named["target"])
    asked = find_asked(table, sample, named, taken)
    taken |= set(asked.columns) if asked else set()
    numbers = {name: m.ROLE for m in _others() for name in table.columns if _is_of(m, name, sample)}
    own = {role: names for role, names in named.items() if role not in roles()}
    kinds = {role: typed_as[role] or _kind(role, names, sample, table) for role, names in own.items()}
    of = _inputs(table, sample, named, taken, numbers, kinds)
    free = [name for name in table.columns if name not in taken.union(*of.values())]
    texts = [name for name in free if name not in numbers]
    captions = named.get(text.ROLE) or _captions(texts, sample, not asked and (image.ROLE in of or not named["label"]))
    of |= {text.ROLE: captions} if captions else {}
    said = len(of) + bool(named["target"]) + bool(asked)
    if of and said + bool(named["label"]) < 2:
        named["label"] = tuple(name for name in free if plain(name) in CLASS_NAMES and share(sample, name, is_code) == 1)[:1]
    if said + bool(named["label"]) < 2:
        hint = f"name it with --column {text.ROLE}=NAME; columns: {_few(table.columns)}"
        raise UserError(f"no {text.ROLE} column found", str(table.path), hint)
    if text.ROLE not in named and not named["label"] and [plain(name) in CLASS_NAMES for name in captions] == [True]:
        named["label"] = tuple(captions)
    said_by = {*captions, *named["label"]}
    noted = [name for name in free if name not in said_by and (_is_of_note(name, sample) or numbers.get(name) in of)]
    label, target, split, key = (next(iter(named[role]), None) for role in ("label", "target", "split", "id"))
    of = {role: of[role] for role in (*(m.ROLE for m in MODALITIES.values()), *kinds) if role in of}
    return Columns(of, kinds, label, target, split, key, tuple(noted), asked)


def _others() -> list[Any]:
    """The modalities that are found by what is in a column alone."""
    return [modality for modality in MODALITIES.values() if modality not in (image, text)]


def _is_of(modality: Any, name: str, sample: Rows) -> bool:
    """All of a column is of a modality; what may be of two, as a GIF may, by the name of the column or what else is in it."""
    if (part := share(sample, name, modality.holds)) == 1:
        return True
    called = part > 0 or plain(name) in modality.NAMES
    return called and hasattr(modality, "may_hold") and share(sample, name, modality.may_hold) == 1


def _kind(role: str, names: Sequence[str], sample: Rows, table: Table) -> str:
    """The modality of a column that is typed to be one of its own, by what it holds.

    Raises:
        UserError: it holds texts, or nothing that a modality is made of; or several columns are not one value.
    """
    place = f"--column {role}={names[0]} of {table.path}"
    # a file is of the first modality that has its suffix, but bytes may be a picture of any form
    named = share(sample, names[0], lambda value: isinstance(value, str)) == 1
    order = [image, *_others()] if named else [*_others(), image]
    kind = next((name_of(m) for m in order if all(_is_of(m, name, sample) for name in names)), None)
    if kind is None:
        raise UserError(f"{role} is no role, and {names[0]!r} holds nothing to make a column of that name of", place, ROLES_HINT)
    if len(names) > 1 and not hasattr(MODALITIES[kind], "cells"):
        raise UserError(f"two columns for one {role}", place, f"leave --column {role}={names[1]} out")
    return kind


def _inputs(
    table: Table,
    sample: Rows,
    named: Mapping[str, tuple[str, ...]],
    taken: set[str],
    numbers: Mapping[str, str],
    kinds: Mapping[str, str],
) -> dict[str, tuple[str, ...]]:
    """Role -> columns of the modalities but texts: as typed, else pictures, else others by what they hold.

    Beside pictures, a list of numbers may be a box or an embedding: there only one of a usual name counts.
    """
    of = {role: named[role] for role in (*(m.ROLE for m in MODALITIES.values() if m is not text), *kinds) if role in named}
    graded = [
        (grade, name) for name in table.columns if name not in taken | numbers.keys() and (grade := _as_image(name, sample))
    ]
    best = min(graded, key=lambda item: (item[0], _rank(plain(item[1]), image.NAMES)), default=(8, ""))
    if image.ROLE not in of and best[0] <= SURE:
        of[image.ROLE] = (best[1],)
    for m in _others():
        fits = [name for name in table.columns if numbers.get(name) == m.ROLE and name not in taken]
        fits = [name for name in fits if plain(name) in m.NAMES or image.ROLE not in of]
        if fits and m.ROLE not in of:
            of[m.ROLE] = (min(fits, key=lambda name: _rank(plain(name), m.NAMES)),)
    if not of and not graded and ((text.ROLE in named and named["label"]) or named["target"]):
        return {}  # texts with labels, as someone who names the texts may mean it, or with numbers to predict
    if not of and not graded:
        hint = f"name it with --column {image.ROLE}=NAME (or audio, video, series); columns: {_few(table.columns)}"
        raise UserError(f"no {image.ROLE} column found", str(table.path), hint)
    return of or {image.ROLE: (best[1],)}


def _typed(name: str, role: str, table: Table, sample: Rows) -> str:
    """A column as typed; `names.zh` is a key of the objects in `names`, `1` is `column 1` of a table without header."""
    if name in table.columns:
        return name
    if f"column {name}" in table.columns:
        return f"column {name}"
    if "." in name and any(value_of(row, name) is not None for row in sample):
        return name
    place = f"--column {role}={name} of {table.path}"
    raise UserError(f"no column {name!r}", place, f"columns: {_few(table.columns)}")


def _as_image(name: str, sample: Rows) -> int:
    """From 1, surely the pictures, to 7, numbers that may be the names of files; 0 is none of them."""
    sure, named = plain(name) == image.ROLE, plain(name) in image.NAMES
    files = share(sample, name, lambda value: image.holds(value) and not is_url(value)) > 0.5
    if files and named:
        return 1 if sure else 2
    if not filled(sample, name) or share(sample, name, is_number) > 0.5:
        # a blank one may be filled further down
        return 7 if named else 0
    if sure or files:
        return 3 if sure else 4
    # paths without a suffix, or links
    return 5 if named else 6 if share(sample, name, image.holds) > 0.5 else 0


def _captions(free: Sequence[str], sample: Rows, any_name: bool) -> tuple[str, ...]:
    """The columns of captions: the most telling one, and those that are numbered like it (`caption_0`, `caption_1` …).

    Args:
        any_name: the only column of texts counts, whatever it is called.
    """
    texts = [name for name in free if share(sample, name, lambda value: text.holds(value) and not is_number(value)) > 0.5]
    codes = {name for name in free if share(sample, name, is_code) > 0.5}
    single = [name for name in texts if name not in codes] or texts
    graded = [(grade, name) for name in free if (grade := _as_caption(name, sample, texts, codes, single))]
    if not graded or (min(graded)[0] == ANY and not any_name):
        return ()
    # where names tell nothing, the longest texts
    best, lead = min(graded, key=lambda g: (g[0], _rank(base(g[1]), text.NAMES) if g[0] != 4 else -_length(sample, g[1])))
    word = base(lead)
    if len(word) < 3 or word in NAMELESS:
        return (lead,)
    # a sibling may be blank in the first rows; one of numbers or ids is none
    return tuple(name for name in free if base(name) == word and (best > 4 or name not in codes))


def _as_caption(name: str, sample: Rows, texts: Sequence[str], codes: set[str], single: Sequence[str]) -> int:
    """From 1, surely captions, to 7, the only text there is, whatever its name; 0 is none of them.

    Args:
        texts, codes, single: the columns that hold texts, those that hold numbers or ids, and the texts that are no codes.
    """
    sure, usual = base(name) == text.ROLE, base(name) in text.NAMES
    if not filled(sample, name):
        # it may be filled further down
        return 3 if sure else 0
    if name in codes:
        grade = 5 if sure else 6 if usual and name in texts else 0
    elif sure:
        grade = 1
    else:
        # no usual name: sentences rather than paths
        grade = (2 if usual else 4 if share(sample, name, has_words) > 0.5 else 0) if name in texts else 0
    return grade or (ANY if single == [name] else 0)


def _is_split(name: str, sample: Rows) -> bool:
    """A column such as `partition` or `data_split` whose values are words for splits; numbers are none."""
    called = not set(plain(name).split("_")).isdisjoint(SPLIT_NAMES)
    return called and share(sample, name, lambda value: isinstance(value, str) and folder_split(value) is not None) == 1


def _target(free: Sequence[str], sample: Rows) -> tuple[str, ...]:
    """The only column of numbers that is called like what is to be predicted; one of two values is rather a class."""
    found = [name for name in free if _is_score(name, sample)]
    found = [name for name in found if len({float(row[name]) for row in sample if not is_blank(row.get(name))}) > 2]
    return tuple(found) if len(found) == 1 else ()


def _is_score(name: str, sample: Rows) -> bool:
    return plain(name) in TARGET_NAMES and share(sample, name, is_real) == 1


def _is_of_note(name: str, sample: Rows) -> bool:
    """A column left out that a user may want to know of: it holds texts, pictures, answers or scores, or sounds like it."""
    if is_of_questions(name) or _is_score(name, sample):
        return True
    named = filled(sample, name) and (base(name) in text.NAMES or plain(name) == image.ROLE)
    return named or share(sample, name, image.holds) > 0.5 or share(sample, name, _tells) > 0.5


def _tells(value: Any) -> bool:
    if isinstance(value, dict):
        # such as names in several languages
        return any(isinstance(item, str | list) and _tells(item) for item in value.values())
    return text.holds(value) and (has_words(value) or (isinstance(value, list) and not is_code(value)))


def _few(names: Sequence[str]) -> str:
    """Names for a hint: a table without a header may have hundreds of columns."""
    return ", ".join(names[:SAID]) + (f" … ({len(names):,} in all)" if len(names) > SAID else "")


def _rank(name: str, names: tuple[str, ...]) -> int:
    return names.index(name) if name in names else len(names)


def _length(sample: Rows, name: str) -> float:
    texts = [text for row in sample for text in texts_of(row.get(name))]
    return sum(map(len, texts)) / max(1, len(texts))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED_COLUMNS:,} more" if len(names) > NAMED_COLUMNS else ""
    return ", ".join(map(repr, names[:NAMED_COLUMNS])) + more
