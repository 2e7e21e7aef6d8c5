"""What a report shows of the inside of a model: a map of its space, what single answers rest on, what each input contributes."""

from __future__ import annotations

from itertools import islice
from math import isnan
from typing import TYPE_CHECKING

import numpy as np

from mmkit.bootstrap import numbers
from mmkit.data.shards import Dataset
from mmkit.encode import cell_items, columns_of
from mmkit.errors import UserError
from mmkit.explain.asked import can_be_looked_at, partner_of, words_of
from mmkit.explain.attention import Explanation, explain
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
from mmkit.workflows.looking import of_items

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
        UserError: it reads words alone, or has nothing to show of the rest.
    """
    inputs = can_be_looked_at(model)
    columns = columns_of(model, data, inputs)
    if not columns:
        raise UserError(f"the dataset has no {inputs[0]} column", data.path)
    looked = next(name for name in inputs if name in columns)
    columns = columns_of(model, data, model.inputs)
    words = words_of(model, looked)
    # a model without words is shown what another input makes it look at
    partner = words or partner_of(model, looked, columns)
    needed = [name for name in (looked, partner) if name in columns]
    shown: list[Shown] = []
    for row in islice(data.rows(split, list(dict.fromkeys(["id", *columns.values()]))), 4 * LOOKED):
        items = {name: cell_items(model, name, row[column]) for name, column in columns.items()}
        if all(items[name] for name in needed) and len(shown) < LOOKED:
            one = of_items(model, items, looked, row["id"])
            together = f"the {' and '.join([looked, *one.beside])} of {row['id']}" if one.beside else f"the {looked} alone"
            said = one.text or (f"the {partner} of {row['id']}" if partner in one.beside else together)
            shown.append(_looked(said, explain(model, one.item, one.text, looked=looked, beside=one.beside)))
    return shown


def _looked(asked: str, found: Explanation) -> Shown:
    words = [(word.text, word.weight) for word in found.words]
    said = f"answer: {found.answer}" if found.answer is not None else ""
    looked = Looked(found.canvas.within(LARGEST), found.grid, words, said)

    def draw(theme: Theme) -> Figure:
        return attention.attention(looked, theme)

    return Shown(draw, f"What the model looks at for: {asked}")


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
