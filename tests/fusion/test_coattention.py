"""Cross fusion with `both`: every input looks at the others, as they stand in the same block."""

from __future__ import annotations

import pytest
import torch

from mmkit.errors import ConfigError
from mmkit.layers import Encoded, masked_mean
from tests.fusion.test_fusions import LENGTHS, B, given, made

KINDS = pytest.mark.parametrize("kind", ["cross", "gated-cross"])


def test_a_block_sees_what_the_block_before_made_of_the_others() -> None:
    one, parts = made("cross", both=True), given()
    image = one.adapt["image"](parts["image"].tokens) + one.kind["image"]
    text = one.adapt["text"](parts["text"].tokens)
    image_mask, text_mask = parts["image"].mask[:, None], parts["text"].mask[:, None]
    for of_text, of_image in zip(one.blocks, one.opposite["image"], strict=True):
        image, text = of_image(image, image_mask, False, text, text_mask), of_text(text, text_mask, False, image, image_mask)
    found = one(parts)
    assert torch.allclose(found.tokens[:, : LENGTHS["image"]], one.norm(image), atol=1e-6)
    assert torch.allclose(found.tokens[:, LENGTHS["image"] :], one.norm(text), atol=1e-6)
    means = masked_mean(one.norm(image), parts["image"].mask), masked_mean(one.norm(text), parts["text"].mask)
    assert torch.allclose(found.pooled, (means[0] + means[1]) / 2, atol=1e-6)


@KINDS
def test_spans_are_those_of_all_inputs(kind: str) -> None:
    names = ("image", "text", "series")
    one, parts = made(kind, names, both=True), given(names)
    found, spans = one(parts), one.spans(parts)
    assert found.tokens.shape == (B, sum(LENGTHS.values()), one.dim)
    for name, span in spans.items():
        assert torch.equal(found.mask[:, span], parts[name].mask)
        moved = parts | {name: parts[name]._replace(tokens=parts[name].tokens + torch.randn(LENGTHS[name], 1))}
        assert not torch.allclose(one(moved).tokens[:, span], found.tokens[:, span], atol=1e-3)


@KINDS
def test_an_input_that_is_not_there_is_not_looked_at(kind: str) -> None:
    one, parts = made(kind, both=True), given(absent="image")
    own = parts["text"]
    x = one.norm(one.blocks(one.adapt["text"](own.tokens), own.mask[:, None]))
    found = one(parts)
    assert torch.allclose(found.tokens[1, LENGTHS["image"] :], x[1], atol=1e-6)
    # of the mean it is no part either
    assert torch.allclose(found.pooled[1], masked_mean(x, own.mask)[1], atol=1e-6)
    assert torch.allclose(found.pooled[[0, 2]], one(given()).pooled[[0, 2]], atol=1e-6)


def test_it_pools_all_inputs_and_nothing_else() -> None:
    with pytest.raises(ConfigError, match="the mean of all inputs, not pool 'first'"):
        made("cross", both=True, pool="first")


def test_rows_and_padding_change_nothing() -> None:
    one, parts = made("cross", both=True), given()
    whole, text = one(parts).pooled, parts["text"]
    for i in range(B):
        alone = one({name: Encoded(*(x[i : i + 1] for x in part)) for name, part in parts.items()})
        assert torch.allclose(alone.pooled[0], whole[i], atol=1e-5)
    bait = torch.where(text.mask[..., None], text.tokens, torch.tensor(9.0))
    longer = Encoded(torch.cat([bait, bait], 1), torch.nn.functional.pad(text.mask, (0, 5)), text.pooled)
    assert torch.allclose(one(parts | {"text": longer}).pooled, whole, atol=1e-5)


def test_recomputed_activations_give_the_same_gradient() -> None:
    one, parts = made("cross", both=True).train(), given()
    gradients = []
    for stack in (False, True):
        one.blocks.checkpoint = one.opposite["image"].checkpoint = stack
        one.zero_grad()
        one(parts).pooled.square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in one.parameters() if p.grad is not None]))
    assert torch.allclose(*gradients, atol=1e-7)
