"""What the audit counts of the values of one modality, by the form that they are stored in; a few numbers a value."""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmkit.data import sounds, videos
from mmkit.data.images import FLAT, Look, bytes_of, look
from mmkit.data.modalities import MODALITIES
from mmkit.errors import UserError
from mmkit.files import stable_hash

CONTEXT = 77
TOKENS_PER_WORD = 1.3
SHOWN = 5  # classes and answers that are named
STEPS = 10  # of a histogram
ESTIMATE = f"words x {TOKENS_PER_WORD} + 2 against CLIP's context of {CONTEXT}; the tokenizer of a model decides"
# scripts without spaces count one word a character
_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\W\u2e80-\u9fff\uf900-\ufaff]+")


class Tally:
    """The values of one modality.

    Args:
        plural: what they are called.
    """

    def __init__(self, plural: str) -> None:
        self.plural = plural
        # hashes of what is told apart, and the rows they are in
        self.hashes, self.rows = array("q"), array("q")
        # kind of fault -> the rows that have it
        self.faults: dict[str, array[int]] = {}

    def seen(self, value: Any) -> Any:
        """What `add` is given of a value; called from any thread."""
        return value

    def add(self, seen: Any, row: int) -> None:
        """Count a value."""

    def found(self, rows: int) -> dict[str, Any]:
        """Its lines of the audit."""
        return {}

    def facts(self, rows: int) -> dict[str, Any]:
        """What dataset.json says of the modality."""
        return {}


class Pictures(Tally):
    """Encoded pictures, which are decoded once."""

    def __init__(self, plural: str) -> None:
        super().__init__(plural)
        self.width, self.height = array("i"), array("i")
        # linked ones that have gone, those that cannot be decoded, those that show next to nothing
        self.missing = array("q")
        self.faults = {kind: array("q") for kind in ("unreadable_images", "one_colour_images", "low_contrast_images")}

    def seen(self, value: Any) -> tuple[int, Look] | UserError | OSError:
        try:
            data = bytes_of(value)
            return stable_hash(data), look(data)
        except (OSError, UserError) as e:
            return e

    def add(self, seen: tuple[int, Look] | UserError | OSError, row: int) -> None:
        if not isinstance(seen, tuple):
            # what is not there is no duplicate of anything
            (self.missing if isinstance(seen, OSError) else self.faults["unreadable_images"]).append(row)
            return
        digest, shown = seen
        self.hashes.append(digest)
        self.rows.append(row)
        self.width.append(shown.size[0])
        self.height.append(shown.size[1])
        if shown.levels < FLAT:
            self.faults["one_colour_images" if shown.levels == 1 else "low_contrast_images"].append(row)

    def found(self, rows: int) -> dict[str, Any]:
        return {"missing_images": len(self.missing)}

    def facts(self, rows: int) -> dict[str, Any]:
        sides = (("median_width", self.width), ("median_height", self.height))
        return {name: int(np.median(np.array(side))) if len(side) else None for name, side in sides}


class Videos(Pictures):
    """Encoded videos, of which a few frames are decoded."""

    def __init__(self, plural: str) -> None:
        super().__init__(plural)
        self.faults = {f"unreadable_{plural}": array("q")}
        self.frames, self.seconds = array("q"), array("d")

    def seen(self, value: Any) -> tuple[int, Any] | UserError | OSError:
        try:
            data = bytes_of(value)
            return stable_hash(data), videos.look(data)
        except (OSError, UserError) as e:
            return e

    def add(self, seen: tuple[int, Any] | UserError | OSError, row: int) -> None:
        if not isinstance(seen, tuple):
            (self.missing if isinstance(seen, OSError) else self.faults[f"unreadable_{self.plural}"]).append(row)
            return
        self.hashes.append(seen[0])
        self.rows.append(row)
        self.width.append(seen[1].size[0])
        self.height.append(seen[1].size[1])
        self.frames.append(len(seen[1].times))
        self.seconds.append(seen[1].seconds)

    def found(self, rows: int) -> dict[str, Any]:
        if not self.frames:
            return {}
        seconds = np.array(self.seconds)
        spread = {name: round(float(np.percentile(seconds, q)), 3) for name, q in (("min", 0), ("p50", 50), ("max", 100))}
        sizes = {"frames": _spread(np.array(self.frames)), "seconds": spread | {"total": round(float(seconds.sum()), 3)}}
        return {self.plural: sizes | {"missing": len(self.missing)}}


class Texts(Tally):
    """Lists of texts."""

    def __init__(self, plural: str) -> None:
        super().__init__(plural)
        self.text_hashes, self.text_rows = array("q"), array("q")
        self.words, self.chars = array("i"), array("i")

    def add(self, seen: Sequence[str], row: int) -> None:
        for text in seen:
            self.text_hashes.append(stable_hash(" ".join(unicodedata.normalize("NFC", text).casefold().split())))
            self.text_rows.append(row)
            self.words.append(len(_WORD.findall(text)))
            self.chars.append(len(text))

    def found(self, rows: int) -> dict[str, Any]:
        if not self.words:
            return {}
        words = np.array(self.words)
        hashes, places = np.array(self.text_hashes, np.int64), np.array(self.text_rows, np.int64)
        pairs = np.unique(np.stack([hashes, places]), axis=1)  # a caption counts once a row
        _, images = np.unique(pairs[0], return_counts=True)
        over = int((np.ceil(words * TOKENS_PER_WORD) + 2 > CONTEXT).sum())
        return {
            "caption_words": _spread(words),
            "caption_chars": _spread(np.array(self.chars)),
            "captions_per_row": round(len(words) / rows, 2),
            "over_context": {"captions": over, "share": round(over / len(words), 4), "estimate": ESTIMATE},
            "equal_captions": {
                "distinct": len(images),
                "on_several_images": int((images > 1).sum()),
                "rows_times_captions": int(images[images > 1].sum()),
            },
        }

    def facts(self, rows: int) -> dict[str, Any]:
        if not self.chars:
            return {}
        chars = _spread(np.array(self.chars))
        per_row = round(len(self.chars) / rows, 2)
        return {"caption_chars_p50": chars["p50"], "caption_chars_p99": chars["p99"], "captions_per_row": per_row}


class Numbers(Tally):
    """Channels of numbers."""

    def __init__(self, plural: str) -> None:
        super().__init__(plural)
        self.channels, self.lengths = array("i"), array("i")

    def seen(self, value: Sequence[Sequence[float]]) -> tuple[int, int, int]:
        return stable_hash(np.asarray(value, np.float32).tobytes()), len(value), max(map(len, value))

    def add(self, seen: tuple[int, int, int], row: int) -> None:
        digest, channels, length = seen
        self.hashes.append(digest)
        self.rows.append(row)
        self.channels.append(channels)
        self.lengths.append(length)

    def found(self, rows: int) -> dict[str, Any]:
        sizes = {"channels": _spread(np.array(self.channels)), "length": _spread(np.array(self.lengths))}
        return {self.plural: sizes} if self.lengths else {}

    def facts(self, rows: int) -> dict[str, Any]:
        if not self.lengths:
            return {}
        length = _spread(np.array(self.lengths))
        return {"channels": max(self.channels), "length_p50": length["p50"], "length_max": length["max"]}


class Sounds(Tally):
    """Encoded sounds, which are decoded once."""

    def __init__(self, plural: str) -> None:
        super().__init__(plural)
        self.seconds = array("d")
        self.rates = Counter[int]()
        self.faults = {kind: array("q") for kind in ("unreadable_sounds", "silent_sounds")}

    def seen(self, value: Any) -> tuple[int, float, int, bool] | UserError:
        try:
            found = sounds.look(sounds.source_of(value))
            return stable_hash(bytes_of(value)), found.seconds, found.rate, not found.silent
        except UserError as e:
            return e

    def add(self, seen: tuple[int, float, int, bool] | UserError, row: int) -> None:
        if not isinstance(seen, tuple):
            self.faults["unreadable_sounds"].append(row)
            return
        digest, seconds, rate, loud = seen
        self.hashes.append(digest)
        self.rows.append(row)
        self.seconds.append(seconds)
        self.rates[rate] += 1
        if not loud:
            self.faults["silent_sounds"].append(row)

    def found(self, rows: int) -> dict[str, Any]:
        if not self.seconds:
            return {}
        rates = {str(rate): n for rate, n in self.rates.most_common()}
        return {"sounds": self.facts(rows) | {"seconds": round(sum(self.seconds), 1), "rates": rates}}

    def facts(self, rows: int) -> dict[str, Any]:
        """Seconds of a sound, and the rate of most."""
        if not self.seconds:
            return {}
        spread = np.percentile(np.array(self.seconds), (0, 50, 99, 100))
        lengths = {f"seconds_{name}": round(float(s), 3) for name, s in zip(("min", "p50", "p99", "max"), spread, strict=True)}
        return lengths | {"rate": self.rates.most_common(1)[0][0]}


class Regions(Tally):
    """Boxes with features."""

    def __init__(self, plural: str) -> None:
        super().__init__(plural)
        self.counts, self.widths = array("i"), array("i")

    def seen(self, value: dict[str, Any]) -> tuple[int, int] | None:
        return (len(value["boxes"]), len(value["features"][0])) if value["features"] else None

    def add(self, seen: tuple[int, int] | None, row: int) -> None:
        if seen:
            self.counts.append(seen[0])
            self.widths.append(seen[1])

    def found(self, rows: int) -> dict[str, Any]:
        sizes = {"per_row": _spread(np.array(self.counts)), "features": _spread(np.array(self.widths))}
        return {self.plural: sizes} if self.counts else {}


class Labels(Tally):
    """Classes: one text, or a list of them."""

    def __init__(self, plural: str) -> None:
        super().__init__(plural)
        self.classes = Counter[str]()

    def add(self, seen: Any, row: int) -> None:
        self.classes.update(map(str, seen) if isinstance(seen, list) else [str(seen)])

    def found(self, rows: int) -> dict[str, Any]:
        counts = self.classes.most_common()
        if not counts:
            return {}
        largest, smallest = dict(counts[:SHOWN]), dict(counts[-SHOWN:])
        imbalance = round(counts[0][1] / counts[-1][1], 2)
        return {"labels": {"classes": len(counts), "largest": largest, "smallest": smallest, "imbalance": imbalance}}


class Questions(Tally):
    """Lists of questions with their answers."""

    def __init__(self, plural: str) -> None:
        super().__init__(plural)
        self.asked = self.unanswered = 0
        self.types, self.answers = Counter[str](), Counter[str]()

    def add(self, seen: Sequence[dict[str, Any]], row: int) -> None:
        self.asked += len(seen)
        self.unanswered += sum(not question["answers"] for question in seen)
        self.types.update(question["type"] for question in seen if question["type"])
        for question in seen:
            self.answers.update(question["answers"] or ())

    def found(self, rows: int) -> dict[str, Any]:
        if not self.asked:
            return {}
        found = {"count": self.asked, "without_answers": self.unanswered, "types": dict(self.types.most_common())}
        return {"questions": found | {"answers": len(self.answers), "frequent": dict(self.answers.most_common(SHOWN))}}


class Targets(Tally):
    """Numbers that are to be predicted."""

    def __init__(self, plural: str) -> None:
        super().__init__(plural)
        self.values = array("d")

    def add(self, seen: float, row: int) -> None:
        self.values.append(seen)

    def found(self, rows: int) -> dict[str, Any]:
        """Range, mean and standard deviation, and how many lie in each of equally wide steps from the least to the most."""
        if not self.values:
            return {}
        counts, edges = np.histogram(self.values, STEPS)
        steps = {"edges": [round(float(edge), 6) for edge in edges], "counts": counts.tolist()}
        return {"target": self._spread() | {"histogram": steps}}

    def facts(self, rows: int) -> dict[str, Any]:
        return self._spread() if self.values else {}

    def _spread(self) -> dict[str, float]:
        values = np.array(self.values)
        spread = {"min": values.min(), "max": values.max(), "mean": values.mean(), "std": values.std()}
        return {name: round(float(value), 6) for name, value in spread.items()}


# what a row may have beside its modalities, by the kind of its column
EXTRA: dict[str, type[Tally]] = {"label": Labels, "questions": Questions, "target": Targets}


def tally_of(kind: str) -> Tally:
    """The tally of a kind of column; of a modality by its feature."""
    if kind in EXTRA:
        return EXTRA[kind](kind)
    inner, depth = MODALITIES[kind].FEATURE, 0
    while inner.get("_type") == "List":
        inner, depth = inner["feature"], depth + 1
    form = FORMS.get((depth, inner.get("dtype", inner.get("_type"))), Tally)
    plural = "sounds" if form is Sounds else kind if kind.endswith("s") else f"{kind}s"
    return form(plural)


FORMS: dict[tuple[int, str | None], type[Tally]] = {
    (0, "Image"): Pictures,
    (0, "Audio"): Sounds,
    (0, "Video"): Videos,
    (1, "string"): Texts,
    (2, "float32"): Numbers,
    (0, None): Regions,
}


def _spread(values: np.ndarray) -> dict[str, int]:
    return {name: int(np.percentile(values, q)) for name, q in (("min", 0), ("p50", 50), ("p99", 99), ("max", 100))}
