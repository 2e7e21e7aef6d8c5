"""A whole CLAP checkpoint of transformers as a model: its vectors, and the commands that take it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmkit.batch import Batch, Want
from mmkit.loading import load_model
from tests.conftest import Outcome
from tests.core import wav
from tests.encoders.test_listening import KINDS, checkpoint
from tests.speaking import tokenizer

WORDS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 340}
RATE = 48_000
TEXTS = ["a dog", "what colour is the cat?", "red blue"]


@pytest.fixture(scope="module")
def clap(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    folder = tmp_path_factory.mktemp("clap")
    model, config, extractor, options, *rest = KINDS["clap"]
    words = {"text_config": WORDS | {"pad_token_id": 0, "max_position_embeddings": 40}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, "whole", (model, config, extractor, options | words, *rest))
        theirs, extract = checkpoint("whole", folder)
    tokenizer(ends=True).save_pretrained(folder)
    return folder, theirs, extract


def sounds() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(-0.5, 0.5, RATE).astype(np.float32) for _ in TEXTS]


def test_its_vectors_are_those_of_transformers(clap: tuple[Path, Any, Any]) -> None:
    folder, theirs, extract = clap
    model = load_model(str(folder), "cpu")
    heard, words = model.reader("audio"), model.reader("text")
    items = [{"bytes": wav(values, RATE), "path": None} for values in sounds()]
    audio = heard.collate([heard.prepare(item) for item in items])
    text = words.collate([words.prepare(one) for one in TEXTS])
    there = {name: torch.ones(3, dtype=torch.bool) for name in ("audio", "text")}
    wants = [Want("audio"), Want("text")]
    with torch.no_grad():
        found = model(Batch(["a", "b", "c"], {"audio": audio, "text": text}, there, {}, {}, {}, 0.0), wants)
        frames = extract([np.round(values * 32767) / 32768 for values in sounds()], sampling_rate=RATE, return_tensors="pt")
        of_sounds = theirs.get_audio_features(input_features=frames["input_features"], is_longer=torch.zeros(3, 1).bool())
        ids = tokenizer(ends=True)(TEXTS, padding=True, return_tensors="pt")
        of_texts = theirs.get_text_features(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"])
    assert torch.allclose(found[wants[1]], of_texts.pooler_output, atol=1e-5)
    assert torch.allclose(found[wants[0]], of_sounds.pooler_output, atol=1e-3)
    assert model.loss["itc"].logit_scale.item() == pytest.approx(theirs.logit_scale_a.item())


def test_commands_take_it(
    clap: tuple[Path, Any, Any], tmp_path: Path, invoke: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"file": f"{n}.wav", "caption": text, "label": text} for n, text in enumerate(TEXTS)]
    for n, values in enumerate(sounds()):
        Path(f"{n}.wav").write_bytes(wav(values, RATE))
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert invoke("prep", "table", "data", "--source", "t.jsonl").code == 0
    typed = ("--model", clap[0], "--data", "data", "--split", "train")
    outcome = invoke("eval", "zero-shot", "recall@1", *typed, "--json")
    assert outcome.code == 0, outcome.stderr
    assert {"acc1", "audio_retrieval_recall@1"} <= {key for line in outcome.lines for key in line["metrics"]}
    outcome = invoke("retrieve", "a dog", "--in", "data", "--split", "train", "--find", "audio", "--model", clap[0], "--json")
    assert outcome.code == 0 and len(outcome.lines) == 3, outcome.stderr
    outcome = invoke("embed", "data", "--model", clap[0], "-o", "v.npy", "--split", "train")
    assert outcome.code == 0, outcome.stderr
