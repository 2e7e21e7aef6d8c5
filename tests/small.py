"""Real models of the smallest size, built without a run: for tests that need one and not what it has learnt."""

from __future__ import annotations

from typing import Any

import torch

from mmkit.config import build, merge
from mmkit.data.modalities import image, regions, series, text
from mmkit.data.tokenizer import Tokenizer, train_tokenizer
from mmkit.fusion import FUSIONS
from mmkit.kinds import given_to, load
from mmkit.model import Model

WORDS = ["a red picture", "all of it is green", "blue"]
ENCODERS: dict[str, dict[str, Any]] = {
    "image": {"kind": "vit", "dim": 16, "layers": 1, "heads": 2, "patch": 8},
    "text": {"kind": "transformer", "dim": 16, "layers": 1, "heads": 2},
    "series": {"kind": "series", "dim": 16, "layers": 1, "heads": 2, "patch": 4},
    "regions": {"kind": "regions", "dim": 16},
}
DATA: dict[str, dict[str, Any]] = {
    "image": {"size": 16, "resize": "crop", "resample": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3, "augment": []},
    "text": {"context": 16, "vocab_size": 300},
    "series": {"channels": 2, "length": 12, "mean": [0.0, 1.0], "std": [1.0, 2.0]},
    "regions": {"features": 6, "labels": 3},
}
# those that fuse any inputs; the others take codes of a picture, or drive a causal language model
OF_ANY = [kind for kind, place in FUSIONS.items() if not {"grids", "encoders"} & set(given_to(load(place)))]
COLUMNS = {"image": "image", "text": "captions", "series": "series", "regions": "regions"}


def reader(name: str, context: int = DATA["text"]["context"]) -> Any:
    """A Reader of a modality, its texts in tokens of single letters and a few pieces, `context` of them at most."""
    if name == "image":
        return image.Reader(image.Spec(**DATA[name]))
    if name == "series":
        return series.Reader(series.Spec(**DATA[name]))
    if name == "regions":
        return regions.Reader(regions.Spec(**DATA[name]))
    return text.Reader(text.Spec(**DATA[name]), Tokenizer(train_tokenizer(WORDS, 300), context))


def small(
    names: tuple[str, ...] = ("image", "text"), targets: Any = None, context: int = DATA["text"]["context"], **tables: Any
) -> Model:
    """A seeded model over some modalities in eval mode; `tables` are laid over InfoNCE between all of them."""
    own = {
        "encoder": {name: dict(ENCODERS[name]) for name in names},
        "input": {name: {"column": COLUMNS[name], "modality": name, "encoder": name} for name in names},
        "project": {"dim": 8, "kind": "linear"},
        "data": {name: dict(DATA[name]) for name in names},
    }
    tables.setdefault("loss", {"itc": {"kind": "infonce", "anchor": "all"}})
    torch.manual_seed(0)
    return Model(build(merge(own, tables)), {name: reader(name, context) for name in names}, targets).eval()
