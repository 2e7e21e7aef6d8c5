"""A vision-language checkpoint of transformers, which answers and captions in words of its own, by its processor, its chat
template and transformers' `generate`.

`VisionLanguage` stands where a Model stands for what writes: it has the members that the metrics and commands of captions and
answers ask of one, and no encoders, fusions or vectors.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmkit.batch import Want
from mmkit.config import Input
from mmkit.data.checkpoint import Checkpoint
from mmkit.data.images import load_rgb
from mmkit.data.modalities import MODALITIES
from mmkit.decoding import Example, Sampling, Written
from mmkit.errors import UserError, is_out_of_memory
from mmkit.files import sha256, stable_hash
from mmkit.prompting import CAPTION, MANNER, MANNERS, QUESTION, SLOT, Turn, chatted, prompted

PICTURE, WORDS, EXTRA = "image", "text", "vlm"
LENGTH = 64  # tokens at most that are written
VALUES = 1 << 25  # pixels that are computed at once, colours and crops counted: 128 MB, one picture where it is larger


class Picture:
    """The reader of pictures: as PIL has them, for the processor of the checkpoint does the rest."""

    def prepare(self, item: Any) -> Any:
        """{bytes, path} -> RGB.

        Raises:
            UserError: the picture cannot be read.
        """
        return load_rgb(item["bytes"] if item["bytes"] is not None else item["path"])


class Words:
    """The reader of questions, which are asked as they are."""

    def prepare(self, item: str) -> str:
        return item


@dataclass(frozen=True)
class Spoken:
    """What a checkpoint writes, where a Model has a loss: captions, or answers to a column of questions.

    Args:
        metric: its row of METRICS; column: of a dataset, that holds what is true; listed: a row has several.
    """

    name: str
    metric: str
    column: str
    listed: bool
    reads: tuple[str, ...]
    text: str = WORDS

    def wants(self) -> list[Want]:
        return [Want(part) for part in self.reads]

    def measured(self) -> tuple[str, ...]:
        return (self.metric,)


CAPTIONS = Spoken("captions", "caption", MODALITIES[WORDS].COLUMN, False, (PICTURE,))
ANSWERS = Spoken("answers", "vqa", "questions", True, (PICTURE, WORDS))


class Facts(NamedTuple):
    """Where a Model has its configuration."""

    loss: dict[str, dict[str, str]]

    def is_language(self, name: str) -> bool:
        return MODALITIES[name].LANGUAGE


class VisionLanguage:
    """A checkpoint, ready to write.

    Args:
        body: the model of transformers; processor: its own.
        prompt: what is asked instead of the default; of questions it holds a {}.
    """

    folder = None
    readers: dict[str, Any]

    def __init__(self, checkpoint: Checkpoint, body: Any, processor: Any, prompt: str | None = None) -> None:
        self.name, self.kind = checkpoint.name, str(checkpoint.config["model_type"])
        self.body, self.processor, self.prompt = body, processor, prompt
        self.chats = bool(getattr(processor, "chat_template", None))
        self.readers = {PICTURE: Picture(), WORDS: Words()}
        self.inputs = {name: Input(MODALITIES[name].COLUMN, name, name) for name in self.readers}
        self.loss = {one.name: one for one in (CAPTIONS, ANSWERS)}
        self.config = Facts({name: {"kind": name} for name in self.loss})
        self.hash = _hash(checkpoint)
        self.parameter_count = sum(p.numel() for p in body.parameters())
        processor.tokenizer.padding_side = "left"  # what is written goes on from the last token

    @property
    def device(self) -> torch.device:
        return torch.device(self.body.device)

    def reader(self, name: str) -> Any:
        return self.readers[name]

    def roots(self, want: Want) -> list[Want]:
        return [want]

    def protocol(self, metric: str) -> dict[str, str]:
        """What a record says of how it was asked."""
        return {"asked": self.form(metric), "precision": str(self.body.dtype).removeprefix("torch.")}

    def form(self, metric: str) -> str:
        """What is asked for a caption, or a question with its slot.

        Raises:
            UserError: the prompt of questions has no slot, or it reads none, neither questions nor prompts.
        """
        of_words = metric != CAPTIONS.metric
        manner = MANNERS.get(self.kind, MANNER)
        if not manner.question and (of_words or self.prompt is not None):
            raise UserError(f"a checkpoint of {self.kind} writes captions, and reads no words", self.name)
        if self.prompt is not None:
            if of_words and SLOT not in self.prompt:
                raise UserError("the prompt has no {} for the question", self.prompt, '--prompt "Question: {} Answer:"')
            return self.prompt
        if self.chats:
            return QUESTION if of_words else CAPTION
        return manner.question if of_words else manner.caption

    def write(
        self,
        objective: Spoken,
        samples: Sequence[dict[str, Any]],
        beams: int = 1,
        top: int = 1,
        length: int | None = None,
        batch_size: int = 64,
        sampling: Sampling | None = None,
        examples: Sequence[Example] = (),
    ) -> list[list[Written]]:
        """The texts that it writes of some samples, the best first; see `mmkit.decoding.generate`.

        The tokens are those of transformers' `generate` with the checkpoint's own settings, what it says of drawing left out.
        Prompts of unequal length share a batch only where there is a chat template: of other checkpoints not all know padding.

        Args:
            samples: each with a picture, and of answers with the question.
            batch_size: rows at once; fewer where their pictures are many crops, or memory is short.
            examples: turns of the chat before each.

        Raises:
            UserError: a picture or a prompt cannot be processed, or memory does not hold one of them.
        """
        form = self.form(objective.metric)
        prompts = [form.replace(SLOT, one[WORDS]) if WORDS in objective.reads else form for one in samples]
        lengths = [len(self.processor.tokenizer(prompt).input_ids) if prompt else 0 for prompt in prompts]
        turns = [Turn(one.inputs[PICTURE], form.replace(SLOT, one.question or ""), one.text) for one in examples]
        found: list[list[Written]] = [[] for _ in samples]
        # transformers draws of a batch as a whole: what is drawn of a sample would depend on the others
        most = max(1, batch_size // beams) if sampling is None else 1
        for part in self._parts(samples, prompts, lengths, most, turns):
            pictures, asked = [samples[i][PICTURE] for i in part], [prompts[i] for i in part]
            seed = None if sampling is None else stable_hash(f"{sampling.seed} {sampling.first + part[0]}")
            written = self._written(pictures, asked, turns, self._settings(beams, top, length, sampling), seed)
            for i, texts in zip(part, written, strict=True):
                found[i] = sorted(texts, key=lambda text: -text.score)
        return found

    def _parts(
        self, samples: Sequence[Any], prompts: list[str], lengths: list[int], most: int, turns: Sequence[Turn]
    ) -> Iterator[list[int]]:
        """The numbers of samples that are computed together, those of like length."""
        if not samples:
            return
        first = self._processed([samples[0][PICTURE]], prompts[:1], turns)
        values = max([x.numel() for x in first.values() if x.is_floating_point()], default=1)
        most = max(1, min(most, VALUES // values))
        order = sorted(range(len(samples)), key=lambda i: lengths[i])
        for _, same in groupby(order, key=lambda i: self.chats or lengths[i]):
            group = list(same)
            yield from (group[start : start + most] for start in range(0, len(group), most))

    def _processed(self, pictures: list[Any], prompts: list[str], examples: Sequence[Turn] = ()) -> dict[str, Tensor]:
        """What the model reads of pictures and prompts, each behind the examples.

        Raises:
            UserError: the processor refuses them.
        """
        try:
            if self.chats:
                return chatted(self.processor, pictures, prompts, examples)
            return prompted(self.processor, self.kind, pictures, prompts)
        except (ValueError, TypeError, LookupError, AttributeError) as e:
            what = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
            several = f"{len(examples) + 1} pictures" if examples else "the picture"
            raise UserError(f"its processor refuses {several} or {prompts[0]!r:.80} ({what})", self.name) from e

    def check_examples(self) -> None:
        """Whether it takes examples before what it is asked: its processor may still refuse several pictures.

        Raises:
            UserError: it has no chat template, and so no form for them.
        """
        if not self.chats:
            raise UserError("a checkpoint without a chat template takes one picture a prompt", self.name, "leave --shots out")

    def _settings(self, beams: int, top: int, length: int | None, sampling: Sampling | None) -> Any:
        settings = copy.deepcopy(self.body.generation_config)
        settings.update(num_beams=beams, num_return_sequences=top, max_new_tokens=length or LENGTH, max_length=None)
        settings.update(return_dict_in_generate=True, output_logits=True, output_scores=False)
        settings.update(do_sample=sampling is not None, temperature=None, top_p=None, top_k=None, min_p=None, typical_p=None)
        if sampling is not None:
            settings.update(temperature=sampling.temperature, top_p=sampling.top_p, top_k=0, num_beams=1)
        return settings

    def _written(
        self, pictures: list[Any], prompts: list[str], turns: Sequence[Turn], settings: Any, seed: int | None
    ) -> list[list[Written]]:
        """The texts of each; in two halves where memory does not hold them at once."""
        try:
            return self._generated(self._processed(pictures, prompts, turns), len(pictures), settings, seed)
        except (MemoryError, RuntimeError) as e:
            if not is_out_of_memory(e):
                raise
        if len(pictures) == 1:
            hint = "fewer --beams, a smaller checkpoint, or --device cpu"
            raise UserError(f"memory on {self.device} does not hold one picture", self.name, hint)
        half = len(pictures) // 2
        return [
            texts
            for part in (slice(None, half), slice(half, None))
            for texts in self._written(pictures[part], prompts[part], turns, settings, seed)
        ]

    @torch.inference_mode()
    def _generated(self, inputs: dict[str, Tensor], B: int, settings: Any, seed: int | None) -> list[list[Written]]:
        given = {name: x.to(self.device, self.body.dtype if x.is_floating_point() else x.dtype) for name, x in inputs.items()}
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else [], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            out = self.body.generate(**given, generation_config=settings)
        new, scores = _scored(out.sequences, out.logits, getattr(out, "beam_indices", None))
        texts = [self._cut(*each) for each in zip(new.tolist(), scores.tolist(), strict=True)]
        return [texts[i : i + len(texts) // B] for i in range(0, len(texts), len(texts) // B)]

    def _cut(self, ids: list[int], scores: list[float]) -> Written:
        """One text, up to its end."""
        ends = self._ends()
        n = next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
        text = self.processor.tokenizer.decode(ids[:n], skip_special_tokens=True).strip()
        return Written(text, sum(scores[:n]) / n, tuple(ids[:n]), ids[n - 1] in ends)

    def _ends(self) -> set[int]:
        end = self.body.generation_config.eos_token_id
        of_text = getattr(self.body.config.get_text_config(), "sep_token_id", None)
        found = {*(end if isinstance(end, list) else [end]), of_text, self.processor.tokenizer.eos_token_id}
        return {token for token in found if token is not None}


def _scored(sequences: Tensor, logits: tuple[Tensor, ...], rows: Tensor | None) -> tuple[Tensor, Tensor]:
    """The tokens (R, N) that were written after the prompt, and the log-probability of each; 0 behind the end of a beam.

    Args:
        logits: of each step, (rows, V); rows: (R, N) of these that each token of a beam was chosen by, -1 behind its end.
    """
    N = len(logits) if rows is None else rows.shape[1]
    new = sequences[:, -N:]
    at = torch.arange(len(new), device=new.device)[:, None].expand_as(new) if rows is None else rows
    found = [logits[n][at[:, n].clamp(min=0)].float().log_softmax(-1).gather(1, new[:, n : n + 1])[:, 0] for n in range(N)]
    return new, torch.stack(found, 1).masked_fill(at < 0, 0.0)


def _hash(checkpoint: Checkpoint) -> str:
    """Of its files of weights."""
    files = sorted(checkpoint.folder.glob("*.safetensors")) or sorted(checkpoint.folder.glob("pytorch_model*.bin"))
    return hashlib.sha256("".join(sha256(path) for path in files).encode()).hexdigest()[:16]
