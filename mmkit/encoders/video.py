"""The encoder of videos: each frame through an encoder of pictures, then what the frames are together.

B batch, F frames, S side in pixels, D width
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkit.encoders import check_choice
from mmkit.encoders.image import CNN, SIZES, ViT
from mmkit.encoders.pretrained import Pretrained
from mmkit.layers import Encoded, Stack, masked_mean

FRAME_KINDS = ("vit", "cnn")  # of what reads a frame
# blocks over the frames; CLIP4Clip has 4
TEMPORAL = {"tiny": 2, "small": 2, "base": 4, "large": 4}


class VideoEncoder(nn.Module):
    """CLIP4Clip (arXiv:2104.08860, section 3.3): one vector a frame, then their mean, or a transformer over them; or all that is
    seen of every frame.

    "mean" (its meanP, parameter-free) is the masked mean of the normalised vectors of the frames. "temporal" (its seqTransf)
    adds to each what a transformer says that sees all of them with their places, and then takes that mean. "patches" has the
    parameters of "mean" and gives the tokens of every frame, one frame after the other, for a fusion to look at (Flamingo,
    arXiv:2204.14198, section 2.1, whose resampler adds their times).

    Args:
        frame: "vit" or "cnn", which read the frames; unless `from` names a checkpoint that does.
        from_: a transformers checkpoint of pictures; architecture, lr_factor: of it, see `Pretrained`.
        dim, layers, heads, patch: of what reads the frames, where it learns from scratch.
        pool: "mean", "temporal" or "patches".
        temporal: blocks of the transformer over frames.
        frames: at most so many a video; size, mean, std: of the frames, as of pictures.

    Attributes:
        times: the most frames, and the tokens of each.
    """

    def __init__(
        self,
        frame: str = "vit",
        from_: str = "",
        architecture: str = "",
        lr_factor: float = 0.05,
        dim: int = 64,
        layers: int = 1,
        heads: int = 4,
        patch: int = 8,
        pool: str = "temporal",
        temporal: int = 2,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        *,
        frames: int,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        check_choice("pool", pool, ("mean", "temporal", "patches"))
        check_choice("frame", frame, FRAME_KINDS)
        if from_ or architecture:
            self.picture: Any = Pretrained(from_, architecture, None, lr_factor, modality="image", size=size, mean=mean, std=std)
        elif frame == "cnn":
            self.picture = CNN(dim, layers, patch, mean=mean, std=std)
        else:
            self.picture = ViT(dim, layers, heads, patch, size=size, mean=mean, std=std)
        self.dim, self.pool = self.picture.dim, pool
        self.times = frames, self._tokens_of_frame(size) if pool == "patches" else 1
        if pool == "temporal":
            heads = next(h for h in range(heads, 0, -1) if self.dim % h == 0)
            self.positions = nn.Parameter(torch.randn(frames, self.dim) * 0.02)
            self.blocks = Stack(temporal, self.dim, heads, mlp_ratio, dropout)
            self.norm = nn.LayerNorm(self.dim)

    @staticmethod
    def sizes(dial: str) -> dict[str, Any]:
        return SIZES[dial] | {"temporal": TEMPORAL[dial]}

    @property
    def adapted(self) -> Any:
        """The part that a checkpoint of transformers fills; None where there is none."""
        return self.picture if isinstance(self.picture, Pretrained) else None

    @torch.no_grad()
    def _tokens_of_frame(self, size: int) -> int:
        return int(self.picture(torch.zeros(1, 3, size, size, dtype=torch.uint8)).tokens.size(1))

    @property
    def within(self) -> Any:
        """The part that reads each frame on its own."""
        return self.picture

    def embed(self, pixels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        # padding is no frame: it is not encoded
        seen = self.picture(pixels[mask])
        found = seen.tokens if self.pool == "patches" else seen.pooled[:, None]  # (frames of all rows, N, D)
        x = found.new_zeros(*mask.shape, *found.shape[1:]).masked_scatter(mask[..., None, None], found)  # (B, F, N, D)
        return x.flatten(1, 2), mask.repeat_interleave(found.size(1), 1)

    def encode(self, x: Tensor, mask: Tensor) -> Encoded:
        if self.pool == "patches":
            return Encoded(x, mask, masked_mean(x, mask))
        if self.pool == "temporal":
            x = x + self.norm(self.blocks(x + self.positions[: x.size(1)], mask[:, None]))
        tokens = self._normalised(x) * mask[..., None]
        return Encoded(tokens, mask, self._normalised(masked_mean(tokens, mask)))

    def _normalised(self, x: Tensor) -> Tensor:
        # of the length that a LayerNorm gives: heads and fusions read it, too
        return F.normalize(x, dim=-1) * self.dim**0.5

    def forward(self, pixels: Tensor, mask: Tensor) -> Encoded:
        """Pixels (B, F, 3, S, S), uint8, of at most `frames` frames, and their mask (B, F), True = a frame."""
        return self.encode(*self.embed(pixels, mask))
