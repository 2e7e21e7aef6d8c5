"""Fusions that drive a language model: what they leave as it is, and what they write, against transformers and naive loops."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmkit import foreign
from mmkit.batch import Batch, Want
from mmkit.decoding import Anew, Stepwise, generate, others, writer
from mmkit.encode import encoded_once
from mmkit.errors import ConfigError, UserError
from mmkit.fusion.resampler import Resampler
from mmkit.layers import Encoded
from mmkit.model import Model
from mmkit.training.schedule import make_optimizer
from tests.small import reader, small

LM = {"lm": {"kind": "lm", "of": "fused.text", "answers": "questions"}}
KEYS: dict[str, dict[str, Any]] = {
    "prefix": {"layers": 2},
    "flamingo": {"latents": 4, "dim": 16, "layers": 1, "heads": 2},
}
WORDS = ["a red picture", "blue", "all of it"]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 of two blocks with the tokenizer of `small`."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(1)
    size = reader("text").tokenizer.vocab_size
    config = GPT2Config(vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2)
    model = GPT2LMHeadModel(config)
    for name, parameter in model.named_parameters():  # logits far enough apart that no two texts are about as likely
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=1.0 if "wte" in name else 0.3)
    model.save_pretrained(folder)
    reader("text").tokenizer.save(folder / "tokenizer.json")
    return folder


def seeing(
    kind: str, language: Path | None = None, opened: bool = True, loss: dict[str, Any] | None = None, context: int = 16
) -> Model:
    """A model of random weights over an own language model, or that of a checkpoint.

    Args:
        loss: further keys of the loss; context: the longest text.
    """
    fusion = {"kind": kind, "inputs": ["image", "text"], **KEYS[kind]}
    tables: dict[str, Any] = {"fusion": fusion, "loss": {"lm": LM["lm"] | (loss or {})}, "data": {"text": {"context": context}}}
    if language:
        from mmkit.encoders.pretrained import describe

        text = {"kind": "pretrained", "from": str(language), "architecture": describe(str(language), "text")}
        tables["encoder"] = {"text": text}
    else:
        tables["encoder"] = {"text": {"layers": 2}}
    model = small(context=context, **tables)
    if language:
        assert foreign.load(model, ["text"]) == ["text"]
    else:
        torch.nn.init.normal_(model.head["lm"][1].weight)
    for name, parameter in model.named_parameters():
        if opened and ".gate" in name:
            torch.nn.init.ones_(parameter)
    return model


def texts(model: Model, said: list[str], present: list[bool] | None = None) -> Batch:
    count, generator = len(said), torch.Generator().manual_seed(0)
    pictures = [{"image": torch.randint(0, 255, (3, 16, 16), dtype=torch.uint8, generator=generator)} for _ in said]
    inputs = {
        "image": model.reader("image").collate([one["image"] for one in pictures]),
        "text": model.reader("text").collate(said),
    }
    return Batch([""] * count, inputs, {"image": torch.tensor(present or [True] * count)}, said={"text": said})


def pictures(count: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(count)
    return [{"image": torch.randint(0, 255, (3, 16, 16), dtype=torch.uint8, generator=generator)} for _ in range(count)]


@torch.inference_mode()
def test_a_new_flamingo_says_what_transformers_says(gpt2: Path) -> None:
    from transformers import GPT2LMHeadModel

    model, expected = seeing("flamingo", gpt2, opened=False), GPT2LMHeadModel.from_pretrained(gpt2).eval()
    batch = texts(model, WORDS)
    logits = model(batch, [Want("lm", "logits")])[Want("lm", "logits")]
    given = batch.inputs["text"]
    found = expected(input_ids=given["ids"], attention_mask=given["mask"].long()).logits
    assert torch.allclose(logits[given["mask"]], found[given["mask"]], atol=1e-5)


@torch.inference_mode()
def test_a_new_flamingo_says_what_its_own_language_model_says() -> None:
    model = seeing("flamingo", opened=False)
    batch = texts(model, WORDS)
    fused, alone = (model(batch, [want])[want] for want in (Want("fused.text", "tokens"), Want("text", "tokens")))
    mask = batch.inputs["text"]["mask"]
    assert torch.allclose(fused[mask], alone[mask], atol=1e-6)
    opened = seeing("flamingo")
    fused, alone = (opened(batch, [want])[want] for want in (Want("fused.text", "tokens"), Want("text", "tokens")))
    assert not torch.allclose(fused[mask], alone[mask], atol=1e-2)


@torch.inference_mode()
def test_gates_learn_ten_times_as_fast() -> None:
    model = seeing("flamingo", opened=False)
    model.config.train.lr = 1e-3
    made = {id(p): group["factor"] for group in make_optimizer(model, model.config.train).param_groups for p in group["params"]}
    factors = {name: made[id(p)] for name, p in model.fusion.named_parameters()}
    assert {name for name, factor in factors.items() if factor == 10} == {name for name in factors if ".gate" in name} != set()


@pytest.mark.parametrize("kind", KEYS)
def test_a_flamingo_without_a_picture_is_its_language_model(kind: str, gpt2: Path) -> None:
    for language in (None, gpt2):
        model = seeing(kind, language)
        model.loss["lm"].needs(model)
        want = Want("lm", "logits")
        batch = texts(model, WORDS, [True, False, True])
        logits = model(batch, [want])[want]
        assert logits.isfinite().all()
        if kind == "flamingo":
            alone = model.head["lm"](model(batch, [Want("text", "tokens")])[Want("text", "tokens")])
            mask = batch.inputs["text"]["mask"]
            assert torch.allclose(logits[1][mask[1]], alone[1][mask[1]], atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("kind", KEYS)
def test_what_pads_a_picture_changes_no_word(kind: str, gpt2: Path) -> None:
    """A row is as long as the longest beside it, as sounds and videos are."""
    for language in (None, gpt2):
        model = seeing(kind, language)
        batch = texts(model, WORDS)
        got = model(
            batch, wants := [Want("image", "tokens"), Want("image", "mask"), Want("text", "embedded"), Want("text", "mask")]
        )
        x, image_mask, words, mask = (got[want] for want in wants)
        seen = {"image": Encoded(x, image_mask, x[:, 0]), "text": Encoded(words, mask, words[:, 0])}
        pad = torch.nn.functional.pad
        padded = Encoded(pad(x, (0, 0, 0, 5)), pad(image_mask, (0, 5)), x[:, 0])
        fused = model.fusion["fused"]
        assert torch.allclose(fused(seen | {"image": padded}).tokens[mask], fused(seen).tokens[mask], atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("kind", KEYS)
def test_the_cache_changes_no_logit(kind: str, gpt2: Path) -> None:
    for language in (None, gpt2):
        model = seeing(kind, language)
        objective, want = model.loss["lm"], Want("lm", "logits")
        samples = pictures(4)
        known = {r: x for name in others(model, objective) for r, x in encoded_once(model, name, samples, want, {}).items()}
        rows, generator = torch.arange(4), torch.Generator().manual_seed(0)
        step, anew = Stepwise(model, objective, known, rows), Anew(model, objective, known, rows)
        assert isinstance(writer(model, objective, known, rows), Stepwise)
        for length in range(10):
            ids = torch.randint(0, 260, (4,), generator=generator)
            assert torch.allclose(step.next(ids), anew.next(ids), atol=1e-4), length
            if length == 4:  # as beams that change places
                rows = torch.tensor([2, 0, 0, 3])
                step.take(rows)
                anew.take(rows)
        assert not torch.allclose(*(anew.next(torch.full((4,), 7)))[:2], atol=1e-3), "the picture is seen"


@torch.inference_mode()
def test_it_writes_the_tokens_that_transformers_generates(gpt2: Path) -> None:
    from transformers import GPT2LMHeadModel

    model, expected = seeing("flamingo", gpt2, opened=False), GPT2LMHeadModel.from_pretrained(gpt2).eval()
    prompt = "a red"
    ids = torch.tensor([model.loss["lm"].prompt_ids(prompt)])
    for beams in (1, 3):
        options = {"num_beams": beams, "do_sample": False, "max_length": 16, "early_stopping": beams > 1, "pad_token_id": 0}
        found = expected.generate(ids, attention_mask=torch.ones_like(ids), length_penalty=1.0, **options)
        ((written,),) = generate(model, model.loss["lm"], pictures(1), beams, 1, prompts=[prompt])
        if beams == 1:
            assert list(written.ids) == found[0, ids.size(1) - 1 :].tolist()
        else:
            likely = generate(model, model.loss["lm"], pictures(1), 1, 1, prompts=[prompt])[0][0]
            assert written.score >= likely.score - 1e-6


@torch.inference_mode()
def test_prompts_of_any_length_are_answered_in_their_order() -> None:
    model, samples = seeing("prefix"), pictures(5)
    prompts = ["a red", "blue", "all of", "a", "picture red"]
    together = generate(model, model.loss["lm"], samples, 2, 2, prompts=prompts)
    for sample, prompt, found in zip(samples, prompts, together, strict=True):
        (alone,) = generate(model, model.loss["lm"], [sample], 2, 2, prompts=[prompt])
        assert [one.ids for one in alone] == [one.ids for one in found]


def test_a_prompt_that_fills_the_context_is_one_line() -> None:
    model = seeing("prefix")
    with pytest.raises(UserError, match="a prompt of 15 tokens leaves no room") as e:
        generate(model, model.loss["lm"], pictures(1), prompts=["q" * 40], length=15)
    assert e.value.where == "data.text.context = 16" and not generate(model, model.loss["lm"], [], prompts=[])


def test_only_the_answer_is_foretold() -> None:
    model = seeing("prefix")
    objective = model.loss["lm"]
    asked = {"question": "all of it is?", "answers": ["red"]}
    batch = texts(model, ["a red picture"] * 40)
    batch = Batch([str(i) for i in range(40)], batch.inputs, said=batch.said, targets={"questions": [asked] * 40})
    (version,) = objective.corrupt(batch, "7", {}).values()
    questions = [i for i, said in enumerate(version.said["text"]) if said == "all of it is? red"]
    assert 8 < len(questions) < 32
    tokens, told = version.inputs["text"]["ids"], version.hidden["text"]
    decode = objective.reader.tokenizer.backend.decode
    for i in range(40):
        said = decode(tokens[i][told[i]].tolist()).strip()
        assert said == ("red" if i in questions else "a red picture")
    assert (objective.corrupt(batch, "7", {})["lm"].inputs["text"]["ids"] == tokens).all()
    part = objective.corrupt(batch.take(range(20, 40)), "7", {})["lm"]
    assert part.said["text"] == version.said["text"][20:], "no part changes what is drawn"


def test_tokens_of_answers_weigh_what_is_said() -> None:
    found = {}
    for weight in (1.0, 5.0):
        model = seeing("prefix", loss={"answers_weight": weight})
        objective = model.loss["lm"]
        batch = texts(model, ["a red picture"] * 8)
        targets = {"questions": [{"question": "all of it is?", "answers": ["red"]}] * 8}
        batch = replace(batch, ids=[str(i) for i in range(8)], targets=targets)
        batch = replace(batch, versions=objective.corrupt(batch, "7", {}))
        asks = torch.tensor([text.startswith("all") for text in batch.versions["lm"].said["text"]])
        told, logits = batch.versions["lm"].hidden["text"], model(batch, objective.wants())
        n = told.sum(1)
        assert 0 < asks.sum() < 8
        assert objective.count(batch) == n[~asks].sum() + weight * n[asks].sum()
        found[weight] = objective.score(logits, batch).detach()
        parts = [objective.score(model(one, objective.wants()), one) for one in (batch.take(range(4)), batch.take(range(4, 8)))]
        assert torch.allclose(sum(parts), found[weight], rtol=1e-5)
        ids, words = batch.versions["lm"].inputs["text"]["ids"], logits[objective.wants()[0]].log_softmax(-1)
        each = -words[:, :-1].gather(2, ids[:, 1:, None])[..., 0] * told[:, 1:]
        assert torch.allclose(found[weight], each[~asks].sum() + weight * each[asks].sum(), rtol=1e-5)
    assert found[5.0] > found[1.0]


def test_latents_see_as_a_naive_loop_does() -> None:
    torch.manual_seed(0)
    module = Resampler(latents=3, dim=8, layers=2, heads=1, widths={"image": 5})
    tokens, mask = torch.randn(2, 4, 5), torch.tensor([[True, True, True, False], [True] * 4])
    found = module({"image": Encoded(tokens, mask, tokens[:, 0])}).tokens
    for b in range(2):
        shown = module.adapt["image"](tokens[b][mask[b]]) + module.kind["image"]
        x: Tensor = module.latents
        for block in module.blocks:
            inner, normed = block.attention, block.norm_latents(x)
            keys = torch.cat([block.norm_tokens(shown), normed])
            weights = (inner.q(normed) @ inner.k(keys).T / 8**0.5).softmax(-1)
            x = x + inner.out(weights @ inner.v(keys))
            hidden = block.mlp[1](block.mlp[0](x))
            x = x + block.mlp[3](hidden.clamp(min=0) ** 2)
        assert torch.allclose(found[b], module.norm(x), atol=1e-5)


def test_what_is_no_language_model_cannot_be_driven() -> None:
    with pytest.raises(ConfigError, match="no language model"):
        small(fusion={"kind": "prefix", "inputs": ["image", "text"], "query": "image"}, loss=LM)


def test_a_tokenizer_without_ends_gets_those_of_the_checkpoint(tmp_path: Path) -> None:
    from mmkit.data.checkpoint import open_checkpoint, tokenizer

    backend = reader("text").tokenizer.backend
    stated = json.loads(backend.to_str())
    stated["post_processor"] = stated["truncation"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(stated))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "eos_token_id": 2}))
    checkpoint = open_checkpoint(str(tmp_path))
    assert tokenizer(checkpoint, 8, True).encode([""]) == [[]]
    assert tokenizer(checkpoint, 8, True, ends=True).encode([""]) == [[2, 2]]
    (cut,) = tokenizer(checkpoint, 4, True, ends=True).encode(["a red picture of all of it"])
    assert len(cut) == 4 and cut[0] == cut[-1] == 2
