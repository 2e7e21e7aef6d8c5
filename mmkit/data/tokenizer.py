"""Text to token ids: a byte-level BPE trained on the captions, or the tokenizer.json of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from mmkit.errors import UserError

PAD, START, END, MASK = "<pad>", "<start>", "<end>", "<mask>"


def train_tokenizer(captions: Iterable[str], vocab_size: int, lowercase: bool = True) -> Backend:
    """Train a byte-level BPE (arXiv:1508.07909 on bytes) with NFC: every script and emoji has tokens, nothing is unknown.

    Args:
        captions: read once, as a stream.
        vocab_size: upper bound; small data gives fewer tokens.
    """
    backend = Backend(models.BPE())
    steps = [normalizers.NFC(), normalizers.Lowercase()] if lowercase else [normalizers.NFC()]
    backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        captions,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            special_tokens=[PAD, START, END, MASK],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    backend.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=[(START, 1), (END, 2)])
    return backend


class Tokenizer:
    """Texts to padded ids.

    Args:
        backend: a `tokenizers` Tokenizer, post-processor included.
        context: longest text in tokens; longer ones are cut, their end token kept.
        pad: id that fills up.
        trim: pad to the batch's longest text (exact for causal and for masked encoders) instead of to `context`.
        left: pad before the text instead of behind it.
    """

    def __init__(self, backend: Backend, context: int, pad: int = 0, trim: bool = True, left: bool = False) -> None:
        self.backend, self.context, self.pad, self.trim, self.left = backend, context, pad, trim, left
        backend.no_padding()
        backend.enable_truncation(context)

    @classmethod
    def load(cls, path: str | Path, context: int) -> Tokenizer:
        """Read the tokenizer.json of a run; its padding says which id fills up, on which side, and to what length.

        Raises:
            UserError: it is missing or damaged.
        """
        if not Path(path).exists():
            raise UserError("the tokenizer is missing", str(path))
        try:
            backend = Backend.from_file(str(path))
        except Exception as e:  # tokenizers raises a bare Exception
            raise UserError(f"the tokenizer cannot be read ({e})", str(path)) from e
        padding = backend.padding or {}
        left = padding.get("direction") == "left"
        return cls(backend, context, padding.get("pad_id", 0), padding.get("length") is None, left)

    @property
    def vocab_size(self) -> int:
        return self.backend.get_vocab_size()

    def __call__(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """{"ids": int64 (B, M), "mask": bool (B, M), True = real}."""
        return self.padded(self.encode(texts))

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text, at most `context`."""
        return [e.ids for e in self.backend.encode_batch_fast(texts)]

    def padded(self, encoded: list[list[int]]) -> dict[str, torch.Tensor]:
        """What `encode` gave as a batch: {"ids": int64 (B, M), "mask": bool (B, M), True = real}."""
        length = max(map(len, encoded), default=1) if self.trim else self.context
        ids = np.full((len(encoded), length), self.pad, dtype=np.int64)
        mask = np.zeros((len(encoded), length), dtype=bool)
        for i, row in enumerate(encoded):
            real = slice(length - len(row), length) if self.left else slice(len(row))
            ids[i, real] = row
            mask[i, real] = True
        return {"ids": torch.from_numpy(ids), "mask": torch.from_numpy(mask)}

    def lengths(self, texts: list[str]) -> list[int]:
        """Tokens of each text before truncation."""
        return [len(e.ids) for e in self._whole.encode_batch_fast(texts)]

    def save(self, path: str | Path) -> None:
        """Write tokenizer.json whole or not at all."""
        from mmkit.files import write_text

        side = "left" if self.left else "right"
        self.backend.enable_padding(direction=side, pad_id=self.pad, length=None if self.trim else self.context)
        try:
            write_text(path, self.backend.to_str(pretty=False))
        finally:
            self.backend.no_padding()

    @cached_property
    def _whole(self) -> Backend:
        # a copy: the loader's thread may be using the other one
        backend = Backend.from_str(self.backend.to_str())
        backend.no_truncation()
        return backend

    @cached_property
    def special(self) -> list[int]:
        """The ids that stand around every text: start and end."""
        return self.encode([""])[0]

    @cached_property
    def mask(self) -> int | None:
        """The id that stands for a hidden token: of our own vocabularies and of those of BERT's kind."""
        found = (self.backend.token_to_id(token) for token in (MASK, "[MASK]"))
        return next((id for id in found if id is not None), None)

    @cached_property
    def unknown(self) -> int | None:
        """The id of the unknown token, where the vocabulary has one (a byte-level BPE has none)."""
        token = json.loads(self.backend.to_str())["model"].get("unk_token")
        return self.backend.token_to_id(token) if token else None
