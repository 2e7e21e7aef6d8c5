"""Features of regions from an image encoder: RoIAlign over its last map, which learns nothing here."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmkit import encoders, foreign
from mmkit.config import build
from mmkit.data.images import load_rgb
from mmkit.data.modalities import MODALITIES, image, name_of
from mmkit.errors import UserError
from mmkit.files import CONFIG, pointed
from mmkit.loading import load_model, pick_device
from mmkit.regions import weights_stamp
from mmkit.regions.align import grid_boxes, roi_align

BINS = 4  # a side, whose mean is the feature


class OnMap:
    """The regions of a picture: the row's own boxes, else a grid, each with the mean of the map over it.

    Pictures are squeezed to the square of the encoder, so that the map covers all of them.

    Args:
        name: a run whose encoder of pictures it is, or a transformers checkpoint.
        grid: boxes a side of the grid; None: the row's own boxes, and a row that has none gets no regions.

    Raises:
        UserError: it has no encoder of pictures, or one that gives no map.
    """

    def __init__(self, name: str, grid: int | None = None) -> None:
        self.name, self.grid = name, grid
        self.encoder, self.reader, weights = _of_run(name) if _is_run(name) else _of_checkpoint(name)
        self.stamp = f"{weights} {grid}"
        self.device = next(self.encoder.parameters()).device
        spec = self.reader.spec
        whole = replace(spec, resize="square", size=spec.crop_size or spec.size, crop_size=None, augment=[])
        self.reader = self.reader.over(whole)
        self.width = len(self._map(None))

    def __call__(self, picture: bytes, own: dict[str, Any] | None) -> dict[str, Any] | None:
        """{boxes, phrases, features, width, height} of the encoded bytes of a picture; None where there is no box.

        Raises:
            UserError: it cannot be read.
        """
        width, height = load_rgb(picture).size
        if self.grid is None and not (own and own["boxes"]):
            return None
        boxes = grid_boxes(self.grid, width, height) if self.grid else torch.tensor(own["boxes"])  # type: ignore[index]
        found = self._map({"bytes": picture})
        scale = torch.tensor([found.size(2) / width, found.size(1) / height] * 2)
        features = roi_align(found, (boxes * scale).to(found), BINS).mean((2, 3))
        phrases = None if self.grid else own.get("phrases")  # type: ignore[union-attr]
        found_there = {"boxes": boxes.tolist(), "features": list(features.cpu().numpy())}
        return {"phrases": phrases, **found_there, "width": width, "height": height}

    @torch.inference_mode()
    def _map(self, item: dict[str, Any] | None) -> torch.Tensor:
        """The map (D, H, W) of a picture, as a row holds it, or of the blank one."""
        prepared = self.reader.prepare(item) if item else self.reader.blank
        tensors = {key: value.to(self.device) for key, value in self.reader.collate([prepared]).items()}
        tokens = self.encoder(**tensors).tokens[0, getattr(self.encoder, "prefix", 0) :]  # (N, D)
        side = isqrt(len(tokens))
        if side * side != len(tokens) or side < 2:
            raise UserError(f"its encoder of pictures gives {len(tokens)} tokens, which are no map", self.name)
        return tokens.T.reshape(-1, side, side)


def _is_run(name: str) -> bool:
    path = pointed(Path(name))
    return any((place / CONFIG).exists() for place in (path, path.parent.parent))


def _of_run(name: str) -> tuple[nn.Module, Any, str]:
    model = load_model(name)
    found = [n for n in model.encoder if MODALITIES[model.config.modality_of(n)] is image]
    if not found:
        raise UserError("the run has no encoder of pictures", name, f"its encoders: {', '.join(model.encoder)}")
    return model.encoder[found[0]], model.readers[found[0]], model.hash


def _of_checkpoint(name: str) -> tuple[nn.Module, Any, str]:
    kind = name_of(image)
    config = build({"encoder": {kind: {"kind": foreign.KIND, "from": name}}, "data": {kind: {"augment": []}}})
    foreign.resolve(config)
    checkpoint = foreign.open_checkpoint(name)
    reader = image.foreign(config.data[kind], checkpoint)
    encoder = encoders.build(kind, kind, config.encoder[kind], reader.given())
    foreign.load_encoder(encoder, checkpoint, kind, config.encoder[kind]["architecture"])
    return encoder.eval().to(pick_device("auto")), reader, weights_stamp(checkpoint.folder)
