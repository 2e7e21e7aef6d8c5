"""Several samples in one text, each behind its own picture: what a word sees, what is learnt, and what a cache keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mmkit.batch import Batch, Interleaved, Want
from mmkit.decoding import Example, generate
from mmkit.errors import UserError
from mmkit.losses.interleave import Part, chosen, packed
from mmkit.losses.objective import Objective
from mmkit.model import Model
from tests.fusion.test_language import gpt2, pictures, seeing, texts  # noqa: F401

LOGITS = Want("lm", "logits", "lm")
QUESTIONS = [{"question": "is it red?", "answers": ["red"]}, {"question": "a?", "answers": ["blue"]}]


def wide(kind: str = "flamingo", language: Any = None, **keys: Any) -> Model:
    """As `seeing`, of texts long enough for several."""
    model = seeing(kind, language, loss={**keys}, context=64)
    model.loss["lm"].needs(model)
    return model


def version(model: Model, parts: list[list[Part]], count: int) -> Batch:
    """A batch of pictures, the first rows of which say some parts."""
    batch = texts(model, ["a"] * count)
    inputs, told, interleaved = packed(
        parts + [[Part(i, [1, 2])] for i in range(len(parts), count)], model.reader("text").tokenizer
    )
    one = Batch(batch.ids, {"text": inputs}, hidden={"text": told}, interleaved=interleaved)
    return replace(batch, versions={"lm": one})


@torch.inference_mode()
@pytest.mark.parametrize("foreign", [False, True], ids=["own", "gpt2"])
def test_a_word_sees_the_last_picture_alone(foreign: bool, gpt2: Any) -> None:  # noqa: F811
    model = wide(language=gpt2 if foreign else None)
    first, second = [1, 70, 71, 72, 2], [1, 80, 81, 2]
    batch = version(model, [[Part(0, first), Part(1, second)]], 3)
    other = replace(batch, inputs=batch.inputs | {"image": {"pixels": batch.inputs["image"]["pixels"].clone()}})
    other.inputs["image"]["pixels"][1] = 255 - other.inputs["image"]["pixels"][1]
    before, after = (model(one, [LOGITS])[LOGITS][0] for one in (batch, other))
    changed = (before - after).abs().amax(1)
    assert (changed[: len(first)] == 0).all(), "the second picture is of words behind the first text alone"
    assert (changed[len(first) : len(first) + len(second)] > 1e-3).all()
    other.inputs["image"]["pixels"][0] = 255 - other.inputs["image"]["pixels"][0]
    assert (model(other, [LOGITS])[LOGITS][0, 0] - before[0]).abs().max() > 1e-3


@torch.inference_mode()
def test_words_before_all_pictures_are_the_language_models(gpt2: Any) -> None:  # noqa: F811
    for language in (None, gpt2):
        model = wide(language=language)
        batch = version(model, [[Part(0, [1, 70, 71]), Part(1, [72, 73, 2])]], 2)
        chain = batch.versions["lm"].interleaved  # type: ignore[union-attr]
        place = torch.where(chain.place == 1, chain.place, -1)
        one = replace(batch.versions["lm"], interleaved=Interleaved(chain.rows, place))
        found = model(replace(batch, versions={"lm": one}), [LOGITS])[LOGITS][0]
        text = Batch(batch.ids, {"text": one.inputs["text"]})
        alone = model.head["lm"](model(text, [Want("text", "tokens")])[Want("text", "tokens")])[0]
        assert torch.allclose(found[:3], alone[:3], atol=1e-5)
        assert not torch.allclose(found[3:6], alone[3:6], atol=1e-2)


@torch.inference_mode()
@pytest.mark.parametrize("foreign", [False, True], ids=["own", "gpt2"])
def test_what_is_written_behind_examples_is_what_the_whole_model_foretells(foreign: bool, gpt2: Any) -> None:  # noqa: F811
    model = wide(language=gpt2 if foreign else None)
    objective, items = model.loss["lm"], pictures(5)
    examples = [Example(items[3], "red", "is it red?"), Example(items[4], "a red picture")]
    prompts = ["a?", "blue?", "of it?"]
    how: dict[str, Any] = {"prompts": prompts, "length": 60}
    written = generate(model, objective, items[:3], examples=examples, **how)
    tokens = objective.reader.tokenizer
    for i, prompt in enumerate(prompts):
        ((alone,),) = generate(model, objective, items[i : i + 1], examples=examples, prompts=[prompt], length=60)
        assert alone.ids == written[i][0].ids, "no other row of the batch changes it"
        shown = [*tokens.encode(["is it red? red", "a red picture"]), [*objective.prompt_ids(prompt), *alone.ids[1:]]]
        parts = [Part(n, ids) for n, ids in enumerate(shown)]
        inputs, _, chain = packed([parts] * 3, tokens)
        pixels = model.reader("image").collate([one["image"] for one in (items[3], items[4], items[i])])
        one = Batch([""] * 3, {"text": inputs}, interleaved=chain)
        logits = model(Batch([""] * 3, {"image": pixels, "text": inputs}, versions={"lm": one}), [LOGITS])[LOGITS][0]
        begin = sum(map(len, shown)) - len(alone.ids)
        assert logits[begin:-1].argmax(1).tolist() == list(alone.ids[1:])
    assert [one.ids for (one,) in written] != [one.ids for (one,) in generate(model, objective, items[:3], **how)]
    beams = generate(model, objective, items[:3], beams=3, examples=examples, **how)
    assert all(a[0].score >= b[0].score - 1e-6 for a, b in zip(beams, written, strict=True))


def batch_of(model: Model, rows: int) -> Batch:
    batch = texts(model, ["a red picture" if i % 3 else "blue" for i in range(rows)])
    targets = {"questions": [QUESTIONS[i % 2] for i in range(rows)]}
    return replace(batch, ids=[str(i) for i in range(rows)], targets=targets)


def test_a_row_is_learnt_behind_others_of_its_group_and_kind() -> None:
    model = wide(shots=3)
    objective: Objective = model.loss["lm"]
    batch = batch_of(model, 24)
    made: Any = objective.corrupt(batch, "7", {})["lm"]
    chain, decode = made.interleaved, model.reader("text").tokenizer.backend.decode
    ids, told = made.inputs["text"]["ids"], made.hidden["text"]
    lengths = []
    for i in range(24):
        parts = [ids[i][chain.place[i] == n].tolist() for n in range(int(chain.place[i].max()) + 1)]
        rows = chain.rows[i, : len(parts)].tolist()
        lengths.append(len(parts))
        assert rows[-1] == i and len(set(rows)) == len(rows) and {row // 4 for row in rows} == {i // 4}
        assert [decode(part).strip() for part in parts] == [made.said["text"][row] for row in rows]
        assert len({"?" in made.said["text"][row] for row in rows}) == 1, "captions before captions, answers before answers"
        foretold = [decode(ids[i][told[i] & (chain.place[i] == n)].tolist()).strip() for n in range(len(parts))]
        assert foretold == [made.said["text"][row].rpartition("? ")[2] for row in rows]
    assert set(lengths) == {4}, "a group asks or captions together"
    half: Any = objective.corrupt(batch.take(range(12, 24)), "7", {})["lm"]
    cut: Any = replace(batch, versions={"lm": made}).take(range(12, 24)).versions["lm"]
    width = half.inputs["text"]["ids"].size(1)
    assert torch.equal(half.inputs["text"]["ids"], cut.inputs["text"]["ids"][:, :width])
    both: list[Tensor] = [x.interleaved.shown(torch.ones(12, 1, dtype=torch.bool)).sum((1, 2)) for x in (half, cut)]
    assert torch.equal(*both), "parts of a batch take the same rows"
    assert int(cut.interleaved.rows.min()) >= 0 and int(cut.interleaved.rows.max()) < 12


def test_no_text_is_longer_than_what_is_read() -> None:
    import random

    parts = [Part(i, [1, 5, 6, 2]) for i in range(5)]
    found = chosen(2, [True] * 5, parts, 5, 9, random.Random(0))
    assert len(found) == 2 and found[-1] is parts[2]
    assert chosen(2, [True, True, None, True, True], parts, 5, 99, random.Random(0)) == [parts[2]]


def test_a_fusion_of_one_picture_takes_no_examples() -> None:
    model = wide("prefix")
    with pytest.raises(UserError, match="takes one picture a text, and so no examples"):
        generate(model, model.loss["lm"], pictures(1), prompts=["a"], examples=[Example(pictures(1)[0], "red", "a?")])
    with pytest.raises(UserError, match="the prefix fusion takes one picture a text") as e:
        wide("prefix", shots=2)
    assert e.value.hint == "--set fusion.kind=flamingo"


def test_examples_that_fill_the_context_are_one_line() -> None:
    model = wide()
    examples = [Example(one, "a red picture of all of it", "is it red?") for one in pictures(4)]
    with pytest.raises(UserError, match="leaves no room for a text") as e:
        generate(model, model.loss["lm"], pictures(1), prompts=["a?"], examples=examples)
    assert "fewer --shots" in str(e.value.hint)
