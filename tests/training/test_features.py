"""Frozen encoders run once: the same training, from features on disk."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmkit.data.shards import open_dataset
from tests.encoders.test_pretrained import checkpoint
from tests.parity.conftest import save

BRIEF = ["--steps", 4, "--batch-size", 16, "--set", "train.eval_every=2"]


@pytest.fixture
def place(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ./data, a tiny ResNet ./resnet and a tiny BERT ./bert with a tokenizer; its own cache."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    (tmp_path / "data").symlink_to(run / "data")
    checkpoint("resnet", tmp_path / "resnet")
    settings = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.875}
    (tmp_path / "resnet" / "preprocessor_config.json").write_text(json.dumps(settings))
    words = [
        "a",
        "red",
        "green",
        "blue",
        "yellow",
        "small",
        "large",
        "circle",
        "square",
        "triangle",
        "left",
        "right",
        "of",
        "the",
    ]
    vocab = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, **{w: i + 4 for i, w in enumerate(words)}}
    tiny = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 24,
    }
    save(BertModel(BertConfig(**tiny, vocab_size=len(vocab))), tmp_path / "bert")
    backend = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    # sentence-transformers saves its padding to a fixed length with the tokenizer; it is not ours to keep
    backend.enable_padding(length=20, pad_id=0, pad_token="[PAD]")
    backend.save(str(tmp_path / "bert" / "tokenizer.json"))
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def train(invoke: Callable[..., Any], cwd: Path, *args: Any) -> tuple[dict[str, torch.Tensor], str]:
    from safetensors.torch import load_file

    encoders = ["--image-encoder", "./resnet", "--text-encoder", "./bert"]
    outcome = invoke("train", *encoders, *BRIEF, *args, cwd=cwd)
    assert outcome.code == 0, outcome.stderr
    return load_file(cwd / outcome.stdout.strip() / "model.safetensors"), outcome.stderr


def test_the_cache_changes_nothing(place: Path, invoke: Callable[..., Any]) -> None:
    locked = ["--lock-image", "--lock-text"]
    cached, told = train(invoke, place, *locked, "--name", "cached")
    assert told.count("computed in") == 4
    data = open_dataset(str(place / "data"))
    captions = sum(len(row["captions"]) for row in data.rows("train", ["captions"]))
    assert f"image features of train: {data.splits['train']} x 16" in told
    assert f"text features of train: {captions:,} x 16" in told
    assert "[] (the image encoder is frozen" in told
    again, told = train(invoke, place, *locked, "--name", "again")
    assert told.count("there already") == 4
    plain, told = train(invoke, place, *locked, "--name", "plain", "--cache-limit", 0)
    assert "features" not in told.replace("its features are computed once", "")
    assert all(torch.equal(cached[k], again[k]) for k in cached)
    assert all(torch.allclose(cached[k], plain[k], atol=1e-5) for k in cached)
    config = (place / "runs" / "cached" / "config.toml").read_text()
    assert 'kind = "mlp"' in config
    assert "context = 24" in config


def test_one_frozen_encoder_and_the_checkpoints_gone(place: Path, invoke: Callable[..., Any]) -> None:
    """A projection each; and the run is loaded, evaluated and resumed without the folders it came from."""
    _, told = train(invoke, place, "--lock-image", "--name", "one")
    assert "project.kind = {'image': 'mlp', 'text': 'linear'}" in told
    assert "text features" not in told
    for name in ("resnet", "bert"):
        (place / name).rename(place / f"{name}-gone")
    outcome = invoke("eval", "recall@1", "--model", "runs/one", "--json", cwd=place)
    assert outcome.code == 0, outcome.stderr
    config = place / "runs/one/config.toml"
    config.write_text(config.read_text().replace("finished = ", "started = ").replace("steps = 4", "steps = 6"))
    assert invoke("train", "--resume", "runs/one", cwd=place).code == 0
    assert "finished = 6" in config.read_text()


def test_an_encoder_frozen_for_one_stage_runs_once_in_it(place: Path, invoke: Callable[..., Any]) -> None:
    """Heads first, then everything, then the image encoder stands still again, with the weights it has by then."""
    stages = ["--set", 'stage=[{train=["project.*", "loss.*"], until=1}, {until=2}, {train=["*", "!encoder.image.*"]}]']
    cached, told = train(invoke, place, *stages, "--set", 'data.image.augment=["colour"]', "--name", "drawn")
    assert "image features" not in told  # asked for by the user
    cached, told = train(invoke, place, *stages, "--set", "data.image.augment=[]", "--name", "cached")
    assert (told.count("image features of train"), told.count("text features of train")) == (2, 1)
    assert told.count("there already") == 1  # the captions' of the run before
    plain, told = train(invoke, place, *stages, "--set", "data.image.augment=[]", "--cache-limit", 0, "--name", "plain")
    assert "features of train" not in told
    assert all(torch.allclose(cached[k], plain[k], atol=1e-5) for k in cached)


def test_what_takes_long_says_how_far_it_is(place: Path, invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmkit.cli.progress.LINE_SECONDS", 0.0)
    _, said = train(invoke, place, "--lock-image")
    lines = [line for line in said.splitlines() if line.startswith("image features of train ")]
    assert lines[0] == "image features of train 0 of 180"
    assert re.fullmatch(r"image features of train 64 of 180, [\d.,]+/s, 0:\d\d left", lines[1])


def test_another_transform_is_another_entry(place: Path, invoke: Callable[..., Any]) -> None:
    train(invoke, place, "--lock-image", "--name", "a")
    before = set((place / "cache" / "features").iterdir())
    _, told = train(invoke, place, "--lock-image", "--name", "b", "--set", "data.image.resample=nearest")
    assert "computed in" in told
    assert len(set((place / "cache" / "features").iterdir()) - before) == 2


def test_the_oldest_make_room(place: Path, invoke: Callable[..., Any]) -> None:
    root = place / "cache" / "features"
    for name, age in (("old", 100), ("new", 10), (".partial-now", 10), (".partial-killed", 100_000)):
        (root / name).mkdir(parents=True)
        (root / name / "vectors.npy").write_bytes(b"0" * 100_000)
        for path in (root / name / "vectors.npy", root / name):
            os.utime(path, (time.time() - age, time.time() - age))
    train(invoke, place, "--lock-image", "--name", "a", "--cache-limit", 0.00018)
    assert not (root / "old").exists()
    assert (root / "new").exists()
    assert (root / ".partial-now").exists()
    assert not (root / ".partial-killed").exists()


def test_larger_than_the_limit(place: Path, invoke: Callable[..., Any]) -> None:
    _, told = train(invoke, place, "--lock-image", "--name", "a", "--cache-limit", 0.000001)
    assert "more than --cache-limit" in told


def test_an_augmentation_asked_for_is_kept(place: Path, invoke: Callable[..., Any]) -> None:
    _, told = train(invoke, place, "--lock-image", "--name", "a", "--set", 'data.image.augment=["crop"]')
    assert "image features" not in told
