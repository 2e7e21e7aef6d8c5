"""Pictures drawn from a model that foretells their codes one after the other (DALL-E, arXiv:2102.12092, section 2.3).

B pictures, K codes
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmkit.decoding import Sampling, nucleus
from mmkit.encode import diverged, encoded_once
from mmkit.layers import Encoded
from mmkit.model import Model

KIND = "prior"  # of the losses that foretell codes


def prior_of(model: Model) -> Any:
    """The loss of a model that foretells codes; None where it has none."""
    return next((model.loss[name] for name, table in model.config.loss.items() if table["kind"] == KIND), None)


@torch.inference_mode()
def sample(
    model: Model,
    objective: Any,
    text: str,
    n: int,
    seed: int = 0,
    temperature: float = 1.0,
    top_p: float = 1.0,
    batch_size: int = 64,
) -> tuple[Tensor, Tensor]:
    """Draw pictures of a text.

    Args:
        objective: a loss of kind `prior`.
        temperature: the logits are divided by it; 0 takes the likeliest code each time.
        top_p: only the likeliest codes are drawn whose probabilities together reach it (nucleus sampling, arXiv:1904.09751).

    Returns:
        Pictures, uint8 (n, 3, S, S), and the mean log-probability of the codes of each as the model sees it, (n,); both on the
        CPU. They are the same for every `batch_size`.

    Raises:
        UserError: a probability is not finite.
    """
    # one row of chance a picture, so that it does not hang on those beside it
    chances = [torch.Generator().manual_seed((seed << 20) + i) for i in range(n)]
    item = {objective.text: model.reader(objective.text).prepare(text)}
    pictures, scores = [], []
    for begin in range(0, n, batch_size):
        codes, score = _codes(model, objective, item, chances[begin : begin + batch_size], temperature, top_p)
        made = model.encoder[model.encoder_of(objective.input)].pictures(codes)
        pictures.append((made * 255).round().to(torch.uint8).cpu())
        scores.append(score.cpu())
    return torch.cat(pictures), torch.cat(scores)


def _codes(
    model: Model, objective: Any, item: dict[str, Any], chances: list[torch.Generator], temperature: float, top_p: float
) -> tuple[Tensor, Tensor]:
    """The codes (B, N) of pictures of one text, and the mean log-probability of those of each (B,)."""
    fusion, head = model.fusion[objective.of], model.head[objective.name]
    have = encoded_once(model, objective.text, [item] * len(chances), objective.wants()[0], {})
    given = {want.what: tensor for want, tensor in have.items()}
    x, state = fusion.first({objective.text: Encoded(*(given[name] for name in Encoded._fields))})
    codes: list[Tensor] = []
    total = torch.zeros(len(chances), device=x.device)
    for place in range(model.encoder[model.encoder_of(objective.input)].grid ** 2):
        if place:
            x = fusion.after(codes[-1], state)
        logits = objective.of_codes(head(x)[:, 0]).float()
        if not logits.isfinite().all():
            raise diverged(model, "a probability is not finite")
        codes.append(drawn(logits, chances, temperature, top_p))
        total += logits.log_softmax(-1).gather(1, codes[-1][:, None])[:, 0]
    return torch.stack(codes, 1), total / len(codes)


def drawn(logits: Tensor, chances: list[torch.Generator], temperature: float, top_p: float) -> Tensor:
    """One code of each row of logits (B, K), by its own chance."""
    if temperature == 0:
        return logits.argmax(-1)
    uniform = torch.stack([torch.rand((), generator=chance, dtype=torch.float64) for chance in chances])
    return nucleus(logits, uniform, Sampling(top_p, temperature))
