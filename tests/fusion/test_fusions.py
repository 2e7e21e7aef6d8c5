"""What every row of FUSIONS keeps to, and what is particular to some."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmkit.batch import Batch, Want
from mmkit.config import FUSED
from mmkit.errors import ConfigError
from mmkit.fusion import build, fusion_class
from mmkit.fusion.attention import GatedCross, Merged
from mmkit.layers import Encoded
from mmkit.model import Model
from tests.small import OF_ANY, reader, small

WIDTHS, LENGTHS = {"image": 8, "text": 12, "series": 6}, {"image": 4, "text": 5, "series": 3}
B = 3
BY_ATTENTION = ("early", "merged", "cross", "gated-cross", "hybrid")

every_fusion = pytest.mark.parametrize("kind", OF_ANY)


def made(kind: str, names: tuple[str, ...] = ("image", "text"), **keys: Any) -> Any:
    torch.manual_seed(0)
    widths = {name: WIDTHS[name] for name in names}
    sizes = {} if kind == "logits" else {"dim": 16} | ({"layers": 2, "heads": 2} if kind in BY_ATTENTION else {})
    return build({"kind": kind, **sizes, **keys}, {"widths": widths, "language": ["text"]}).eval()


def given(names: tuple[str, ...] = ("image", "text"), absent: str = "", row: int = 1) -> dict[str, Encoded]:
    """Parts of three rows, the texts of 3 to 5 tokens; row `row` lacks the input `absent`."""
    random = torch.Generator().manual_seed(1)
    parts = {}
    for name in names:
        tokens = torch.randn(B, LENGTHS[name], WIDTHS[name], generator=random)
        mask = torch.ones(B, LENGTHS[name], dtype=torch.bool)
        if name == "text":
            mask = torch.arange(5) < torch.tensor([5, 3, 4])[:, None]
        pooled = tokens.mean(1)
        if name == absent:
            there = torch.arange(B) != row
            tokens, mask, pooled = tokens * there[:, None, None], mask & there[:, None], pooled * there[:, None]
        parts[name] = Encoded(tokens, mask, pooled)
    return parts


@every_fusion
@pytest.mark.parametrize("names", [("image", "text"), ("image", "text", "series")], ids=len)
def test_shapes(kind: str, names: tuple[str, ...]) -> None:
    one = made(kind, names)
    assert one.reads in ("tokens", "embedded", "pooled")
    found = one(given(names))
    N = found.tokens.size(1)
    assert found.tokens.shape == (B, N, one.dim)
    assert found.mask.shape == (B, N) and found.mask.dtype == torch.bool
    assert found.pooled.shape == (B, one.dim)
    assert torch.isfinite(found.tokens).all()
    assert not torch.allclose(found.pooled[0], found.pooled[1], atol=1e-3), "it says nothing of the rows"


@every_fusion
def test_sizes_make_one(kind: str) -> None:
    one = build({"kind": kind, **fusion_class({"kind": kind}).sizes("tiny")}, {"widths": WIDTHS, "language": ["text"]})
    assert one.dim == (64 * len(WIDTHS) if kind == "logits" else 64)


@every_fusion
def test_spans_are_where_the_tokens_of_an_input_stand(kind: str) -> None:
    one, parts = made(kind), given()
    with torch.no_grad():
        whole = one(parts)
        for name, span in one.spans(parts).items():
            part = parts[name]
            assert torch.equal(whole.mask[:, span], part.mask)
            # another last token moves itself the most: the others only look at it
            last = int(part.mask[0].sum()) - 1
            tokens = part.tokens.clone()
            tokens[0, last] += 3
            moved = (one(parts | {name: part._replace(tokens=tokens)}).tokens - whole.tokens)[0].norm(dim=-1)
            assert int(moved.argmax()) == range(whole.tokens.size(1))[span][last]


@every_fusion
def test_no_row_depends_on_another(kind: str) -> None:
    one, parts = made(kind), given()
    whole = one(parts).pooled
    for i in range(B):
        alone = one({name: Encoded(*(x[i : i + 1] for x in part)) for name, part in parts.items()})
        assert torch.allclose(alone.pooled[0], whole[i], atol=1e-5)


@every_fusion
def test_padding_changes_nothing(kind: str) -> None:
    one, parts = made(kind), given()
    text = parts["text"]
    bait = torch.where(text.mask[..., None], text.tokens, torch.tensor(9.0))
    longer = Encoded(torch.cat([bait, bait], 1), nn.functional.pad(text.mask, (0, 5)), text.pooled)
    assert torch.allclose(one(parts | {"text": longer}).pooled, one(parts).pooled, atol=1e-5)


@every_fusion
@pytest.mark.parametrize("absent", ["image", "text"])
def test_a_row_without_an_input_is_finite_and_changes_no_other(kind: str, absent: str) -> None:
    one, whole = made(kind), given()
    parts = {name: Encoded(*(x.clone() for x in part)) for name, part in given(absent=absent).items()}
    for part in parts.values():
        part.tokens.requires_grad_(), part.pooled.requires_grad_()
    found = one(parts)
    assert torch.isfinite(found.tokens).all() and torch.isfinite(found.pooled).all()
    others = [0, 2]
    assert torch.allclose(found.pooled[others], one(whole).pooled[others], atol=1e-6)
    found.pooled.square().sum().backward()
    gradients = [p.grad for p in one.parameters()] + [x.grad for part in parts.values() for x in (part.tokens, part.pooled)]
    assert all(torch.isfinite(g).all() for g in gradients if g is not None)


@pytest.mark.parametrize("kind", ["early", "merged"])
@pytest.mark.parametrize("absent", ["image", "text"])
def test_an_input_that_is_not_there_is_as_one_without_tokens(kind: str, absent: str) -> None:
    one, parts = made(kind), given(absent=absent)
    shown = {name: Encoded(*(x[1:2] for x in part)) for name, part in parts.items()}
    none = Encoded(shown[absent].tokens[:, :0], shown[absent].mask[:, :0], shown[absent].pooled)
    assert torch.allclose(one(parts).pooled[1], one(shown | {absent: none}).pooled[0], atol=1e-6)


@pytest.mark.parametrize("kind", ["cross", "gated-cross"])
def test_a_query_alone_is_its_blocks_without_the_other_inputs(kind: str) -> None:
    one, parts = made(kind), given(absent="image")
    if kind == "gated-cross":
        open_gates(one)
    own = parts["text"]
    x = one.norm(one.blocks(one.adapt["text"](own.tokens), own.mask[:, None]))
    assert torch.allclose(one(parts).tokens[1], x[1], atol=1e-6)
    assert not torch.allclose(one(parts).tokens[0], x[0], atol=1e-3)


def open_gates(one: nn.Module) -> None:
    for name, p in one.named_parameters():
        if name.endswith(".gate"):
            nn.init.ones_(p)


def test_gates_of_zero_ignore_the_other_inputs() -> None:
    one, parts = made("gated-cross"), given()
    assert isinstance(one, GatedCross)
    moved = parts | {"image": Encoded(parts["image"].tokens + 1, parts["image"].mask, parts["image"].pooled + 1)}
    assert torch.equal(one(parts).tokens, one(moved).tokens)
    open_gates(one)
    assert not torch.allclose(one(parts).tokens, one(moved).tokens, atol=1e-3)


def test_which_input_looks() -> None:
    assert made("cross").query == "text", "the first of words"
    assert made("cross", ("image", "series")).query == "series", "else the last"
    assert made("cross", query="image")(given()).tokens.size(1) == LENGTHS["image"]
    for names, query in (("image", "text"), "audio"), (("text",), "text"):
        with pytest.raises(ConfigError, match="two inputs or more"):
            made("cross", names, query=query)


def test_the_first_token_may_ask_for_all() -> None:
    one, parts = made("cross", pool="first"), given()
    found = one(parts)
    assert torch.equal(found.pooled, found.tokens[:, 0])
    mean = made("cross")(parts)
    assert torch.equal(mean.tokens, found.tokens), "the tokens are the same"
    assert torch.allclose(mean.pooled[1], mean.tokens[1, :3].mean(0), atol=1e-6)
    last = made("cross", pool="last")(parts)
    assert torch.equal(last.pooled[1], last.tokens[1, 2])
    for keys in {"pool": "max"}, {"pool": "mean", "causal": True}:
        with pytest.raises(ConfigError, match="no pool"):
            made("cross", **keys)


def test_a_head_over_logits_is_the_mean_of_a_head_an_input() -> None:
    one, parts = made("logits"), given()
    head = nn.Linear(one.dim, 4)
    weights = zip(parts, head.weight.chunk(2, 1), strict=True)
    heads = [one.adapt[name](parts[name].pooled) @ weight.T + head.bias for name, weight in weights]
    assert torch.allclose(head(one(parts).pooled), torch.stack(heads).mean(0), atol=1e-6)


@pytest.mark.parametrize("attention", ["merged", "cross"])
def test_hybrid_is_attention_beside_the_product(attention: str) -> None:
    one, parts = made("hybrid", attention=attention), given()
    assert fusion_class({"kind": attention}) is type(one.attention)
    found, joined = one(parts), one.attention(parts)
    assert torch.equal(found.tokens, joined.tokens) and torch.equal(found.mask, joined.mask)
    assert one.spans(parts) == one.attention.spans(parts)
    both = torch.cat([joined.pooled, one.product(parts).pooled], 1)
    assert torch.equal(found.pooled, one.norm(one.mix(both)))


def test_an_unknown_kind_and_key_are_named() -> None:
    with pytest.raises(ConfigError, match="no fusion of kind 'mergd'"):
        build({"kind": "mergd"}, {"widths": WIDTHS})
    with pytest.raises(ConfigError, match=r"unknown key fusion\.layrs"):
        made("merged", layrs=2)
    with pytest.raises(ConfigError, match="merged or cross"):
        made("hybrid", attention="crossed")


# in a model

NAMES = ("image", "text")
HEADED = {"kind": {"kind": "classify", "of": FUSED, "column": "label"}}
TARGETS = {"kind": {"classes": ["cat", "dog"], "many": False}}


def model(kind: str, **encoders: Any) -> Model:
    fusion = {"kind": kind, "inputs": list(NAMES)} | ({} if kind == "logits" else {"dim": 16})
    return small(NAMES, TARGETS, loss=HEADED, fusion=fusion, encoder=encoders)


def rows(present: dict[str, Tensor] | None = None) -> Batch:
    pixels = torch.randint(0, 256, (B, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    words = reader("text").collate(["a red picture", "blue", "all of it"])
    return Batch(list("abc"), {"image": {"pixels": pixels}, "text": words}, present or {})


@every_fusion
def test_a_model_answers_what_is_wanted_of_it(kind: str) -> None:
    one, batch = model(kind), rows()
    wants = [Want("kind", "logits"), Want(FUSED, "pooled"), Want(FUSED, "tokens"), Want(FUSED, "mask")]
    found = one(batch, wants)
    assert found[wants[0]].shape == (B, 2)
    assert torch.equal(found[wants[0]], one.head["kind"](found[wants[1]]))
    # given what the encoders gave, none of them runs
    have = one(batch, one.roots(wants[0]))
    assert torch.equal(one(Batch(list("abc"), {}), wants[:1], have)[wants[0]], found[wants[0]])
    assert not any(key.startswith("fusion.") and ".encoder" in key for key in one.state_dict())


@every_fusion
def test_what_stands_for_an_input_that_is_not_there_changes_nothing(kind: str) -> None:
    one, there = model(kind), torch.tensor([True, False, True])
    batch = rows({"text": there})
    other = reader("text").collate(["a red picture", "a red picture of all", "all of it"])
    want = Want("kind", "logits")
    found = one(batch, [want])[want]
    assert torch.allclose(one(replace(batch, inputs=batch.inputs | {"text": other}), [want])[want], found, atol=1e-6)
    assert torch.allclose(one(rows(), [want])[want][[0, 2]], found[[0, 2]], atol=1e-6)


def test_early_is_merged_over_what_the_blocks_begin_with() -> None:
    one, batch = model("early"), rows()
    merged = Merged(16, widths={"image": 16, "text": 16}).eval()
    merged.load_state_dict(one.fusion[FUSED].state_dict())
    parts = {}
    for name in NAMES:
        x, mask = one.encoder[name].embed(**batch.inputs[name])
        parts[name] = Encoded(x, mask, x[:, 0])
    want = Want(FUSED, "pooled")
    assert torch.equal(one(batch, [want])[want], merged(parts).pooled)
    one(batch, [want])[want].sum().backward()
    assert not any(p.grad is not None for p in one.encoder["text"].blocks.parameters()), "its blocks do not run"


def test_early_needs_encoders_that_have_blocks() -> None:
    bert = '{"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 300}'
    with pytest.raises(ConfigError, match="early fusion begins before the blocks of the text encoder") as caught:
        model("early", text={"kind": "pretrained", "architecture": bert})
    assert caught.value.hint == "--set fusion.kind=merged"
