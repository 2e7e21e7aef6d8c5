"""What UNITER learns of hidden regions (arXiv:1909.11740, section 3.2): their features, and the classes a detector gave them.

B rows, N regions, R hidden regions of all rows, F values of a feature, C classes of a detector, D width
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit.batch import Batch
from mmkit.errors import UserError, setting
from mmkit.losses.masked import Masked
from mmkit.losses.objective import Got


class Transposed(nn.Module):
    """Vectors (R, W) to features (R, F): a layer, and the encoder's own projection of features the other way round.

    Args:
        width: of the vectors; projection: the encoder's, of which only a bias is added here.
    """

    def __init__(self, width: int, projection: nn.Linear) -> None:
        super().__init__()
        self.back = [projection]  # in a list: the parameters are the encoder's, and saved with it
        self.layer, self.norm = nn.Linear(width, projection.out_features), nn.LayerNorm(projection.out_features)
        self.bias = nn.Parameter(torch.zeros(projection.in_features))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.norm(F.gelu(self.layer(x))), self.back[0].weight.T, self.bias)


class HiddenFeatures(Masked):
    """Masked region feature regression: the features of hidden regions, by the mean square of the difference.

    Args:
        of, weight, share, masked: as of `Masked`.
        encoders: input -> its encoder.
    """

    def __init__(
        self,
        of: str | None = None,
        weight: float = 1.0,
        share: float | None = None,
        masked: float | None = None,
        *,
        readers: Mapping[str, Any],
        encoders: Mapping[str, Any],
        targets: dict[str, Any] | None = None,
        name: str = "",
    ) -> None:
        super().__init__(of, weight, share, masked, readers=readers, targets=targets, name=name)
        # in a list: a loss holds no parameters of a model
        self.projection = [getattr(encoders.get(self.input), "what", None)]

    def needs(self, model: Any) -> None:
        if self.projection[0] is None:
            raise UserError("no features of regions to tell", f"loss.{self.name}.of = {self.of}", _hint(model, self.name))
        super().needs(model)

    def head(self, width: int) -> nn.Module | None:
        return Transposed(width, self.projection[0]) if self.projection[0] is not None else nn.Identity()

    def score(self, got: Got, batch: Batch) -> Tensor:
        told, real = got[self.wants()[0]].float(), batch.inputs[self.input]["features"][self.hidden(batch)]  # (R, F)
        return (told - real).square().mean(1).sum()


class HiddenClasses(Masked):
    """Masked region classification: the detector's probabilities of the classes of hidden regions, by the KL divergence of what
    is told from them."""

    def needs(self, model: Any) -> None:
        where = f"loss.{self.name}.of = {self.of}"
        if not hasattr(self.reader.spec, "labels"):
            raise UserError("no regions to classify", where, _hint(model, self.name))
        if not self.reader.spec.labels:
            hint = "mmkit prep regions OUT --source DATA --detector CKPT   gives them; or leave this loss out"
            raise UserError("the regions have no probabilities of classes", where, hint)
        super().needs(model)

    def head(self, width: int) -> nn.Module:
        classes = getattr(self.reader.spec, "labels", None) or 1
        return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, classes))

    def score(self, got: Got, batch: Batch) -> Tensor:
        told, real = got[self.wants()[0]].float(), batch.inputs[self.input]["labels"][self.hidden(batch)]  # (R, C)
        return F.kl_div(told.log_softmax(-1), real, reduction="sum")


def _hint(model: Any, loss: str) -> str:
    """Which tokens of regions a model has."""
    inputs = [name for name, encoder in model.encoder.items() if hasattr(encoder, "what")]
    fused = [f"{joined}.{name}" for joined, table in model.config.fusions.items() for name in table["inputs"] if name in inputs]
    return setting(f"loss.{loss}.of", (fused or inputs or ["fused.regions"])[0])
