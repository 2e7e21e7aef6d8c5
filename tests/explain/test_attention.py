"""What each kind of model gives of what it looks at, and what it refuses in one line."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmkit.data.canvas import on_picture
from mmkit.errors import UsageError, UserError
from mmkit.explain.asked import ask
from mmkit.explain.attention import Explanation, explain
from mmkit.explain.faithfulness import faithfulness
from mmkit.explain.seen import look
from mmkit.model import Model
from tests.small import ENCODERS, small

ANSWERS = {"task": {"classes": ["red", "blue", "two"], "many": False}}
NAMES = ["image", "text"]
TEXT = "a red picture"


def picture(width: int = 16, height: int = 16) -> dict[str, Any]:
    sink = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(sink, "PNG")
    return {"bytes": sink.getvalue(), "path": None}


def fused(kind: str, **keys: Any) -> Model:
    """A model that answers from a fusion; 4 patches and the tokens of the text."""
    own = {} if kind in ("concat", "product", "gate") else {"layers": 2, "heads": 2}
    table = {"kind": kind, "inputs": NAMES, "dim": 16} | own | keys
    return small(targets=ANSWERS, loss={"task": {"kind": "classify", "of": "fused"}}, fusion=table)


def with_encoder(**keys: Any) -> Model:
    return small(encoder={"image": keys})


def convolutional() -> Model:
    """A model of the same readers whose pictures go through a CNN."""
    before = dict(ENCODERS["image"])
    ENCODERS["image"] = {"kind": "cnn", "dim": 16, "patch": 8}
    try:
        return small()
    finally:
        ENCODERS["image"] = before


def seen(model: Model, text: str | None = TEXT, **keys: Any) -> Explanation:
    return explain(model, picture(), text, **keys)


@pytest.mark.parametrize("kind", ["merged", "early", "cross", "gated-cross", "hybrid", "concat", "product"])
def test_a_fused_model_says_what_it_answers_and_why(kind: str) -> None:
    model = fused(kind)
    if kind == "gated-cross":
        with torch.no_grad():
            for block in model.fusion["fused"].blocks:
                block.gate.fill_(1.0)
    found = seen(model, each_word=True)
    assert found.kind == "logit" and found.answer in ANSWERS["task"]["classes"]
    assert found.method == "relevance"
    assert found.grid.shape == (2, 2) and found.grid.max() > 0
    assert any(word.weight > 0 for word in found.words)
    attends = kind not in ("concat", "product")
    assert all((word.grid is not None) == attends for word in found.words)
    assert bool(found.fusion_layers.size) == attends


def test_of_a_model_that_answers_and_is_aligned_beside_it_the_answer_is_explained() -> None:
    table = {"kind": "cross", "inputs": ["image", "question"], "dim": 16, "layers": 1, "heads": 2}
    model = small(
        targets={"task": {"classes": ["red", "two"]}},
        input={"question": {"column": "questions", "modality": "text", "encoder": "text"}},
        loss={"task": {"kind": "answers", "of": "fused"}, "itc": {"kind": "infonce", "between": NAMES}},
        fusion=table,
    )
    found = seen(model, "what is red?")
    assert (found.kind, found.answer in ("red", "two")) == ("logit", True)


@pytest.mark.parametrize("kind", ["merged", "early", "cross", "hybrid"])
@pytest.mark.parametrize("query", [None, "image"])
def test_words_are_aligned_with_patches_by_the_attention_between_them(kind: str, query: str | None) -> None:
    if query and kind != "cross":
        pytest.skip("only cross-attention has a query")
    model = fused(kind, **({"query": query} if query else {}))
    found = seen(model, method="align", layer=0, head=1, each_word=True)
    layer = found.fusion_layers[0, 1]
    tokens = len(found.tokens)
    if kind == "cross":
        assert layer.shape == ((4, tokens) if query else (tokens, 4))
        between = layer.T if query else layer
    else:
        assert layer.shape == (1 + 4 + tokens,) * 2
        between = layer[5:, 1:5]
    assert np.allclose(found.words[1].grid.ravel(), between[_numbers(found, 1)].mean(0), atol=1e-6)


@pytest.mark.parametrize(("kind", "keys"), [("cross", {"pool": "first"}), ("hybrid", {"attention": "cross"}), ("cross", {})])
def test_what_is_pooled_of_the_words_is_what_looks(kind: str, keys: dict[str, Any]) -> None:
    table = {"kind": kind, "inputs": NAMES, "dim": 16, "layers": 2, "heads": 2} | keys
    model = small(
        targets=ANSWERS,
        loss={"task": {"kind": "classify", "of": "fused"}},
        fusion=table,
        encoder={"image": {"layers": 0}},  # with attention of its own the encoder's would be shown
    )
    found = seen(model, method="attention", layer=0, head=1)
    layer = found.fusion_layers[0, 1]
    assert layer.shape == (len(found.tokens), 4)
    looks = layer[0] if keys else layer.mean(0)
    assert np.allclose(found.grid.ravel(), looks, atol=1e-6)
    assert seen(model).grid.max() > 0


def _numbers(found: Explanation, word: int) -> list[int]:
    """The tokens of a word: from its space to the next, which alone is part of none."""
    starts = [i for i, token in enumerate(found.tokens) if token.startswith("Ġ")] + [len(found.tokens) - 1]
    return [i for i in range(starts[word], starts[word + 1]) if found.tokens[i] != "Ġ"]


def test_late_interaction_aligns_each_word_with_each_patch() -> None:
    model = small(loss={"itc": {"kind": "filip", "between": NAMES}})
    found = seen(model, method="align", each_word=True)
    vectors = look(ask(model, model.reader("image").prepare(picture()), TEXT)).vectors
    cosine = (vectors["text"] @ vectors["image"].T).numpy()
    assert found.kind == "late interaction"
    assert np.allclose(found.words[0].grid.ravel(), cosine[_numbers(found, 0)].mean(0), atol=1e-6)
    assert np.allclose(found.text, cosine.max(1), atol=1e-6)
    assert abs(found.score - (cosine.max(0).mean() + cosine.max(1).mean()) / 2) < 1e-5


def test_the_pooled_token_is_what_looks() -> None:
    """A class token looks with its own row, a mean with all rows alike."""
    for pool, rows in (("cls", slice(0, 1)), ("mean", slice(None))):
        found = seen(with_encoder(pool=pool), method="attention", layer=-1, head=0)
        expected = found.layers[-1, 0][rows].mean(0)[-4:]
        assert np.allclose(found.grid.ravel(), expected, atol=1e-6)
        assert np.allclose(found.layers.sum(-1), 1, atol=1e-5)


def test_relevance_is_the_rule_of_chefer_for_one_layer_and_a_class_token() -> None:
    model = with_encoder(pool="cls")
    found = seen(model)
    (layer,) = look(ask(model, model.reader("image").prepare(picture()), TEXT)).layers["image"]
    expected = (layer.weights * layer.gradient).clamp(min=0).mean(0)[0, 1:]
    assert np.allclose(found.grid.ravel(), expected.numpy(), atol=1e-8)


def test_a_convolutional_encoder_falls_to_gradcam_and_that_is_said() -> None:
    model = convolutional()
    found = seen(model)
    assert found.method == "gradcam" and "Grad-CAM" in found.notes[0]
    assert found.grid.shape == (2, 2) and found.grid.min() >= 0
    tensors = look(ask(model, model.reader("image").prepare(picture()), TEXT))
    x, g = tensors.tokens["image"], tensors.gradients["image"]
    assert np.allclose(found.grid.ravel(), (x @ g.mean(0)).clamp(min=0).numpy(), atol=1e-7)
    with pytest.raises(UserError, match="gives no attention") as refused:
        seen(model, method="rollout")
    assert "gradcam" in refused.value.hint


def test_a_picture_alone_is_rolled_out_and_a_class_is_predicted() -> None:
    found = seen(small(), None)
    assert (found.method, found.kind, found.words) == ("rollout", "norm", [])
    assert abs(found.grid.sum() - 1) < 1e-5
    classifier = small(("image",), ANSWERS, loss={"task": {"kind": "classify", "of": "image"}})
    predicted = seen(classifier, None)
    assert predicted.method == "relevance" and predicted.answer in ANSWERS["task"]["classes"]
    assert seen(classifier, "blue").answer == "blue"
    with pytest.raises(UsageError, match="no class 'bleu'") as refused:
        seen(classifier, "bleu")
    assert "blue" in refused.value.hint


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method": "relevence"}, "no method 'relevence'"),
        ({"method": "align"}, "no word with a patch"),
        ({"layer": 1}, "no layer 1"),
        ({"head": 2}, "no head 2"),
        ({"method": "relevance", "head": 0}, "relevance is made of all layers and heads"),
    ],
)
def test_what_cannot_be_is_one_line_with_a_hint(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        seen(small(), **keys)
    assert refused.value.hint


def test_looking_leaves_the_scores_and_no_gradient_behind() -> None:
    model = small()
    prepared = model.reader("image").prepare(picture())
    asked = ask(model, prepared, TEXT)
    before = asked.measured([prepared])
    assert abs(look(asked).score - float(before)) < 1e-6
    assert torch.equal(asked.measured([prepared]), before)
    assert all(p.grad is None for p in model.parameters())


def test_a_map_lies_where_the_model_looked() -> None:
    """Of a wide picture it sees the middle, and a patch's peak is in its middle."""
    grid = np.zeros((4, 4), np.float32)
    grid[1, 3] = 1
    found = on_picture(grid, (20.0, 0.0, 60.0, 40.0), (80, 40))
    assert found.shape == (40, 80)
    y, x = np.unravel_index(found.argmax(), found.shape)
    assert 10 <= y < 20 and 50 <= x < 60 and abs(y + 0.5 - 15) <= 1 and abs(x + 0.5 - 55) <= 5
    assert not found[:, :20].any() and not found[:, 60:].any()
    model = small()
    assert model.reader("image").pixels.shown(80, 40) == (20.0, 0.0, 60.0, 40.0)
    assert explain(model, picture(80, 40)).canvas.box == (20.0, 0.0, 60.0, 40.0)


def test_deleting_what_a_score_is_made_of_costs_most() -> None:
    """Against a score that is the brightness of one patch."""
    model = small()
    pixels = torch.full((3, 16, 16), 10, dtype=torch.uint8)
    pixels[:, 8:, :8] = 250
    asked = ask(model, pixels, TEXT)

    class Bright:
        looked, items, model = asked.looked, asked.items, asked.model

        def measured(self, pictures: list[torch.Tensor]) -> torch.Tensor:
            return torch.stack([p[:, 8:, :8].float().mean() for p in pictures])

    right, wrong = np.array([[0, 0], [1, 0.0]]), np.array([[1, 1], [0, 1.0]])
    best, worst = (faithfulness(Bright(), grid) for grid in (right, wrong))  # type: ignore[arg-type]
    assert best.deletion < best.random_deletion < worst.deletion
    assert best.insertion > best.random_insertion > worst.insertion
    assert (best.whole, best.empty) == (250, 70)
