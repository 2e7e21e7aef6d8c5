"""A vision-language checkpoint of transformers, which answers and captions in words of its own: opened as it was published, its
processor and chat template with it, and written with by transformers' `generate`.

`VisionLanguage` stands where a Model stands for what writes: it has the members that the metrics and commands of captions and
answers ask of one, and no encoders, fusions or vectors.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from mmkit import loading
from mmkit.batch import Want
from mmkit.config import Input
from mmkit.data.checkpoint import Checkpoint, is_local, open_checkpoint
from mmkit.data.images import load_rgb
from mmkit.data.modalities import MODALITIES
from mmkit.decoding import Sampling, Written
from mmkit.encoders import pretrained as adapter
from mmkit.errors import UserError, missing_extra
from mmkit.files import pointed, sha256
from mmkit.foreign import writes
from mmkit.model import Model

Say = Callable[[str], None]

PICTURE, WORDS, EXTRA = "image", "text", "vlm"
LENGTH = 64  # tokens at most that are written
VALUES = 1 << 25  # pixels that are computed at once, colours and crops counted: 128 MB, one picture where it is larger
SLOT = "{}"  # where the question stands in a prompt

# What is asked of a checkpoint with a chat template; that of questions is LLaVA-1.5's (arXiv:2310.03744, table 7).
CAPTION, QUESTION = "Describe the image in one short sentence.", "{}\nAnswer the question using a single word or phrase."


class Manner(NamedTuple):
    """How a checkpoint without a chat template was trained to be asked.

    Args:
        caption: what a caption begins with, or "" where it begins with nothing; question: the same with a slot.
        cut: the end token that the tokenizer sets behind a prompt is taken off.
    """

    caption: str
    question: str
    cut: bool = False


# model_type -> as in its paper or model card; MANNER of any other
MANNERS = {
    "blip": Manner("", "{}"),  # takes the end token off itself
    "blip-2": Manner("", "Question: {} Answer:"),
    "git": Manner("", "{}", cut=True),
    "instructblip": Manner("A short image description.", "Question: {} Short answer:"),
    "llava": Manner(f"USER: <image>\n{CAPTION} ASSISTANT:", f"USER: <image>\n{QUESTION} ASSISTANT:"),
    "paligemma": Manner("<image>caption en", "<image>answer en {}"),
}
MANNER = Manner(CAPTION, "Question: {} Answer:")


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
            UserError: the prompt of questions has no slot.
        """
        of_words = metric != CAPTIONS.metric
        if self.prompt is not None:
            if of_words and SLOT not in self.prompt:
                raise UserError("the prompt has no {} for the question", self.prompt, '--prompt "Question: {} Answer:"')
            return self.prompt
        if self.chats:
            return QUESTION if of_words else CAPTION
        manner = MANNERS.get(self.kind, MANNER)
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
    ) -> list[list[Written]]:
        """The texts that it writes of some samples, the best first; see `mmkit.decoding.generate`.

        The tokens are those of transformers' `generate` with the checkpoint's own settings, what it says of drawing left out.
        Prompts of unequal length share a batch only where there is a chat template: of other checkpoints not all know padding.

        Args:
            samples: each with a picture, and of answers with the question.
            batch_size: rows at once; fewer where their pictures are many crops, or memory is short.

        Raises:
            UserError: a picture or a prompt cannot be processed, or memory does not hold one of them.
        """
        form = self.form(objective.metric)
        prompts = [form.replace(SLOT, one[WORDS]) if WORDS in objective.reads else form for one in samples]
        lengths = [len(self.processor.tokenizer(prompt).input_ids) if prompt else 0 for prompt in prompts]
        found: list[list[Written]] = [[] for _ in samples]
        for part in self._parts(samples, prompts, lengths, max(1, batch_size // beams)):
            pictures, asked = [samples[i][PICTURE] for i in part], [prompts[i] for i in part]
            written = self._written(pictures, asked, self._settings(beams, top, length, sampling), sampling)
            for i, texts in zip(part, written, strict=True):
                found[i] = texts
        return found

    def _parts(self, samples: Sequence[Any], prompts: list[str], lengths: list[int], most: int) -> Iterator[list[int]]:
        """The numbers of samples that are computed together, those of like length."""
        if not samples:
            return
        first = self._processed([samples[0][PICTURE]], prompts[:1])
        values = max([x.numel() for x in first.values() if x.is_floating_point()], default=1)
        most = max(1, min(most, VALUES // values))
        order = sorted(range(len(samples)), key=lambda i: lengths[i])
        for _, same in groupby(order, key=lambda i: self.chats or lengths[i]):
            group = list(same)
            yield from (group[start : start + most] for start in range(0, len(group), most))

    def _processed(self, pictures: list[Any], prompts: list[str]) -> dict[str, Tensor]:
        """What the model reads of pictures and prompts.

        Raises:
            UserError: the processor refuses them.
        """
        try:
            if self.chats:
                contents = [
                    [{"type": "image", "image": picture}, {"type": "text", "text": prompt}]
                    for picture, prompt in zip(pictures, prompts, strict=True)
                ]
                found = self.processor.apply_chat_template(
                    [[{"role": "user", "content": content}] for content in contents],
                    add_generation_prompt=True,
                    tokenize=True,
                    return_dict=True,
                    return_tensors="pt",
                    processor_kwargs={"padding": True},
                )
            elif prompts[0]:
                found = self.processor(images=pictures, text=prompts, return_tensors="pt")
                end = self.processor.tokenizer.sep_token_id or self.processor.tokenizer.eos_token_id
                if MANNERS.get(self.kind, MANNER).cut and bool((found["input_ids"][:, -1] == end).all()):
                    found |= {name: found[name][:, :-1] for name in ("input_ids", "attention_mask") if name in found}
            else:
                found = self.processor(images=pictures, return_tensors="pt")
        except (ValueError, TypeError, LookupError, AttributeError) as e:
            what = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
            raise UserError(f"its processor refuses the picture or {prompts[0]!r:.80} ({what})", self.name) from e
        return {name: x for name, x in dict(found).items() if isinstance(x, Tensor)}

    def _settings(self, beams: int, top: int, length: int | None, sampling: Sampling | None) -> Any:
        settings = copy.deepcopy(self.body.generation_config)
        settings.update(num_beams=beams, num_return_sequences=top, max_new_tokens=length or LENGTH, max_length=None)
        settings.update(return_dict_in_generate=True, output_logits=True, output_scores=False)
        settings.update(do_sample=sampling is not None, temperature=None, top_p=None, top_k=None, min_p=None, typical_p=None)
        if sampling is not None:
            settings.update(temperature=sampling.temperature, top_p=sampling.top_p, top_k=0, num_beams=1)
        return settings

    def _written(self, pictures: list[Any], prompts: list[str], settings: Any, sampling: Sampling | None) -> list[list[Written]]:
        """The texts of each; in two halves where memory does not hold them at once."""
        try:
            return self._generated(self._processed(pictures, prompts), len(pictures), settings, sampling)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as e:
            if not _is_of_memory(e):
                raise
        if len(pictures) == 1:
            hint = "fewer --beams, a smaller checkpoint, or --device cpu"
            raise UserError(f"memory on {self.device} does not hold one picture", self.name, hint)
        half = len(pictures) // 2
        return [
            texts
            for part in (slice(None, half), slice(half, None))
            for texts in self._written(pictures[part], prompts[part], settings, sampling)
        ]

    @torch.inference_mode()
    def _generated(self, inputs: dict[str, Tensor], B: int, settings: Any, sampling: Sampling | None) -> list[list[Written]]:
        given = {name: x.to(self.device, self.body.dtype if x.is_floating_point() else x.dtype) for name, x in inputs.items()}
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else [], enabled=sampling is not None):
            if sampling is not None:
                torch.manual_seed(sampling.seed + sampling.first)
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


def _is_of_memory(e: BaseException) -> bool:
    return isinstance(e, torch.OutOfMemoryError | MemoryError) or "memory" in str(e).lower()


def load_writer(name: str, device: str = "auto", say: Say = lambda text: None, prompt: str | None = None) -> Model:
    """As `load_model`; a vision-language checkpoint of transformers, too, which stands where a Model stands for what writes.

    Args:
        prompt: what such a checkpoint is asked instead of the default.

    Raises:
        UserError: as `load_model`, or a prompt is given to a model that reads none.
    """
    path = pointed(Path(name))
    foreign_one = (path / "config.json").exists() or (not path.exists() and not is_local(name) and name.count("/") == 1)
    if foreign_one and writes(open_checkpoint(name).config["model_type"]):
        return cast(Model, open_vlm(name, loading.pick_device(device), prompt))
    if prompt is not None:
        raise UserError("the model reads no prompt", name, "--prompt is of vision-language checkpoints of transformers")
    return loading.load_model(name, device, say)


def open_vlm(name: str, device: torch.device, prompt: str | None = None) -> VisionLanguage:
    """A checkpoint that writes of pictures, folder or hub id, on a device: in float32, on CUDA as it was stored.

    Args:
        prompt: as of `load_writer`.

    Raises:
        UserError: it is missing or of another kind, its weights are damaged, or its processor needs a package that is not there.
    """
    from transformers import AutoModelForImageTextToText

    checkpoint = open_checkpoint(name)
    kind = checkpoint.config["model_type"]
    if not writes(kind):
        raise UserError(f"a checkpoint of {kind}, which writes nothing of pictures", name)
    adapter.quiet()
    processor = _processor(checkpoint)
    dtype: Any = "auto" if device.type == "cuda" else torch.float32
    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            checkpoint.folder, dtype=dtype, local_files_only=True, output_loading_info=True
        )
        body, info = loaded[0].to(device).eval(), loaded[1]
    except ImportError as e:
        raise _lacking(e) from e
    except Exception as e:  # safetensors, pickle, the loader and the device each raise their own
        if _is_of_memory(e):
            raise UserError(f"memory on {device} does not hold its weights", name, "--device cpu, or a smaller checkpoint") from e
        raise UserError(f"the weights cannot be read ({str(e).strip().splitlines()[0]})", name) from e
    missing = sorted(info["missing_keys"]) or [str(key) for key in info["mismatched_keys"]]
    if missing:
        raise UserError(f"the weights are incomplete: {len(missing)} tensors are missing, e.g. {missing[0]}", name)
    return VisionLanguage(checkpoint, body, processor, prompt)


def _processor(checkpoint: Checkpoint) -> Any:
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(checkpoint.folder, local_files_only=True)
    except ImportError as e:
        raise _lacking(e) from e
    except Exception as e:  # a file that is missing or damaged: OSError, ValueError, KeyError …
        raise UserError(f"it has no processor that can be read ({str(e).strip().splitlines()[0]})", checkpoint.name) from e
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        hint = "the folder needs the files of its tokenizer and of its processor"
        raise UserError("it has no processor of pictures and words", checkpoint.name, hint)
    return processor


def _lacking(e: ImportError) -> UserError:
    """Which package of the extra is not there, as transformers says it in several lines."""
    said = str(e).lower()
    package = next((name for name in ("torchvision", "num2words", "sentencepiece") if name in said), "")
    return missing_extra(package or str(getattr(e, "name", "")) or said.split("\n")[0], EXTRA)


def _hash(checkpoint: Checkpoint) -> str:
    """Of its files of weights."""
    files = sorted(checkpoint.folder.glob("*.safetensors")) or sorted(checkpoint.folder.glob("pytorch_model*.bin"))
    return hashlib.sha256("".join(sha256(path) for path in files).encode()).hexdigest()[:16]
