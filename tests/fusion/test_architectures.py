"""Causal language models of transformers, one of each way to build one, under both fusions: none is a special case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmkit.batch import Want
from mmkit.decoding import Anew, Stepwise, others
from mmkit.encode import encoded_once
from tests.fusion.test_language import KEYS, WORDS, pictures, seeing, texts
from tests.small import reader

ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
COMMON: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
GROUPED = COMMON | {"num_key_value_heads": 1, "head_dim": 8}
# model_type -> its configuration: places learned, rotated or by ALiBi; grouped heads; blocks of several names
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "opt": COMMON | {"ffn_dim": 32, "word_embed_proj_dim": 16},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "gpt_neox": COMMON,
    "llama": GROUPED,
    "qwen2": GROUPED,
    "gemma": GROUPED,
    "phi": COMMON,
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint whose tokens differ enough that none is about as likely as another."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder: Path = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(1)
    tokens = reader("text").tokenizer
    config = AutoConfig.for_model(request.param, vocab_size=tokens.vocab_size, **ARCHITECTURES[request.param], **ENDS)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.ndim == 2 or parameter.size(0) == tokens.vocab_size:  # a bias of the last layer, where there is one
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tokens.save(folder / "tokenizer.json")
    return folder


@torch.inference_mode()
def test_a_new_flamingo_says_what_the_checkpoint_says(checkpoint: Path) -> None:
    from transformers import AutoModelForCausalLM

    model, expected = seeing("flamingo", checkpoint, opened=False), AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    batch = texts(model, WORDS)
    given, want = batch.inputs["text"], Want("lm", "logits")
    found = expected(input_ids=given["ids"], attention_mask=given["mask"].long()).logits
    logits = model(batch, [want])[want]
    assert torch.allclose(logits[given["mask"]], found[given["mask"]], atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("kind", KEYS)
def test_what_is_kept_of_words_changes_no_logit(kind: str, checkpoint: Path) -> None:
    model = seeing(kind, checkpoint)
    objective, want, samples = model.loss["lm"], Want("lm", "logits"), pictures(3)
    objective.needs(model)
    known = {r: x for name in others(model, objective) for r, x in encoded_once(model, name, samples, want, {}).items()}
    step, anew = (one(model, objective, known, torch.arange(3)) for one in (Stepwise, Anew))
    generator = torch.Generator().manual_seed(0)
    for length in range(6):
        ids = torch.randint(0, 260, (3,), generator=generator)
        assert torch.allclose(step.next(ids), anew.next(ids), atol=1e-4), length
        if length == 2:
            for one in (step, anew):
                one.take(torch.tensor([1, 1, 0]))
    same = torch.full((3,), 7)
    last = step.next(same)
    assert not torch.allclose(last[0], last[2], atol=1e-3), "the pictures are seen"


def test_what_a_flamingo_learns_leaves_the_checkpoint_as_it_was(checkpoint: Path) -> None:
    model = seeing("flamingo", checkpoint)
    before = {name: value.clone() for name, value in model.encoder["text"].state_dict().items()}
    model.encoder["text"].requires_grad_(False)
    batch, want = texts(model, WORDS), Want("lm", "logits")
    model(batch, [want])[want].square().mean().backward()
    assert all(p.grad is not None for name, p in model.fusion.named_parameters() if "looks" in name and "adapt" not in name)
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1).step()
    assert all(torch.equal(value, before[name]) for name, value in model.encoder["text"].state_dict().items())
