"""Regions from a detector of transformers: the boxes it finds, the states of its decoder and the probabilities of its classes."""

from __future__ import annotations

from typing import Any

import torch

from mmkit.data.images import load_rgb
from mmkit.encoders import pretrained
from mmkit.errors import UserError
from mmkit.foreign import open_checkpoint
from mmkit.loading import pick_device
from mmkit.regions import weights_stamp

LEAST = 10  # regions of a picture, however sure the detector is, as in UNITER (arXiv:1909.11740, section 3.1)


class Detr:
    """DETR (arXiv:2005.12872): a query is a region.

    Args:
        name: folder or hub id of a DetrForObjectDetection.
        threshold: regions of a lower probability are left out, but for the `LEAST` surest.
        top: regions of a picture at most.

    Raises:
        UserError: it is no such checkpoint, or it cannot be read.
    """

    def __init__(self, name: str, threshold: float = 0.2, top: int = 100) -> None:
        self.name, self.threshold, self.top = name, threshold, top
        checkpoint = open_checkpoint(name)
        if (kind := checkpoint.config.get("model_type")) != "detr":
            raise UserError(f"a checkpoint of {kind}, not of DETR", name, "--encoder takes encoders of pictures")
        pretrained.quiet()
        from transformers import DetrForObjectDetection, DetrImageProcessorPil

        settings = checkpoint.folder / "preprocessor_config.json"
        try:
            self.model = DetrForObjectDetection.from_pretrained(checkpoint.folder, dtype=torch.float32, local_files_only=True)
            self.processor = (
                DetrImageProcessorPil.from_pretrained(checkpoint.folder) if settings.exists() else DetrImageProcessorPil()
            )
        except Exception as e:  # the loader, a missing backbone and a damaged file each raise their own
            raise UserError(f"the detector cannot be read ({str(e).strip().splitlines()[0]})", name) from e
        self.model = self.model.eval().to(pick_device("auto"))
        self.width = int(self.model.config.d_model)
        names: Any = self.model.config.id2label or {}
        self.names = [names.get(i, str(i)) for i in range(self.model.config.num_labels or 0)]
        self.stamp = f"{weights_stamp(checkpoint.folder)} {threshold} {top}"

    @torch.inference_mode()
    def __call__(self, picture: bytes, own: dict[str, Any] | None) -> dict[str, Any] | None:
        """{boxes, phrases, features, scores, soft_labels, width, height} of the encoded bytes of a picture, the surest first.

        The soft labels are the probabilities of the classes where there is one, without that of nothing.

        Raises:
            UserError: it cannot be read.
        """
        found = load_rgb(picture)
        given = self.processor(found, return_tensors="pt").to(self.model.device)
        out = self.model(**given)
        probabilities = out.logits[0].softmax(-1)[:, :-1]  # (N, C)
        scores, classes = probabilities.max(-1)
        order = scores.argsort(descending=True, stable=True)[: self.top]
        kept = order[: max(LEAST, int((scores[order] >= self.threshold).sum()))]
        x, y, w, h = out.pred_boxes[0, kept].unbind(-1)  # of the picture, the centre and the sides
        corners = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1).clamp(0, 1)
        boxes = corners * torch.tensor([found.width, found.height] * 2, device=corners.device)
        soft = out.logits[0, kept, :-1].softmax(-1)
        return {
            "boxes": boxes.tolist(),
            "phrases": [self.names[i] for i in classes[kept].tolist()],
            "features": list(out.last_hidden_state[0, kept].cpu().numpy()),
            "scores": scores[kept].tolist(),
            "soft_labels": list(soft.cpu().numpy()),
            "width": found.width,
            "height": found.height,
        }
