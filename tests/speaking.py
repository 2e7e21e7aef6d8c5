"""Tiny random vision-language checkpoints of transformers, saved as folders with their tokenizer and processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]
TEXTS = ["a photo of a dog", "what colour is the cat? red blue green yes no", "USER: ASSISTANT: describe the image in one word."]
SMALL: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION: dict[str, Any] = SMALL | {"image_size": 32, "patch_size": 8}
ENDS: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
TEMPLATE = (
    "{{% for m in messages %}}{{{{ m['role'].upper() }}}}: {{% for c in m['content'] %}}{{% if c['type'] == 'image' %}}<image>"
    "{{% else %}}{{{{ c['text'] }}}}{{% endif %}}{{% endfor %}}{end}{{% endfor %}}"
    "{{% if add_generation_prompt %}}ASSISTANT:{{% endif %}}"
)


def tokenizer(ends: bool = False, **special: str) -> Any:
    """A byte-level BPE over a few words.

    Args:
        ends: a text stands between a start and an end token, as BERT's does.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(TEXTS * 20, trainer)
    if ends:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, extra_special_tokens=special, **names)


def save(model: Any, processor: Any, folder: Path) -> Path:
    """Save a model with weights large enough that texts differ from picture to picture."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def llava(folder: Path) -> Path:
    """A CLIP before a Llama, with a chat template."""
    from transformers import CLIPImageProcessorPil, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    words = tokenizer(image_token="<image>")
    text = {"model_type": "llama", "vocab_size": len(words), "num_key_value_heads": 2} | SMALL | ENDS
    vision = {"model_type": "clip_vision_model", "projection_dim": 32} | VISION
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=4, vision_feature_layer=-1)
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    # as Qwen2-VL and others are published: drawn by default
    model.generation_config.update(do_sample=True, temperature=0.7, top_p=0.9, top_k=5)
    pixels = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(
        image_processor=pixels,
        tokenizer=words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.format(end="\n"),
    )
    return save(model, processor, folder)


def idefics3(folder: Path) -> Path:
    """SmolVLM's architecture: a picture is several crops."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessorPil, Idefics3Processor

    words = tokenizer(image_token="<image>", end_of_utterance_token="<end_of_utterance>")
    rows = [f"<row_{i}_col_{j}>" for i in (1, 2) for j in (1, 2)]
    words.add_special_tokens({"additional_special_tokens": ["<fake_token_around_image>", "<global-img>", *rows]})
    text = {"model_type": "llama", "vocab_size": len(words), "num_key_value_heads": 2} | SMALL | ENDS
    config = Idefics3Config(vision_config=VISION, text_config=text, scale_factor=2, image_token_id=4)
    torch.manual_seed(0)
    model = Idefics3ForConditionalGeneration(config)
    model.generation_config.eos_token_id = 2
    pixels = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    template = TEMPLATE.format(end="<end_of_utterance>\n")
    processor = Idefics3Processor(image_processor=pixels, tokenizer=words, image_seq_len=4, chat_template=template)
    return save(model, processor, folder)


def git(folder: Path) -> Path:
    """GIT: no chat template, a caption begins with nothing, a question is what is gone on from."""
    from transformers import CLIPImageProcessorPil, GitConfig, GitForCausalLM, GitProcessor

    words = tokenizer(ends=True)
    torch.manual_seed(0)
    model = GitForCausalLM(GitConfig(vision_config=VISION, vocab_size=len(words), max_position_embeddings=96, **SMALL, **ENDS))
    pixels = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return save(model, GitProcessor(pixels, words), folder)


def blip(folder: Path) -> Path:
    """BLIP, whose `generate` is its own."""
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessorPil, BlipProcessor

    words = tokenizer(ends=True)
    text = {"vocab_size": len(words), "encoder_hidden_size": 32, "max_position_embeddings": 96, "sep_token_id": 2} | SMALL | ENDS
    torch.manual_seed(0)
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=VISION))
    return save(model, BlipProcessor(BlipImageProcessorPil(size={"height": 32, "width": 32}), words), folder)


def vit_gpt2(folder: Path) -> Path:
    """A ViT and a GPT-2 that looks at it (vision-encoder-decoder): no words are read, and no processor is around its parts."""
    from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig, ViTImageProcessorPil

    words = tokenizer()
    looks: dict[str, Any] = {"add_cross_attention": True, "is_decoder": True}
    decoder = GPT2Config(vocab_size=len(words), n_positions=64, n_embd=32, n_layer=2, n_head=2, **looks, **ENDS)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(**VISION), decoder)
    torch.manual_seed(0)
    model = VisionEncoderDecoderModel(config)
    model.generation_config.update(decoder_start_token_id=1, **ENDS)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return save(model, words, folder)


KINDS = {"llava": llava, "idefics3": idefics3, "git": git, "blip": blip, "vit_gpt2": vit_gpt2}
