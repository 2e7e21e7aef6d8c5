"""The weights of patches and words by each method: relevance (attention weighted by its gradient, through all layers),
attention (what the pooled token looks at in one layer), rollout (the attention of all layers multiplied), align (each word with
each patch, by FILIP's cosines or a fusion's attention), gradcam (the last feature map weighted by its gradient).

H heads, N tokens of a picture, M of a text, D width; h and w patches
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mmkit.errors import UsageError, UserError, setting
from mmkit.explain import flow, fused, laid
from mmkit.explain.asked import Asked
from mmkit.explain.seen import Layer, Pass

METHODS = ("relevance", "attention", "rollout", "align", "gradcam")


class Maps:
    """The maps of one pass.

    Args:
        shown: the tokens of the text that are part of a word.
        method: of METHODS; None: attention where a layer or head is named, else relevance, rollout where nothing is asked, and
            gradcam where there is no attention.
        layer, head: of `attention` and `align`; negative ones count from the end; None: the last layer, the mean of all heads.

    Attributes:
        notes: what was decided and left out.

    Raises:
        UserError: the model cannot give what the method takes.
        UsageError: no such layer or head.
    """

    def __init__(
        self,
        asked: Asked,
        seen: Pass,
        shown: Sequence[int] = (),
        method: str | None = None,
        layer: int | None = None,
        head: int | None = None,
    ) -> None:
        self.asked, self.seen, self.shown, self.layer, self.head = asked, seen, list(shown), layer, head
        self.notes: list[str] = []
        self.method = method or self._default()
        self._check()

    def _default(self) -> str:
        if self.layer is not None or self.head is not None:
            return "attention"
        if not self._attends:
            self.notes.append(f"the {self._encoder} encoder gives no attention over the whole of it: its map is Grad-CAM")
            return "gradcam"
        return "rollout" if self.asked.kind == "norm" else "relevance"

    @property
    def _encoder(self) -> str:
        return self.asked.model.encoder_of(self.asked.looked)

    @property
    def _attends(self) -> bool:
        """There is attention over the picture: within its encoder, or in the fusion."""
        name = self.asked.looked
        inside = self.seen.within.get(name)
        return bool(self._usable(name)) or bool(inside and inside.layers) or fused.attends(self.asked)

    def _check(self) -> None:
        model = self.asked.model
        if self.method in ("relevance", "attention", "rollout") and not self._attends:
            kind = model.config.encoder[self._encoder].get("kind")
            what = f"the {self._encoder} encoder ({kind}) gives no attention over the whole of it"
            raise UserError(what, model.name, "--method gradcam works for it")
        if self.method == "align" and not (self._tokenwise or (fused.attends(self.asked) and self.asked.words)):
            if self.asked.words is None:
                raise UsageError("align shows words, and there are none", "--method align", "name a text")
            what = "the model compares one vector with one vector, and no word with a patch"
            raise UserError(what, model.name, f"--method relevance, or train with {setting('loss.itc.kind', 'filip')}")
        if (self.layer is not None or self.head is not None) and self.method not in ("attention", "align"):
            raise UsageError(f"{self.method} is made of all layers and heads", "--layer, --head", "--method attention shows one")

    @property
    def _tokenwise(self) -> bool:
        return self.asked.kind == "late interaction"

    def picture(self) -> np.ndarray:
        """The weight of each patch for the score: (h, w) float32."""
        name = self.asked.looked
        if name in self.seen.within and self.method in laid.BY_GRADIENT and self._joint is None:
            weights = self._by_parts(name)
        elif self.method == "gradcam":
            weights = self._gradcam(name)
        elif self.method == "align":
            weights = self._aligned[self.shown].mean(0)
        else:
            weights = self._weights(name)
        return self.laid_out(weights)

    def text(self) -> np.ndarray:
        """The weight of each token of the text: (M,) float32."""
        name = self.asked.words
        if name is None:
            return np.empty(0, np.float32)
        weights = self._aligned_text() if self.method == "align" else self._weights(name)
        return weights.float().cpu().numpy()

    def heads(self) -> np.ndarray:
        """What the pooled token looks at in every layer and head of the picture's encoder: (L, H, h, w) float32.

        Raises:
            UserError: the encoder gives no attention over the whole of it.
        """
        name = self.asked.looked
        layers, read = self._usable(name), self._read(name)
        if not layers or name in self.seen.within:
            what = f"the {self._encoder} encoder gives no attention over the whole {name}: it has no heads to show"
            raise UserError(what, self.asked.model.name)
        return np.stack([[self.laid_out(read @ head) for head in layer.weights] for layer in layers])

    def word_grids(self, words: list[list[int]]) -> list[np.ndarray] | None:
        """For words by the numbers of their tokens, what each has of the patches, (h, w) each; None where the method relates no
        word to a patch."""
        between = self._aligned if self.method == "align" else self._joint.between if self._joint else None
        if between is None:
            return None
        return [self.laid_out(between[numbers].mean(0)) for numbers in words]

    def laid_out(self, weights: Tensor) -> np.ndarray:
        """The weights (N,) of the tokens of what is looked at as they lie in it: patches (h, w) of a picture, rows and steps of
        what goes over time, (n, h, w) of the frames of a video."""
        name = self.asked.looked
        found = laid.LAID[laid.modality_of(self.asked.model, name).LAID](self, name, weights)
        return found.float().cpu().numpy()

    def _by_parts(self, name: str) -> Tensor:
        """Of each frame (F,) what its token adds to the score to first order, passed on to the frames that it was made of."""
        told = (self.seen.gradients[name] * self.seen.tokens[name]).sum(1).clamp(min=0)
        return told @ self._flow(name)

    def _weights(self, name: str) -> Tensor:
        """By relevance, rollout or attention: of the tokens of an input (N,)."""
        if self._joint is not None and name in self._joint.weights:
            return self._joint.weights[name]
        layers = self._usable(name)
        if not layers:
            self.notes.append(f"the {name} encoder gives no attention: its weights are gradient times token")
            return (self.seen.gradients[name] * self.seen.tokens[name]).sum(1).clamp(min=0)
        if self.method == "attention":
            return self._read(name) @ self._one(layers, name)
        if self.method == "rollout":
            return self._read(name) @ flow.rollout([layer.weights for layer in layers])
        found = self._flow(name)
        return self._read(name) @ (found - torch.eye(len(found), device=found.device))

    @cached_property
    def _joint(self) -> fused.Joint | None:
        """What the fusion says of all tokens, where it is by attention."""
        if not fused.attends(self.asked):
            return None
        if self.method in ("relevance", "gradcam"):
            return fused.relevance(self.asked, self.seen, {name: self._flow(name) for name in self.asked.items})
        if self._usable(self.asked.looked):
            return None  # attention and rollout are of the encoders
        layers = fused.joint(self.asked, self.seen)
        if self.method == "attention":
            return fused.attention(self.asked, self.seen, self._one(layers, self.asked.looked))
        return fused.rolled(self.asked, self.seen) if layers[0].weights.size(1) == layers[0].weights.size(2) else None

    def _flow(self, name: str) -> Tensor:
        """What each output of an encoder has of its inputs, by relevance: (N, N)."""
        tokens = self.seen.tokens[name]
        found = torch.eye(len(tokens), device=tokens.device)
        for layer in self._usable(name):
            (found,) = flow.self_attention([found], flow.positive(layer.weights, layer.gradient))
        return found

    def _usable(self, name: str) -> list[Layer]:
        """The layers of an encoder that attend over all of its tokens; none where it pools or attends within windows."""
        size = len(self.seen.tokens[name])
        layers = self.seen.layers.get(name, [])
        return layers if all(layer.weights.shape[1:] == (size, size) for layer in layers) else []

    def _read(self, name: str) -> Tensor:
        """How much the score hangs on each of an encoder's outputs: the share (N,) of its gradient's length.

        The class or end token alone where that is the pooled vector, all alike for a mean. (Gradient * token, which knows which
        way a token pulls, points no better on shapes: 0.77 of 240 against 0.76.)
        """
        length = self.seen.gradients[name].norm(dim=1)
        return length / length.sum().clamp(min=torch.finfo(length.dtype).tiny)

    def _one(self, layers: list[Layer], name: str) -> Tensor:
        """One layer, and one head or the mean of all: (N, M)."""
        last = len(layers) - 1
        layer = last if self.layer is None else self.layer
        if not -len(layers) <= layer <= last:
            if name == self.asked.words:  # of another depth than the picture's
                layer = last
            else:
                raise UsageError(f"no layer {layer}", "--layer", f"there are {len(layers)}: 0 to {last}, or -1 for the last")
        weights = layers[layer].weights
        if self.head is None:
            return weights.mean(0)
        if not -len(weights) <= self.head < len(weights):
            raise UsageError(f"no head {self.head}", "--head", f"there are {len(weights)}: 0 to {len(weights) - 1}")
        return weights[self.head]

    def _gradcam(self, name: str) -> Tensor:
        """The channels of the last map, weighted by their mean gradient, where they are positive (arXiv:1610.02391, eq. 1, 2)."""
        x, g = self.seen.tokens[name], self.seen.gradients[name]
        prefix = self.asked.model.encoder[self._encoder].prefix
        if not g[prefix:].any():
            what = f"the {self._encoder} encoder's pooled vector reads no patch of the last map"
            raise UserError(what, self.asked.model.name, "--method relevance follows its attention")
        return (x @ g[prefix:].mean(0)).clamp(min=0)

    @cached_property
    def _aligned(self) -> Tensor:
        """What each token of the text has to do with each of the picture's: (M, N)."""
        if self._tokenwise:
            return self.seen.vectors[self.asked.words or ""] @ self.seen.vectors[self.asked.looked].T
        found = fused.attention(self.asked, self.seen, self._one(fused.joint(self.asked, self.seen), self.asked.looked)).between
        assert found is not None
        return found

    def _aligned_text(self) -> Tensor:
        """The best patch's cosine (FILIP), or how much of its attention a token gives to the picture."""
        return self._aligned.amax(1) if self._tokenwise else self._aligned.sum(1)
