"""The things that a caption names: words and phrases that mean one of a list of things, the 80 of COCO unless a file says others.

As CHAIR looks for them (Rohrbach et al. 2018, arXiv:1809.02156, and the authors' code), but that the singular is found by rules
instead of a lexicon, and that of phrases the longest counts. No torch here.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from mmkit.errors import UserError
from mmkit.metrics.ngrams import words_of

DEFAULT = Path(__file__).parent / "templates" / "coco_objects.txt"
NAME = "COCO's 80"
FORM = "a thing a line: its name, then other words for it, with commas"
ORDER = 3  # words of the longest phrase

# that which has no rule
SINGULAR = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "mice": "mouse",
    "geese": "goose",
    "oxen": "ox",
    "calves": "calf",
}
# endings of plurals -> those of their singulars; "es" of buses and sandwiches before "s" of horses, and "ves" of knives
PLURALS = (("ies", ("y", "ie")), ("ves", ("fe", "f", "ve")), ("es", ("", "e")), ("s", ("",)))
# what stands before an animal or a vehicle and is no person there: a baby bird, a passenger train
QUALIFIERS = {"baby": "animal", "adult": "animal", "passenger": "vehicle"}
ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "animal", "cub")
QUALIFIED = {"animal": frozenset(ANIMALS), "vehicle": frozenset(("jet", "train"))}
# phrases that are no thing of the list, though a word of theirs is
NOTHING = frozenset(("home plate",))


class Mention(NamedTuple):
    """A word or phrase of a text, and the thing that it means."""

    words: str
    thing: str


class Things:
    """A list of things.

    Args:
        name: of the list, as records call it.
        groups: of each thing its name and other words for it.
    """

    def __init__(self, name: str, groups: list[list[str]]) -> None:
        self.name = name
        self.count = len({group[0] for group in groups})
        self.known = {" ".join(words_of(word)): group[0] for group in groups for word in group}

    def of(self, text: str) -> list[Mention]:
        """The things that a text names, each as often as it does.

        >>> [one.thing for one in things().of("A baby elephant beside two men on motor bikes; hot dogs")]
        ['elephant', 'person', 'motorcycle', 'hot dog']
        """
        words = words_of(text)
        found, at = [], 0
        while at < len(words):
            n, mention = self._at(words, at)
            if mention is not None:
                found.append(mention)
            at += n
        # the seat of a toilet is no chair, wherever in the text it stands
        toilet = any(one.words in ("toilet", "toilets") for one in found)
        return [one for one in found if not (toilet and one.words in ("seat", "seats"))]

    def _at(self, words: tuple[str, ...], at: int) -> tuple[int, Mention | None]:
        """How many words the longest phrase has that begins there, and what it means."""
        kind = QUALIFIERS.get(words[at])
        if kind and at + 1 < len(words) and not QUALIFIED[kind].isdisjoint(singulars(words[at + 1])):
            return 1, None
        for n in range(min(ORDER, len(words) - at), 0, -1):
            *first, last = words[at : at + n]
            for form in singulars(last):
                phrase = " ".join([*first, form])
                if phrase in NOTHING:
                    return n, None
                if phrase in self.known:
                    return n, Mention(" ".join(words[at : at + n]), self.known[phrase])
        return 1, None


@lru_cache(1 << 14)
def singulars(word: str) -> tuple[str, ...]:
    """What a word may be the plural of, itself first.

    >>> singulars("buses"), singulars("skis")
    (('buses', 'bus', 'buse'), ('skis', 'ski'))
    """
    if word in SINGULAR:
        return (word, SINGULAR[word])
    for ending, others in PLURALS:
        if word.endswith(ending) and len(word) > len(ending) + 1 and not word.endswith("ss"):
            return (word, *(word.removesuffix(ending) + other for other in others))
    return (word,)


def things(path: Path | None = None) -> Things:
    """The things of a file, in the form of the authors' `synonyms.txt`; of none COCO's.

    Raises:
        UserError: the file cannot be read, a word means two things, or there is none.
    """
    try:
        lines = (path or DEFAULT).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"cannot read the synonyms ({getattr(e, 'strerror', None) or 'not UTF-8'})", str(path), FORM) from e
    groups = [[word for word in map(str.strip, line.split(",")) if word] for line in lines if not line.startswith("#")]
    groups = [group for group in groups if group]
    if not groups:
        raise UserError("the file names no things", str(path), FORM)
    owner: dict[tuple[str, ...], str] = {}
    for group in groups:
        for word in group:
            if owner.setdefault(words_of(word), group[0]) != group[0]:
                raise UserError(f"{word!r} means both {owner[words_of(word)]} and {group[0]}", str(path), FORM)
    return Things(NAME if path is None else path.name, groups)
