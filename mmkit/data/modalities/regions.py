"""Regions: boxes in a picture, each with the features that a detector or another network found there.

The column also holds boxes without features (generated scenes have them): these are no input of a model, and dataset.json calls
such a column `boxes`.

B rows, N regions, F values of a feature, C classes of a detector
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mmkit.data.cells import Blank
from mmkit.errors import UserError
from mmkit.fields import doc

if TYPE_CHECKING:
    import random

    import torch

    from mmkit.data.checkpoint import Checkpoint
    from mmkit.data.shards import Dataset

ROLE = COLUMN = "regions"
_TEXT = {"dtype": "string", "_type": "Value"}
_FLOAT = {"dtype": "float32", "_type": "Value"}
_FLOATS = {"feature": _FLOAT, "_type": "List"}
_VECTORS = {"feature": _FLOATS, "_type": "List"}
FEATURE = {
    "boxes": _VECTORS,  # x1, y1, x2, y2 in pixels of the stored picture
    "phrases": {"feature": _TEXT, "_type": "List"},
    "features": _VECTORS,
    "scores": _FLOATS,
    "width": _FLOAT,  # of the stored picture, pixels
    "height": _FLOAT,
    "soft_labels": _VECTORS,  # the detector's probability of each of its classes
}
SUFFIXES: set[str] = set()
NAMES = ("regions",)
KINDS = ("regions",)
ELSE = "boxes"
MADE_BY = "mmkit prep regions OUT --source DATA --encoder RUN   computes them"
ENCODER = "regions"
LANGUAGE = False

MOST = 100  # UNITER's (arXiv:1909.11740, appendix A.1)
TRAINING = ()


@dataclass
class Spec:
    features: int | None = doc("values of a feature", least=1)
    labels: int | None = doc("classes of the detector whose probabilities the rows hold; 0: they hold none", least=0)
    most: int = doc("regions of a row at most, those of the highest scores", MOST, least=1)


def is_one(value: Any) -> bool:
    """Whether a value has features, and so is more than boxes."""
    found = value.get("features") if isinstance(value, dict) else None
    return found is not None and len(found) > 0


def holds(value: Any) -> bool:
    """The struct, with features."""
    return isinstance(value, dict) and "boxes" in value and is_one(value)


def store(raw: Any) -> dict[str, Any]:
    """The struct, its features rows of float32.

    Raises:
        Blank: there is no box.
        ValueError: the lists differ in length, or not all of it is finite numbers.
    """
    import numpy as np

    if raw is None or raw.get("boxes") is None or len(raw["boxes"]) == 0:
        raise Blank("no regions")
    found = {name: raw.get(name) for name in FEATURE}
    n = len(found["boxes"])
    for name, axes in (("boxes", 2), ("features", 2), ("scores", 1), ("soft_labels", 2)):
        if found[name] is None:
            continue
        try:
            values = np.asarray(found[name], np.float32)
        except (TypeError, ValueError):
            raise ValueError(f"the {name} of the regions are not {axes} axes of numbers") from None
        if values.ndim != axes or len(values) != n or (name == "boxes" and values.shape[1] != 4):
            raise ValueError(f"{n:,} boxes, but {name} of the shape {' x '.join(map(str, values.shape))}")
        if not np.isfinite(values).all():
            raise ValueError(f"the {name} of the regions are not finite")
        found[name] = list(values)
    if found["phrases"] is not None and len(found["phrases"]) != n:
        raise ValueError(f"{n:,} boxes, but {len(found['phrases']):,} phrases")
    return found


def items(value: Any) -> list[Any]:
    return [value] if is_one(value) else []


def of_checkpoint(spec: Spec, checkpoint: Checkpoint) -> dict[str, str]:
    raise UserError("no encoder of regions can be read from a transformers checkpoint", checkpoint.name, "kind regions")


def fill(spec: Spec, data: Dataset, size: str, table: dict[str, Any]) -> dict[str, str]:
    """Width of the features and number of classes, of the first training row that has regions.

    Raises:
        UserError: no training row has any.
    """
    if spec.features is not None and spec.labels is not None:
        return {}
    column = data.column("regions")
    found = next((row[column] for row in data.rows("train", [column]) if is_one(row[column])), None)
    if found is None:
        raise UserError("no training row has regions", data.path, MADE_BY)
    why = "of the first training row that has regions"
    reasons = {}
    if spec.features is None:
        spec.features = len(found["features"][0])
        reasons["features"] = f"{spec.features} ({why})"
    if spec.labels is None:
        spec.labels = len(found["soft_labels"][0]) if found["soft_labels"] else 0
        reasons["labels"] = f"{spec.labels} ({why})"
    return reasons


def settle(spec: Spec, data: Dataset, still: bool) -> dict[str, str]:
    return {}


def learn(spec: Spec, data: Dataset, columns: list[str], limit: int | None) -> tuple[Reader, dict[str, str]]:
    return Reader(spec), {}


def foreign(spec: Spec, checkpoint: Checkpoint) -> Reader:
    return Reader(spec)


def load(spec: Spec, folder: Any, name: str) -> Reader:
    return Reader(spec)


class Reader:
    """The regions of a picture to {"features": float32 (B, N, F), "boxes": float32 (B, N, 7), "mask": bool (B, N)}, and where
    rows hold a detector's probabilities "labels": float32 (B, N, C).

    A box is x1, y1, x2, y2, w, h, w * h, each as a share of the picture (UNITER, arXiv:1909.11740, section 3.1).
    """

    still = True
    masked = 0.15  # UNITER (arXiv:1909.11740, section 3.2)

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def over(self, spec: Spec) -> Reader:
        return Reader(spec)

    def given(self) -> dict[str, Any]:
        return {"features": self.spec.features}

    def prepare(self, item: Any) -> Any:
        """name -> float32 (N, …).

        Raises:
            UserError: the features are of another width than the model's, or it is not known how large the picture is.
        """
        import numpy as np
        import torch

        features, boxes = (np.asarray(item[name], np.float32) for name in ("features", "boxes"))
        if features.ndim != 2 or features.shape[1] != self.spec.features:
            shape = " x ".join(map(str, features.shape))
            raise UserError(f"regions of {shape} values where the model reads {self.spec.features} a region")
        if not item.get("width") or not item.get("height"):
            raise UserError("regions without the width and height of their picture")
        kept = np.arange(len(boxes))
        if len(boxes) > self.spec.most:
            scores = item.get("scores")
            kept = (kept if scores is None else np.argsort(-np.asarray(scores), kind="stable"))[: self.spec.most]
        x1, y1, x2, y2 = (boxes / np.tile([item["width"], item["height"]], 2).astype(np.float32)).T
        w, h = x2 - x1, y2 - y1
        found = {"features": features[kept], "boxes": np.stack([x1, y1, x2, y2, w, h, w * h], 1)[kept]}
        if self.spec.labels:
            if not item.get("soft_labels") or len(item["soft_labels"][0]) != self.spec.labels:
                raise UserError(f"regions without the probabilities of the {self.spec.labels} classes that others have")
            found["labels"] = np.asarray(item["soft_labels"], np.float32)[kept]
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in found.items()}

    def draw(self, prepared: Any, rng: random.Random, mates: list[str]) -> Any:
        return prepared

    def collate(self, drawn: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        import torch

        lengths = torch.tensor([len(one["boxes"]) for one in drawn])
        found = {
            name: torch.nn.utils.rnn.pad_sequence([one[name] for one in drawn], batch_first=True)
            for name in drawn[0]  # (B, N, …)
        }
        return found | {"mask": torch.arange(int(lengths.max())) < lengths[:, None]}

    def units(self, tensors: dict[str, torch.Tensor], n: int | None) -> torch.Tensor:
        return tensors["mask"]

    def hide(self, tensors: dict[str, torch.Tensor], hidden: torch.Tensor, rngs: list[random.Random]) -> dict[str, torch.Tensor]:
        """The features of hidden regions are 0; where they are is still told (UNITER, section 3.2)."""
        return tensors | {"features": tensors["features"].masked_fill(hidden[..., None], 0.0)}

    @property
    def blank(self) -> Any:
        import torch

        sizes = {"features": self.spec.features or 1, "boxes": 7} | ({"labels": self.spec.labels} if self.spec.labels else {})
        return {name: torch.zeros(1, size) for name, size in sizes.items()}

    def key(self, item: Any) -> int:
        """The same for two pictures with the same features in the same places."""
        import numpy as np

        from mmkit.files import stable_hash

        return stable_hash(b"".join(np.asarray(item[name], np.float32).tobytes() for name in ("boxes", "features")))

    def weight(self, prepared: Any) -> int:
        return sum(4 * tensor.numel() for tensor in prepared.values())

    def length(self, prepared: Any) -> int:
        return len(prepared["boxes"])

    def made_of(self) -> Any:
        return asdict(self.spec)

    def log(self, tensors: dict[str, torch.Tensor], said: list[str]) -> dict[str, float]:
        return {}

    def save(self, folder: Any, name: str) -> None:
        """Nothing: all of it is configuration."""
