"""What a model that writes looks at, and what its inputs contribute to a text."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from mmkit.batch import Want
from mmkit.decoding import generate
from mmkit.explain import fused
from mmkit.explain.asked import Asked, ask
from mmkit.explain.maps import Maps
from mmkit.explain.seen import look
from mmkit.explain.support import Text, has_target, support
from mmkit.losses.language import NOTHING
from mmkit.model import Model
from tests.small import reader
from tests.test_decoding import FUSIONS, captioner

SAID = "a red picture"
RED = torch.tensor([230, 30, 30], dtype=torch.uint8).view(3, 1, 1).expand(3, 16, 16)


def asked(model: Model, text: str | None = SAID) -> Asked:
    return ask(model, RED, text)


@pytest.mark.parametrize("kind", FUSIONS)
def test_the_score_is_that_of_the_text(kind: str) -> None:
    model = captioner(kind)
    one = asked(model)
    got = model(one.batch(), one.wants)
    ids = reader("text").tokenizer.encode([SAID])[0]
    log = got[Want("lm", "logits")][0].log_softmax(-1)
    expected = torch.stack([log[i, token] for i, token in enumerate(ids[1:])]).mean()
    assert torch.allclose(one.score(got), expected)
    assert (one.kind, one.answer, one.joined) == ("log-probability", None, "fused")
    assert torch.allclose(one.measured([RED, RED]), expected.exp().expand(2))


def test_without_a_text_it_is_about_what_the_model_writes() -> None:
    model = captioner()
    ((written,),) = generate(model, model.loss["lm"], [{"image": RED}])
    one = asked(model, None)
    assert one.answer == one.foretold == written.text


@pytest.mark.parametrize("kind", FUSIONS)
@pytest.mark.parametrize("method", ["relevance", "attention", "rollout", "align"])
def test_maps_of_every_causal_fusion(kind: str, method: str) -> None:
    one = asked(captioner(kind))
    seen = look(one)
    maps = Maps(one, seen, [1, 2, 3], method)
    picture, text = maps.picture(), maps.text()
    assert picture.shape == (2, 2) and len(text) == len(seen.tokens["text"])
    assert np.isfinite(picture).all() and np.isfinite(text).all()
    if method == "relevance":
        assert picture.any(), "the picture counts"


@pytest.mark.parametrize("kind", FUSIONS)
def test_no_word_has_anything_of_a_later_one(kind: str) -> None:
    """The attention of a fusion over its text is that of a text that is written: nothing above the diagonal."""
    one = asked(captioner(kind))
    length = len(look(one).tokens["text"])
    for path, layer in look(one).fusion.items():
        if path.endswith(".attention"):
            own = layer.weights[:, -length:, -length:]
            assert not own.triu(1).any() and own.diagonal(dim1=1, dim2=2).any()


def test_a_head_over_the_pooled_vector_reads_the_last_token() -> None:
    model = captioner("cross")
    one = asked(model)
    seen = look(one)
    assert torch.allclose(fused._shares(one, one.fusion, seen), seen.mask["text"] / seen.mask["text"].sum())

    last = fused._shares(dataclasses.replace(one, foretold=None), one.fusion, seen)
    assert last.tolist() == [0.0] * (len(last) - 1) + [1.0]


def test_support_is_the_probability_of_the_words() -> None:
    model = captioner()
    objective, texts = model.loss["lm"], [SAID, "blue"]
    assert has_target(objective)
    about = support(objective, texts)
    assert isinstance(about, Text)
    given = reader("text").collate(texts)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, given["mask"].size(1), 300, generator=generator, requires_grad=True)
    # a text that was removed is still the one that is foretold
    got = {Want("lm", "logits"): logits, Want("fused.text", "mask"): torch.zeros_like(given["mask"])}
    found = about.value(got, torch.tensor([1, 0]).flip(0))
    for row in range(2):
        ids = given["ids"][row][given["mask"][row]]
        log = logits[row].log_softmax(-1)
        each = torch.stack([log[i, token] for i, token in enumerate(ids[1:])])
        assert torch.allclose(found[row], each.mean().exp())
    slope = torch.autograd.grad(about.slope(got, torch.arange(2)).sum(), logits)[0]
    told = objective.following(given["mask"], texts) != NOTHING
    assert torch.equal(slope.any(2), told)
