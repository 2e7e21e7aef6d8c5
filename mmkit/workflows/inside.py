"""What a report shows of the inside of a model: a map of its space, what single answers rest on, what each input contributes."""

from __future__ import annotations

from itertools import islice
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.bootstrap import numbers
from mmkit.data.images import load_cell
from mmkit.data.shards import Dataset
from mmkit.encode import cell_items, columns_of
from mmkit.errors import UserError
from mmkit.explain.asked import picture_of, words_of
from mmkit.explain.attention import Box, Explanation, explain, on_picture
from mmkit.metrics.evaluation import Request
from mmkit.space.gap import Gap
from mmkit.vectors import Embeddings
from mmkit.views import attention, contribution, scatter
from mmkit.views.attention import Looked
from mmkit.views.report import Shown
from mmkit.views.style import WIDTH, Theme
from mmkit.workflows import maps
from mmkit.workflows.contribution import Contribution
from mmkit.workflows.contribution import contribution as measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmkit.model import Model

MAPPED = 3000  # vectors on the map; more would be a stain, and take longer than all the rest
LARGEST = 320  # pixels of a picture with a map; more would make the page heavy, and nothing clearer
LOOKED = 4  # rows whose attention is shown
MEASURED = 300  # rows whose contributions are measured
SMALL_GAP = 0.3  # where the words change; no standard
SMALL = "Here it is small: the kinds share one region."
USUAL = (
    "The kinds keep to regions of their own here, as is usual for models trained this way (arXiv:2203.02053). Only the order of "
    "the distances counts, so they need not overlap on the map."
)
SHARES = (
    "Gradient: how steeply the score rises along the input. Ablation: what is lost where it alone is removed. Shapley: what it "
    "adds on average, whatever other inputs are there. Lines are 95 % intervals."
)


def shown_map(found: Embeddings) -> Shown:
    """All items on one map; of many samples some, with all of their items."""
    made = maps.make(_some(found))
    by = made.colouring("modality")

    def draw(theme: Theme) -> Figure:
        return scatter.space_map(made.points, by, made.modality, made.pairs, theme, width=WIDTH, height=4.9)

    some = f" Shown are {len(made.points):,} of {len(found):,}." if len(made.points) < len(found) else ""
    words = [
        f"Every item is a point in the same space. Here its many dimensions are brought down to two ({maps.method_name(made)}); "
        f"a thin line joins what belongs together. Short lines mean that the two came to lie together.{some}"
    ]
    for gap in made.gaps:
        words += [_gap_in_words(gap), SMALL if gap.distance < SMALL_GAP else USUAL]
    return Shown(draw, "Map of the shared space in two dimensions", words)


def _gap_in_words(gap: Gap) -> str:
    one, two = gap.between
    apart = (
        f"The mean {one} and the mean {two} are {gap.distance:.2f} apart: that is the modality gap (0 would be none, 2 is the "
        "most there can be)."
    )
    if isnan(gap.matching):
        return apart
    others = "" if isnan(gap.other) else f", others {gap.other:z.2f}"
    together = f"{one.capitalize()} and {two} that belong together have a cosine of {gap.matching:z.2f} on average"
    return f"{together}{others}. {apart}"


def _some(found: Embeddings) -> Embeddings:
    """At most `MAPPED` rows or so, all of a sample or none."""
    if len(found) <= MAPPED:
        return found
    samples = numbers(found.ids)
    count = int(samples.max()) + 1
    kept = np.random.default_rng(0).permutation(count)[: max(2, count * MAPPED // len(found))]
    return found.only(np.flatnonzero(np.isin(samples, kept)))


def shown_attention(model: Model, data: Dataset, split: str | None) -> list[Shown]:
    """What the model looks at in a few rows of a split.

    Raises:
        UserError: it reads no pictures, or has nothing to show of them.
    """
    picture, words = picture_of(model), words_of(model)
    columns = columns_of(model, data, [picture, *([words] if words else [])])
    if picture not in columns:
        raise UserError(f"the dataset has no {picture} column", data.path)
    shown: list[Shown] = []
    for row in islice(data.rows(split, list(dict.fromkeys(["id", *columns.values()]))), 4 * LOOKED):
        texts = cell_items(model, words, row[columns[words]]) if words in columns and words else []
        if row[columns[picture]] and (texts or words not in columns) and len(shown) < LOOKED:
            text = texts[0] if texts else None
            shown.append(_looked(row[columns[picture]], text, explain(model, row[columns[picture]], text)))
    return shown


def _looked(item: dict[str, Any], text: str | None, found: Explanation) -> Shown:
    photo = load_cell(item)
    photo.thumbnail((LARGEST, LARGEST))
    heat = on_picture(found.grid, _scaled(found, photo.width / found.size[0]), photo.size)
    words = [(word.text, word.weight) for word in found.words]
    said = f"answer: {found.answer}" if found.answer is not None else ""
    looked = Looked(photo, heat, words, said)

    def draw(theme: Theme) -> Figure:
        return attention.attention(looked, theme)

    return Shown(draw, f"What the model looks at for: {text or 'the picture alone'}")


def _scaled(found: Explanation, scale: float) -> Box:
    """The part that the model saw, of a picture drawn smaller."""
    left, top, right, bottom = (edge * scale for edge in found.shown)
    return left, top, right, bottom


def shown_contribution(model: Model, data: Dataset, split: str | None) -> Shown:
    """The share of each input in what the model says of a split.

    Raises:
        UserError: the model has one input only, or the data lacks one.
    """
    found = measure(model, data, Request("contribution", split=split, limit=MEASURED))
    shares, removal = found.record["shares"], found.telling

    def draw(theme: Theme) -> Figure:
        return contribution.contribution(shares, removal, theme=theme)

    return Shown(draw, "Share of each input by three methods", [_meaning(found), SHARES, *_ignored(found, removal)])


def _meaning(found: Contribution) -> str:
    of = "what the model gives to the true answer" if found.targeted else "how alike the model finds what belongs together"
    stands = {"shuffle": "that of another row stands there", "mean": "the average of all stands there"}[found.telling]
    return f"Measured on {len(found.ids):,} samples: each input's share in {of}. Where one is removed, {stands}."


def _ignored(found: Contribution, removal: str) -> list[str]:
    names = found.ignored(removal)
    return [f"The model ignores the {' and the '.join(names)}: what it says does not depend on it."] if names else []
