"""Language models that see, as typed: trained on a run or a checkpoint, asked for captions and answers; the model unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

SHORT = ("--limit", 48, "--batch-size", 16, "--size", "tiny")


@pytest.fixture(scope="module")
def base(asked: Path, invoke: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ./shapes, red.png and ./runs/base, whose text encoder is a language model after two steps."""
    folder = tmp_path_factory.mktemp("seeing")
    (folder / "shapes").symlink_to(asked / "shapes")
    (folder / "red.png").symlink_to(asked / "red.png")
    lm = ("--set", "loss.lm.kind=lm", "--set", "loss.lm.of=text", "--set", "data.text.context=64")
    outcome = invoke("train", "shapes", *SHORT, "--steps", 2, *lm, "--name", "base", cwd=folder)
    assert outcome.code == 0, outcome.stderr
    return folder


def train(folder: Path, invoke: Callable[..., Any], recipe: str, *args: Any, name: str = "") -> dict[str, torch.Tensor]:
    outcome = invoke("train", "shapes", "--recipe", recipe, *SHORT, "--lr", "0.01", "--name", name or recipe, *args, cwd=folder)
    assert outcome.code == 0, outcome.stderr
    return load_file(folder / "runs" / (name or recipe) / "model.safetensors")


def test_a_flamingo_leaves_its_language_model_as_it_was(base: Path, invoke: Callable[..., Any]) -> None:
    before = load_file(base / "runs/base/model.safetensors")
    found = train(base, invoke, "flamingo", "--init", "runs/base", "--steps", 4)
    kept = [name for name in found if name.startswith(("encoder.", "head."))]
    assert any(name.startswith("head.lm.") for name in kept)
    for name in kept:
        assert found[name].numpy().tobytes() == before[name].numpy().tobytes(), name
    assert all(found[name].any() for name in found if ".gate" in name), "the gates have opened"


def test_it_is_asked(base: Path, invoke: Callable[..., Any]) -> None:
    if not (base / "runs/flamingo").exists():
        train(base, invoke, "flamingo", "--init", "runs/base", "--steps", 4)
    run = ("--model", "runs/flamingo")
    (one,) = invoke("caption", "red.png", *run, "--beams", 3, cwd=base).lines
    assert list(one) == ["image", "caption", "score"]
    outcome = invoke("answer", "red.png", "what colour is it?", *run, "--top", 2, cwd=base)
    assert outcome.code == 0, outcome.stderr
    assert [list(one) for one in outcome.lines] == [["image", "question", "answer", "probability"]] * 2
    first, second = (one["probability"] for one in outcome.lines)
    assert 0 <= second <= first <= 1
    data = ("--data", "shapes", "--split", "val", "--limit", 4, "--json", *run)
    for metric in ("vqa", "caption"):
        outcome = invoke("eval", metric, *data, "--beams", 2, cwd=base)
        assert outcome.code == 0, outcome.stderr
        record = outcome.lines[0]
        assert record["beams"] == 2 and record["metrics"].keys() >= record["chance"].keys()
    outcome = invoke("eval", "recall@k", *data, "--beams", 2, cwd=base)
    assert outcome.code == 2 and "--beams is of caption" in outcome.stderr


def test_llava_learns_its_mlp_first_and_then_the_language_model(base: Path, invoke: Callable[..., Any]) -> None:
    before = load_file(base / "runs/base/model.safetensors")
    often = (
        "--set",
        "train.checkpoint_every=1",
        "--set",
        'stage=[{train=["fusion.*"], until=2}, {train=["fusion.*", "encoder.text.*"]}]',
    )
    last = train(base, invoke, "llava", "--init", "runs/base", "--steps", 3, *often)
    first = load_file(base / "runs/llava/checkpoints/step-00000002/model.safetensors")
    texts = [name for name in first if name.startswith("encoder.text.")]
    assert all(torch.equal(first[name], before[name]) for name in texts)
    assert any(not torch.equal(last[name], first[name]) for name in texts if last.keys())


def test_examples_are_shown_before_what_is_asked(base: Path, invoke: Callable[..., Any]) -> None:
    shots = ("--set", "loss.lm.shots=2", "--set", "data.text.context=120")
    train(base, invoke, "flamingo", "--init", "runs/base", "--steps", 2, "--batch-size", 15, *shots, name="few")
    run = ("--model", "runs/few", "--data", "shapes")
    asked = ("answer", "red.png", "what colour is it?", *run)
    few = [invoke(*asked, "--shots", 2, "--seed", seed, cwd=base).lines[0] for seed in (0, 0, 1)]
    alone = ("answer", "red.png", "what colour is it?", "--model", "runs/few")
    assert few[0] == few[1] != few[2] and few[0] != invoke(*alone, cwd=base).lines[0]
    for_nothing = invoke(*asked, cwd=base)
    assert for_nothing.code == 2 and "--data says where --shots examples come from, --data shapes" in for_nothing.stderr
    assert invoke("caption", "red.png", *run, "--shots", 2, "--top", 2, cwd=base).lines[0]["caption"]
    record = invoke("eval", "vqa", *run, "--split", "val", "--limit", 2, "--shots", 2, "--seed", 3, "--json", cwd=base).lines[0]
    assert (record["shots"], record["seed"], record["beams"]) == (2, 3, 1)
    for args, said in (
        (("eval", "vqa", *run, "--split", "train", "--shots", 2), "examples are rows of train"),
        ((*asked, "--shots", 30), "leaves no room for a text"),
        ((*asked, "--shots", 3000), "rows to show before a question, not 3000"),
    ):
        outcome = invoke(*args, cwd=base)
        assert outcome.code == 1 and said in outcome.stderr, outcome.stderr


def test_answers_are_drawn_as_captions_are(base: Path, invoke: Callable[..., Any]) -> None:
    if not (base / "runs/flamingo").exists():
        train(base, invoke, "flamingo", "--init", "runs/base", "--steps", 4)
    asked = ("answer", "red.png", "what colour is it?", "--model", "runs/flamingo")
    drawn = [invoke(*asked, "--temperature", 2, "--seed", seed, cwd=base).lines[0] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    narrow = invoke(*asked, "--top-p", 0.001, cwd=base).lines[0]["answer"]
    assert narrow == invoke(*asked, cwd=base).lines[0]["answer"], "the likeliest token alone is left"
    data = ("--data", "shapes", "--split", "val", "--limit", 2, "--json", "--model", "runs/flamingo")
    (record,) = invoke("eval", "vqa", *data, "--top-p", 0.5, "--seed", 4, cwd=base).lines
    assert record["sampling"] == {"top_p": 0.5, "temperature": 1.0, "seed": 4}


def test_llava_learns_by_adapters(base: Path, invoke: Callable[..., Any]) -> None:
    before = load_file(base / "runs/base/model.safetensors")
    stages = 'stage=[{train=["fusion.*"], until=1}, {train=["fusion.*", "encoder.text.*lora_*"]}]'
    found = train(
        base, invoke, "llava", "--init", "runs/base", "--steps", 3, "--set", "train.lora=2", "--set", stages, name="lora"
    )
    changed = {name for name in found if name.startswith(("encoder.", "head.")) and not torch.equal(found[name], before[name])}
    layers = ("attention.q.weight", "attention.v.weight")
    assert changed == {f"encoder.text.blocks.{i}.{layer}" for i in range(2) for layer in layers}, "merged, and nothing else"
    assert found.keys() - before.keys() == {name for name in found if name.startswith("fusion.")}
    assert invoke("answer", "red.png", "what colour is it?", "--model", "runs/lora", cwd=base).code == 0


def test_over_a_checkpoint(base: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    """A GPT-2 whose tokenizer marks no ends."""
    from transformers import GPT2Config, GPT2LMHeadModel

    stated = json.loads((base / "runs/base/tokenizer.json").read_text())
    size = len(stated["model"]["vocab"])
    stated["post_processor"] = stated["truncation"] = stated["padding"] = None
    config = GPT2Config(vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2)
    model = GPT2LMHeadModel(config)
    model.save_pretrained(tmp_path / "gpt2")
    (tmp_path / "gpt2/tokenizer.json").write_text(json.dumps(stated))
    found = train(base, invoke, "flamingo", "--init", "runs/base", "--text-encoder", tmp_path / "gpt2", "--steps", 2, name="over")
    for name, value in model.state_dict().items():
        if name.startswith("transformer."):
            own = found[f"encoder.text.body.{name.removeprefix('transformer.')}"]
            assert own.numpy().tobytes() == value.numpy().tobytes(), name
    assert torch.equal(found["head.lm.1.weight"], model.lm_head.weight)
    seen = load_file(base / "runs/base/model.safetensors")
    assert all(torch.equal(found[name], seen[name]) for name in seen if name.startswith("encoder.image."))
    assert json.loads((base / "runs/over/tokenizer.json").read_text())["post_processor"], "the ends of its own tokenizer"
    (one,) = invoke("answer", "red.png", "what colour is it?", "--model", "runs/over", cwd=base).lines
    assert isinstance(one["answer"], str)
