"""The words of zero-shot classification: names of classes, and templates that make sentences of them. No torch here.

`templates/openai.txt` holds the 80 templates of CLIP's ImageNet ensemble (arXiv:2103.00020, section 3.1.4; openai/CLIP,
notebooks/Prompt_Engineering_for_ImageNet.ipynb, MIT licence), in the order of CLIP_benchmark's `imagenet1k`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from mmkit.errors import UsageError, UserError, nearest
from mmkit.files import read_json

# what OpenAI's notebook, CLIP_benchmark, open_clip, and `prep folder --template` write in the place of a class
PLACE = re.compile(r"\{(c|label|classname|class)?\}")
SHIPPED = {"openai": "openai.txt", "imagenet": "openai.txt", "imagenet1k": "openai.txt"}
CLIP = "a photo of a {c}."  # what CLIP's own figures without an ensemble were measured with
BARE = "{c}"
CAPTIONS_READ, MOST = 1000, 0.5  # rows, and the share of their captions that one template must make
FILES = (".txt", ".json")


@dataclass(frozen=True)
class Classes:
    """What a picture may be.

    Args:
        names: of the C classes, as prompts say them, in order.
        labels: what the dataset calls each of them.
        source: where they come from, for people.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    source: str

    def numbers(self, labels: Iterable[str]) -> dict[str, int]:
        """label -> number of its class, for those that are one.

        As written, else whatever the case and with `_` for a space; where no label is found so and all are whole numbers,
        they are the places of the classes, from 0.
        """
        wanted = sorted(set(labels))
        exact = {label: i for i, label in enumerate(self.labels)}
        alike: dict[str, list[int]] = {}
        for i, label in enumerate(self.labels):
            alike.setdefault(_plain(label), []).append(i)
        found = {label: exact[label] for label in wanted if label in exact}
        for label in wanted:
            if label not in found and len(same := alike.get(_plain(label), [])) == 1:
                found[label] = same[0]
        if not found and all(re.fullmatch(r"[0-9]+", label) for label in wanted):
            found = {label: int(label) for label in wanted if int(label) < len(self.names)}
        return found


@dataclass(frozen=True)
class Templates:
    """Sentences with a place for the name of a class, and where they come from, for people."""

    sentences: tuple[str, ...]
    source: str

    def fill(self, name: str) -> list[str]:
        """The sentences of one class.

        >>> Templates(("a photo of a {c}.",), "").fill("cat")
        ['a photo of a cat.']
        """
        return [PLACE.sub(lambda found: name, sentence) for sentence in self.sentences]


def classes_of(words: Sequence[str], dataset: Iterable[str], labels: Iterable[str], column: str) -> Classes:
    """The classes that `--classes` names: `a,b,c`, a text file of one a line, or a JSON list, object of label -> name, or
    object of dataset -> list (CLIP_benchmark's classnames); without words, the labels of the data.

    Args:
        dataset: what the dataset is called, of which such an object may hold the classes.
        labels: all that the column of labels holds, of every split.
        column: its name.

    Raises:
        UserError: a file cannot be read, one name stands twice, or there are fewer than two.
    """
    if not words:
        found = sorted(set(labels))
        pairs = [(label, " ".join(label.replace("_", " ").split())) for label in found]
        source = f"column {column}"
    else:
        pairs = [pair for word in words for pair in _classes(word, dataset)]
        source = ", ".join(dict.fromkeys(Path(word).name if _is_file(word) else "--classes" for word in words))
    names = [name for _, name in pairs]
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise UserError(f"two classes are called {twice!r}", source, 'a JSON object {"label": "name"} gives each its own name')
    if len(names) < 2:
        alone = f"there is one class alone, {names[0]!r}, and nothing to tell it from" if names else ""
        raise UserError(alone or "there are no classes to tell apart", source, '--classes "a,b,c", or a file of one name a line')
    return Classes(tuple(names), tuple(label for label, _ in pairs), source)


def templates_of(words: Sequence[str], dataset: Iterable[str]) -> Templates:
    """The templates that `--templates` names: a set that ships (`openai`), a text file of one a line, a JSON list or object of
    dataset -> list (CLIP_benchmark's), or a template itself.

    Raises:
        UserError: a file cannot be read, or a template has no place for the class.
    """
    found: list[str] = []
    for word in words:
        found += _templates(word, dataset)
    for sentence in found:
        if not PLACE.search(sentence):
            where = ", ".join(words)
            raise UserError(f"the template {sentence!r} has no place for the class", where, "write {} or {c} there")
    return Templates(tuple(dict.fromkeys(found)), ", ".join(words))


def fitting(captions: Iterable[tuple[str, str]], own: bool) -> Templates:
    """The template for a model where none is named: that by which most captions of the data are made of their labels, as `prep
    folder` makes them; else of a model that was trained here the bare name, and CLIP's sentence of a checkpoint.

    A text encoder that was trained on a few thousand captions has seen the names and no sentences around them: of a run on
    emoji the bare name reached an accuracy of 0.31, CLIP's sentence 0.14, its 80 templates 0.11 (chance 0.11).

    Args:
        captions: (label, caption) of some rows.
        own: the model was trained here.
    """
    seen: Counter[str] = Counter()
    for label, caption in captions:
        name = label.replace("_", " ")
        seen[caption.replace(name, BARE, 1) if name in caption else ""] += 1
    most, count = seen.most_common(1)[0] if seen else ("", 0)
    if most and count > MOST * seen.total():
        return Templates((most,), "the captions of the data")
    return Templates((BARE,), "a run's default") if own else Templates((CLIP,), "a checkpoint's default")


def _classes(word: str, dataset: Iterable[str]) -> list[tuple[str, str]]:
    """(label, name) of each class."""
    if not _is_file(word):
        return [(name, name) for part in word.split(",") if (name := part.strip())]
    value = _read(word)
    if isinstance(value, dict) and value and all(isinstance(name, str) for name in value.values()):
        return [(str(label), name) for label, name in value.items()]
    return [(name, name) for name in _listed(value, word, dataset)]


def _templates(word: str, dataset: Iterable[str]) -> list[str]:
    if word in SHIPPED:
        text = (resources.files("mmkit") / "metrics" / "templates" / SHIPPED[word]).read_text(encoding="utf-8")
        return text.splitlines()
    if not _is_file(word):
        if PLACE.search(word):
            return [word]
        hint = f"{nearest(word, SHIPPED)}; or a file, or a sentence with {{}} in the place of the class"
        raise UsageError(f"no templates are called {word!r}", "--templates", hint)
    return _listed(_read(word), word, dataset)


def _is_file(word: str) -> bool:
    # a list of classes may be longer than a name can be, where Path.is_file fails
    return Path(_parted(word)[0]).suffix.lower() in FILES or os.path.isfile(word)


def _parted(word: str) -> tuple[str, str]:
    """`FILE.json:KEY` as file and key, the key empty where there is none."""
    file, _, key = word.rpartition(":")
    return (file, key) if file.lower().endswith(".json") else (word, "")


def _read(word: str) -> Any:
    """The lines of a text file, or the value of a JSON file."""
    path, key = _parted(word)
    if Path(path).suffix.lower() == ".json":
        value = read_json(path)
        if not key:
            return value
        if not isinstance(value, dict) or key not in value:
            raise UserError(f"no {key!r} in it", path, nearest(key, value) if isinstance(value, dict) else "")
        return value[key]
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError("no such file", path) from None
    except UnicodeDecodeError as e:
        raise UserError("not UTF-8", path, f"iconv -f latin1 -t utf-8 {path}") from e
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError("the file is empty", path, "one name, or one template, a line")
    return lines


def _listed(value: Any, word: str, dataset: Iterable[str]) -> list[str]:
    """A list of texts: the value itself, or of an object that of the dataset, or the only one.

    Raises:
        UserError: it is neither, or which one is not known.
    """
    if isinstance(value, dict):
        key = next((name for name in dataset if name in value), next(iter(value)) if len(value) == 1 else None)
        if key is None:
            first = next(iter(value), "KEY")
            what = f"a JSON object of {len(value)} lists, none of them called as the dataset"
            raise UserError(what, word, f"name one: {word}:{first}   ({few(value)})")
        value = value[key]
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item.strip() for item in value):
        raise UserError("neither a list of texts nor an object of such lists", word)
    return [item.strip() for item in value]


def few(names: Iterable[str]) -> str:
    """The first of some names, for a message."""
    listed = [*names]
    return ", ".join(listed[:6]) + (" …" if len(listed) > 6 else "")


def _plain(label: str) -> str:
    return " ".join(label.replace("_", " ").split()).casefold()
