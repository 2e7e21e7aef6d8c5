"""The loss of language: against a loop, and that nothing it reads sees what is to be foretold."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import torch
from torch import Tensor

from mmkit.batch import Batch, Want
from mmkit.config import merge
from mmkit.errors import ConfigError, UserError
from mmkit.losses.language import NOTHING, leaks
from mmkit.model import Model
from tests.small import reader, small

LM = {"lm": {"kind": "lm", "of": "fused.text"}}
SAID = ["a red picture", "blue", "", "all of it is green"]
LOGITS, MASK = Want("lm", "logits"), Want("fused.text", "mask")


def captioner(kind: str = "cross", loss: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **keys: Any) -> Model:
    fusion = {"kind": kind, "dim": 16, "inputs": ["image", "text"], **keys}
    fusion |= {} if kind == "concat" else {"layers": 2, "heads": 2}
    encoder = {"text": {"kind": "transformer", "dim": 16, "layers": 1, "heads": 2, **(text or {})}}
    model = small(fusion=fusion, loss=loss or LM, encoder=encoder)
    for name, parameter in model.named_parameters():
        if name.endswith(".gate"):
            torch.nn.init.ones_(parameter)
    return model


def batch(said: list[str], there: list[bool] | None = None) -> Batch:
    pixels = torch.randint(0, 255, (len(said), 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    present = {} if there is None else {"text": torch.tensor(there)}
    return Batch(
        [str(i) for i in range(len(said))],
        {"image": {"pixels": pixels}, "text": reader("text").collate(said)},
        present,
        said={"text": said},
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_is_the_cross_entropy_of_each_next_token(smoothing: float) -> None:
    model = captioner(causal=True, loss={"lm": {**LM["lm"], "label_smoothing": smoothing}})
    rows = batch(SAID, [True, True, False, True])
    got = model(rows, model.loss["lm"].wants())
    found = model.loss["lm"].score(got, rows)
    total, count = torch.zeros(()), 0
    for row, text in enumerate(SAID):
        ids = reader("text").tokenizer.encode([text])[0]
        assert ids[0] == 1 and ids[-1] == 2
        for place in range(len(ids) - 1) if text else ():
            log = got[LOGITS][row, place].log_softmax(0)
            total = total - (1 - smoothing) * log[ids[place + 1]] - smoothing * log.mean()
            count += 1
    assert torch.allclose(found, total, rtol=1e-5)
    assert model.loss["lm"].count(rows).item() == count
    # the sum of parts is that of the whole, however long the texts of a part are
    parts = [rows.take(span) for span in ([0, 1], [2, 3])]
    split = [model.loss["lm"].score(model(part, model.loss["lm"].wants()), part) for part in parts]
    assert torch.allclose(sum(split), found, rtol=1e-5)  # type: ignore[arg-type]


def test_rows_without_a_text_give_zero_and_a_graph() -> None:
    model = captioner(causal=True)
    rows = batch(["", ""], [False, False])
    found = model.loss["lm"].score(model(rows, model.loss["lm"].wants()), rows)
    assert found.item() == 0 and model.loss["lm"].count(rows).item() == 0
    found.backward()
    assert model.loss["lm"].at_chance(rows) is None


def test_a_text_that_stands_at_the_right_is_foretold_alike() -> None:
    loss = captioner(causal=True).loss["lm"]
    given = reader("text").collate(SAID[:2])
    right = loss.following(given["mask"], SAID[:2])
    left = loss.following(given["mask"].flip(1), SAID[:2])
    for a, b in zip(right, left, strict=True):
        assert a[a != NOTHING].tolist() == b[b != NOTHING].tolist()
        assert b[-1] == NOTHING and (b != NOTHING).sum() > 1


def test_the_mean_log_probability_of_a_text() -> None:
    model = captioner(causal=True)
    rows = batch(SAID, [True, True, False, True])
    got = model(rows, model.loss["lm"].wants())
    found = model.loss["lm"].log_probability(got, SAID)
    alone = [batch([text]) for text in SAID]
    for i in (0, 1, 3):
        alone[i].inputs["image"]["pixels"] = rows.inputs["image"]["pixels"][i : i + 1]
        one = model(alone[i], model.loss["lm"].wants())
        loss, count = model.loss["lm"].score(one, alone[i]), model.loss["lm"].count(alone[i])
        assert torch.allclose(found[i], -loss / count, atol=1e-5)
    assert found[2] == 0


CAUSAL = ["cross", "gated-cross", "merged", "early"]


@pytest.mark.parametrize("kind", CAUSAL)
@torch.no_grad()
def test_what_comes_later_changes_no_logit_before(kind: str) -> None:
    model = captioner(kind, causal=True)
    rows = batch(["all of it is green", "blue"])
    ids = rows.inputs["text"]["ids"]

    def answers(ids: Tensor) -> dict[Want, Tensor]:
        rows.inputs["text"] = {"ids": ids, "mask": rows.inputs["text"]["mask"]}
        return model(rows, [LOGITS, Want("fused", "pooled"), Want("fused", "tokens")])

    before = answers(ids)
    length = ids.size(1)
    for place in range(length):
        changed = ids.clone()
        changed[0, place] = 77
        after = answers(changed)
        same = (after[LOGITS][0] - before[LOGITS][0]).abs().amax(1) < 1e-6
        assert same[:place].all() and not same[place], "and what is changed is seen from there on"
        assert torch.equal(after[LOGITS][1], before[LOGITS][1])
        if kind in ("merged", "early"):  # class token and picture never look at the text
            others = before[Want("fused", "tokens")].size(1) - length
            assert torch.allclose(*(got[Want("fused", "tokens")][0, :others] for got in (after, before)), atol=1e-6)


@pytest.mark.parametrize("kind", CAUSAL)
@torch.no_grad()
def test_the_pooled_vector_is_the_last_tokens(kind: str) -> None:
    model = captioner(kind, causal=True)
    rows = batch(SAID, [True, True, False, True])
    wants = [Want("fused", "pooled"), Want("fused.text", "tokens"), MASK]
    pooled, tokens, mask = model(rows, wants).values()
    for row in (0, 1, 3):
        assert torch.equal(pooled[row], tokens[row, int(mask[row].sum()) - 1])
    assert not pooled[2].any()


BIDIRECTIONAL = {"causal": False, "pool": "mean"}
LEAKS = [
    ("cross", {}, {}, "the fusion would see", ["fusion.causal=true"]),
    ("gated-cross", {}, {}, "the fusion would see", ["fusion.causal=true"]),
    ("merged", {}, {}, "the fusion would see", ["fusion.causal=true"]),
    ("early", {}, BIDIRECTIONAL, "the fusion would see", ["fusion.causal=true"]),
    ("hybrid", {}, {}, "the fusion would see", ["fusion.kind=cross", "fusion.causal=true"]),
    ("cross", {"causal": True}, BIDIRECTIONAL, "the text encoder would see", ["encoder.text.causal=true"]),
    (
        "merged",
        {},
        BIDIRECTIONAL,
        "the text encoder and the fusion would see",
        ["encoder.text.causal=true", "fusion.causal=true"],
    ),
    ("concat", {}, {}, "the concat fusion keeps no tokens of the text", ["fusion.kind=cross", "fusion.causal=true"]),
    (
        "cross",
        {"query": "image"},
        {},
        "the cross fusion keeps no tokens of the text",
        ["fusion.query=text", "fusion.causal=true"],
    ),
]


@pytest.mark.parametrize(("kind", "keys", "text", "message", "fixes"), LEAKS)
def test_what_is_not_causal_is_refused_and_the_fix_is_named(
    kind: str, keys: dict[str, Any], text: dict[str, Any], message: str, fixes: list[str]
) -> None:
    model = captioner(kind, text=text, **keys)
    model.train()
    with pytest.raises(UserError, match=message) as e:
        model.loss["lm"].needs(model)
    assert model.training
    assert e.value.hint == " ".join(f"--set {fix}" for fix in fixes)
    # followed as it stands
    tables: dict[str, Any] = {"fusion": {"kind": kind, **keys}, "encoder": {"text": text}}
    for fix in fixes:
        key, value = fix.split("=")
        value = value if value == "true" else f'"{value}"'
        tables = merge(tables, tomllib.loads(f"{key} = {value}"))
    fixed = tables["fusion"]
    model = captioner(fixed.pop("kind"), text=tables["encoder"]["text"], **fixed)
    model.loss["lm"].needs(model)


@pytest.mark.parametrize("kind", CAUSAL)
def test_what_is_causal_is_taken(kind: str) -> None:
    # an early fusion begins before the blocks of the encoder
    for text in ({}, BIDIRECTIONAL) if kind == "early" else ({},):
        model = captioner(kind, text=text, causal=True)
        assert not leaks(model, "text", Want(model.loss["lm"].of, "tokens"))
        model.loss["lm"].needs(model)


def test_a_language_model_alone() -> None:
    model = small(("text",), loss={"lm": {"kind": "lm", "of": "text"}})
    model.loss["lm"].needs(model)
    rows = Batch([""] * 2, {"text": reader("text").collate(SAID[:2])}, said={"text": SAID[:2]})
    assert model.loss["lm"].score(model(rows, model.loss["lm"].wants()), rows).item() > 0
    model = small(("text",), loss={"lm": {"kind": "lm", "of": "text"}}, encoder={"text": BIDIRECTIONAL})
    with pytest.raises(UserError, match="the text encoder would see"):
        model.loss["lm"].needs(model)


def test_whose_tokens_the_head_reads() -> None:
    """`fused` alone is enough where the text's tokens are all there are."""
    one, other = (captioner(causal=True, loss={"lm": {"kind": "lm", "of": of}}) for of in ("fused", "fused.text"))
    rows = batch(SAID[:2])
    scores = [model.loss["lm"].score(model(rows, model.loss["lm"].wants()), rows) for model in (one, other)]
    assert torch.equal(*scores)
    one.loss["lm"].needs(one)
    merged = captioner("merged", causal=True, loss={"lm": {"kind": "lm", "of": "fused"}})
    with pytest.raises(UserError, match="more tokens than those of the text") as e:
        merged.loss["lm"].needs(merged)
    assert e.value.hint == "--set loss.lm.of=fused.text"
    with pytest.raises(ConfigError, match="no words to foretell"):
        captioner(causal=True, loss={"lm": {"kind": "lm", "of": "fused.image"}})


def test_a_few_steps_learn_a_sentence() -> None:
    model = captioner(causal=True).train()
    rows = batch(["a red picture", "blue"])
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(40):
        optimiser.zero_grad()
        loss = model.loss["lm"].score(model(rows, model.loss["lm"].wants()), rows) / model.loss["lm"].count(rows)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.2
