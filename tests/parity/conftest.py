"""Tiny random checkpoints of transformers, saved as folders: the same code paths as the published ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

CAPTIONS = ["a red circle", "two small blue squares left of a large green triangle", "a", "a yellow star at the top of it"]
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def save(model: Any, folder: Path) -> Path:
    """Save a model with weights large enough that a mistake shows."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    model.eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIPModel with its CLIPTokenizer and image processor; the captions' tokens end with the real end token."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = clip_tokenizer()
    text = TINY | {"vocab_size": len(tokenizer), "max_position_embeddings": 77, "projection_dim": 16}
    text |= {
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = TINY | {"image_size": 32, "patch_size": 8, "projection_dim": 16}
    torch.manual_seed(0)
    save(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)), folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    assert isinstance(tokenizer, CLIPTokenizer)
    return folder


def clip_tokenizer() -> Any:
    """A CLIPTokenizer over a byte-level BPE trained on a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    backend = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, end_of_word_suffix="</w>", initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(CAPTIONS * 3, trainer)
    model = json.loads(backend.to_str())["model"]
    vocab = dict(model["vocab"])
    for letter in [*pre_tokenizers.ByteLevel.alphabet()]:
        vocab.setdefault(letter + "</w>", len(vocab))
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocab[special] = len(vocab)
    return CLIPTokenizer(vocab=vocab, merges=[tuple(m) for m in model["merges"]], model_max_length=77)


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SiglipModel with a word tokenizer that ends texts with </s> and fills them up with it, as T5's does."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipImageProcessorPil, SiglipModel

    folder = tmp_path_factory.mktemp("siglip")
    words = sorted({w for c in CAPTIONS for w in c.split()})
    backend = Tokenizer(
        models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, **{w: i + 3 for i, w in enumerate(words)}}, unk_token="<unk>")
    )
    backend.normalizer, backend.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="</s>", eos_token="</s>", unk_token="<unk>", model_max_length=16
    )
    fast.save_pretrained(folder)
    text = TINY | {"vocab_size": len(words) + 3, "max_position_embeddings": 16, "projection_size": 32, "pad_token_id": 1}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=TINY | {"image_size": 32, "patch_size": 8}))
    save(model, folder)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def siglip2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Siglip2Model (NaFlex) with its tokenizer of letters, which pads behind the text as the published ones do."""
    from transformers import Siglip2Config, Siglip2ImageProcessorPil, Siglip2Model, Siglip2Tokenizer

    folder = tmp_path_factory.mktemp("siglip2")
    vocab = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<mask>": 4}
    vocab |= {letter: i for i, letter in enumerate("▁abcdefghijklmnopqrstuvwxyz", len(vocab))}
    side = {"padding_side": "right", "model_input_names": ["input_ids"]}
    Siglip2Tokenizer(vocab=vocab, merges=[], add_bos_token=False, add_eos_token=True, **side).save_pretrained(folder)
    text = TINY | {"vocab_size": len(vocab), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1}
    save(Siglip2Model(Siglip2Config(text_config=text, vision_config=TINY | {"patch_size": 8, "num_patches": 16})), folder)
    Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def picture() -> Callable[[int, int], Image.Image]:
    """A seeded noisy picture of W x H pixels."""

    def make(width: int, height: int) -> Image.Image:
        rng = np.random.default_rng(width * 10007 + height)
        coarse = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        noise = rng.integers(-20, 20, (height, width, 3))
        return Image.fromarray(np.clip(np.asarray(coarse).astype(int) + noise, 0, 255).astype(np.uint8))

    return make
