"""Texts: how they are stored, what is configured about them, and how one becomes the token ids that an encoder takes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.data.cells import Blank, is_missing, no_caption, texts_of
from mmkit.data.modalities import image
from mmkit.errors import ConfigError, UserError
from mmkit.fields import doc

if TYPE_CHECKING:
    import random

    import torch

    from mmkit.data.checkpoint import Checkpoint
    from mmkit.data.shards import Dataset
    from mmkit.data.synonyms import Synonyms
    from mmkit.data.tokenizer import Tokenizer

ROLE, COLUMN = "caption", "captions"
FEATURE = {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"}
# beside a picture they are read in this order
SUFFIXES = (".txt", ".caption")
NAMES = (
    *("caption", "text", "sentence", "description", "title"),
    *("alt_text", "alt", "raw", "comment", "prompt", "name", "product_name"),
)
KINDS = ("text", "questions")
ENCODER = "transformer"
LANGUAGE = True

VOCABULARY = {"tiny": 4096, "small": 16384, "base": 49408, "large": 49408}
CONTEXT_LIMIT, FOREIGN_LIMIT = 77, 512  # tokens; of a checkpoint that states no limit
ROWS_FOR_BPE, CAPTIONS_MEASURED = 1_000_000, 20_000
KNOWN_LIMIT = 1 << 15  # texts whose token ids and keys are kept


@dataclass
class Spec:
    context: int | None = doc("longest caption in tokens, start and end token included; longer ones are cut", least=2)
    vocab_size: int | None = doc("tokens that the BPE is trained to", least=1)
    ends: bool | None = doc("put a checkpoint's start and end token around a text where its tokenizer does not")
    lowercase: bool = doc("ignore case", True)
    word_dropout: float = doc("share of words left out of a caption in training", 0.0, least=0, most=1)
    synonyms: str | None = doc("file of words and what may stand for them in training, in any language")
    synonym_rate: float = doc("share of the words with synonyms that are replaced", 0.3, least=0, most=1)
    synonyms_hash: str | None = doc("content hash of that file (written by train)")


TRAINING = ("word_dropout", "synonyms", "synonym_rate", "synonyms_hash")


def holds(value: Any) -> bool:
    """It holds texts, and no name of an image file."""
    texts = texts_of(value)
    return bool(texts) and not any(image.holds(text) for text in texts)


def cells(values: list[Any]) -> list[str]:
    """What the columns of a row say, each with one text or several; a blank one is an empty text."""
    return [text for value in values for text in texts_of(value) or [""]]


def store(raw: list[Any]) -> list[str]:
    """The texts without those that are missing, each once.

    Raises:
        Blank: none is left.
        ValueError: one of them did not decode.
    """
    texts = _stripped(raw)
    found = list(dict.fromkeys(text for text in texts if not is_missing(text)))
    if not found:
        raise Blank(no_caption(texts))
    try:
        "".join(found).encode()
    except UnicodeEncodeError:
        # bytes that did not decode were kept as surrogates, which do not encode
        raise ValueError("wrong encoding: the caption is neither UTF-8 nor surely another encoding") from None
    return found


def missing(raw: list[Any]) -> list[str]:
    """Those of the texts that are none, as they are written."""
    return [text for text in _stripped(raw) if is_missing(text)]


def merge(one: list[str], other: list[str]) -> list[str]:
    """The texts of both, each once."""
    return list(dict.fromkeys(one + other))


def _stripped(raw: list[Any]) -> list[str]:
    return [text.strip() if isinstance(text, str) else "" for text in raw]


def items(value: Any) -> list[Any]:
    """The texts of a cell: a list of them, or of questions."""
    return [one["question"] if isinstance(one, dict) else one for one in value or ()]


def of_checkpoint(spec: Spec, checkpoint: Checkpoint) -> dict[str, str]:
    from mmkit.data.checkpoint import OF_CHECKPOINT, context

    limit = context(checkpoint, FOREIGN_LIMIT)
    if spec.context is not None and spec.context > limit:
        what = f"data.text.context = {spec.context} is more than the checkpoint's {limit}"
        hint = f"--set data.text.context={limit}, or less"
        raise ConfigError(what, "data.text.context", where=checkpoint.name, hint=hint)
    decided = {} if spec.context else {"context": f"{limit} ({OF_CHECKPOINT})"}
    spec.context = spec.context or limit
    spec.vocab_size = foreign(spec, checkpoint).tokenizer.vocab_size
    return decided | {"vocab_size": f"{spec.vocab_size} ({OF_CHECKPOINT})"}


def foreign(spec: Spec, checkpoint: Checkpoint) -> Reader:
    from mmkit.data.checkpoint import tokenizer

    assert spec.context is not None
    # SigLIP was trained on texts filled up to the full length, whose padding is part of the text (arXiv:2303.15343)
    trim = not str(checkpoint.config["model_type"]).startswith("siglip")
    return Reader(_as_written(spec), tokenizer(checkpoint, spec.context, trim, bool(spec.ends)))


def fill(spec: Spec, data: Dataset, size: str, table: dict[str, Any]) -> dict[str, str]:
    reasons = {}
    if found := _synonyms(spec):
        spec.synonyms_hash = found.hash
        reasons["synonyms"] = f"{spec.synonyms} ({len(found):,} words and phrases have some)"
    if spec.vocab_size is not None:
        return reasons
    spec.vocab_size = VOCABULARY[size]
    return reasons | {"vocab_size": f"{spec.vocab_size} (size {size})"}


def _synonyms(spec: Spec) -> Synonyms | None:
    """Those that are configured.

    Raises:
        UserError: the file cannot be read, or is not the one that the run began with.
    """
    from mmkit.data.synonyms import read_synonyms

    return read_synonyms(spec.synonyms, spec.synonyms_hash) if spec.synonyms else None


def _as_written(spec: Spec) -> Spec:
    """How texts are read where nothing is drawn."""
    return replace(spec, word_dropout=0.0, synonyms=None)


def settle(spec: Spec, data: Dataset, still: bool) -> dict[str, str]:
    return {}


def learn(spec: Spec, data: Dataset, columns: list[str], limit: int | None) -> tuple[Reader, dict[str, str]]:
    """A BPE trained on the texts, with synonyms also on them with all words replaced, its context fixed to their length."""
    from mmkit.data.augment import draws
    from mmkit.data.tokenizer import Tokenizer, train_tokenizer

    synonyms = _synonyms(spec)

    def texts() -> Iterator[str]:
        for seen, row in enumerate(data.rows("train", columns, limit)):
            if seen >= ROWS_FOR_BPE:
                return
            for text in (text for column in columns for text in items(row[column])):
                yield text
                if synonyms and (other := synonyms.replaced(text, 1.0, draws(0, 0, text))) != text:
                    yield other

    assert spec.vocab_size is not None
    reasons = {}
    tokenizer = Tokenizer(train_tokenizer(texts(), spec.vocab_size, spec.lowercase), spec.context or CONTEXT_LIMIT)
    if spec.context is None:
        sample = [text for text, _ in zip(texts(), range(CAPTIONS_MEASURED), strict=False)]
        longest = max(tokenizer.lengths(sample), default=2)
        spec.context = min(CONTEXT_LIMIT, longest + 2)
        what = "training captions" if columns == [COLUMN] else f"training texts of {' and '.join(columns)},"
        why = f"longest of {len(sample):,} {what} {longest} tokens, at most {CONTEXT_LIMIT}"
        reasons["context"] = f"{spec.context} ({why})"
        tokenizer = Tokenizer(tokenizer.backend, spec.context)
    if spec.vocab_size != tokenizer.vocab_size:
        reasons["vocab_size"] = f"{tokenizer.vocab_size} (all that the texts give, at most {spec.vocab_size})"
        spec.vocab_size = tokenizer.vocab_size
    return Reader(_as_written(spec), tokenizer), reasons


def load(spec: Spec, folder: Path, name: str) -> Reader:
    """The Reader of a run's encoder.

    Raises:
        UserError: the tokenizer is missing or damaged.
    """
    from mmkit.data.tokenizer import Tokenizer

    assert spec.context is not None
    return Reader(_as_written(spec), Tokenizer.load(_file(folder, name), spec.context))


def _file(folder: Path, name: str) -> Path:
    return folder / ("tokenizer.json" if name == "text" else f"tokenizer-{name}.json")


class Reader:
    """A text to its token ids: {"ids": int64 (B, M), "mask": bool (B, M), True = real}."""

    blank = ""
    masked = 0.15  # BERT, arXiv:1810.04805, section 3.1

    def __init__(self, spec: Spec, tokenizer: Tokenizer) -> None:
        self.spec, self.tokenizer, self.synonyms = spec, tokenizer, _synonyms(spec)
        self._encoded: dict[str, list[int]] = {}

    @property
    def still(self) -> bool:
        return not self.spec.word_dropout and self.synonyms is None

    def over(self, spec: Spec) -> Reader:
        return Reader(spec, self.tokenizer)

    def given(self) -> dict[str, Any]:
        return {"vocab_size": self.tokenizer.vocab_size, "context": self.tokenizer.context}

    def prepare(self, item: str) -> str:
        return item

    def draw(self, prepared: str, rng: random.Random, mates: list[str]) -> str:
        from mmkit.data.augment import drop_words

        said = self.synonyms.replaced(prepared, self.spec.synonym_rate, rng) if self.synonyms else prepared
        return drop_words(said, self.spec.word_dropout, rng)

    def collate(self, drawn: list[str]) -> dict[str, torch.Tensor]:
        new = [text for text in set(drawn) if text not in self._encoded]
        if len(self._encoded) + len(new) > KNOWN_LIMIT:
            self._encoded, new = {}, list(set(drawn))
        self._encoded |= zip(new, self.tokenizer.encode(new), strict=True)
        return self.tokenizer.padded([self._encoded[text] for text in drawn])

    def key(self, item: str) -> int:
        """The same for two texts that differ in case, spacing or Unicode form only: of the text as written."""
        return text_key(item)

    def weight(self, prepared: str) -> int:
        return 0

    def length(self, prepared: str) -> int:
        return len(prepared)

    def made_of(self) -> Any:
        tokens = self.tokenizer
        return [tokens.backend.to_str(), tokens.context, tokens.pad, tokens.trim, tokens.left]

    def log(self, tensors: dict[str, torch.Tensor], said: list[str]) -> dict[str, float]:
        """Shares of the texts that are cut, and of their tokens that are unknown."""
        lengths = self.tokenizer.lengths(said)
        found = {"truncated": sum(length > self.tokenizer.context for length in lengths) / max(1, len(lengths))}
        if self.tokenizer.unknown is not None and "ids" in tensors:
            found["unknown"] = (tensors["ids"][tensors["mask"]] == self.tokenizer.unknown).float().mean().item()
        return found

    def units(self, tensors: dict[str, torch.Tensor], n: int | None) -> torch.Tensor:
        import torch

        special = torch.tensor(self.tokenizer.special, dtype=torch.long, device=tensors["ids"].device)
        return tensors["mask"] & ~torch.isin(tensors["ids"], special)

    def hide(self, tensors: dict[str, torch.Tensor], hidden: torch.Tensor, rngs: list[random.Random]) -> dict[str, torch.Tensor]:
        """Of the hidden tokens (B, M) 80 % become the mask token and 10 % any token; 10 % stay (arXiv:1810.04805, A.1).

        Raises:
            UserError: the tokenizer has no mask token.
        """
        import torch

        if self.tokenizer.mask is None:
            what, hint = "its tokenizer has no mask token", "--text-encoder transformer, or a checkpoint of BERT's kind"
            raise UserError("words cannot be hidden", what, hint)
        ids, others = tensors["ids"].clone(), []
        for row, id in zip(hidden.nonzero()[:, 0].tolist(), ids[hidden].tolist(), strict=True):
            lot = rngs[row].random()
            other = self.tokenizer.mask if lot < 0.8 else rngs[row].randrange(self.tokenizer.vocab_size) if lot < 0.9 else id
            others.append(other)
        # all at once: on a GPU each assignment costs a call
        ids[hidden] = torch.tensor(others, dtype=ids.dtype, device=ids.device)
        return {**tensors, "ids": ids}

    def save(self, folder: Path, name: str) -> None:
        self.tokenizer.save(_file(folder, name))


@lru_cache(KNOWN_LIMIT)  # asked for by the order, for the batch, and again in the next epoch
def text_key(text: str) -> int:
    """The same for two texts that differ in case, spacing or Unicode form only."""
    from mmkit.files import stable_hash

    return stable_hash(" ".join(unicodedata.normalize("NFC", text).casefold().split()))
