"""How a vision-language checkpoint of transformers is asked: the prompts it was trained with, and what its processor makes of
them and of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

SLOT = "{}"  # where the question stands in a prompt

# What is asked of a checkpoint with a chat template; that of questions is LLaVA-1.5's (arXiv:2310.03744, table 7).
CAPTION, QUESTION = "Describe the image in one short sentence.", "{}\nAnswer the question using a single word or phrase."


class Manner(NamedTuple):
    """How a checkpoint without a chat template was trained to be asked.

    Args:
        caption: what a caption begins with, or "" where it begins with nothing; question: the same with a slot, or "" where it
            reads none.
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
    "vision-encoder-decoder": Manner("", ""),
}
MANNER = Manner(CAPTION, "Question: {} Answer:")


class Parts:
    """Stands for the processor of a checkpoint that reads no words: it is published with its parts alone.

    Args:
        image_processor, tokenizer: as transformers has them.
    """

    def __init__(self, image_processor: Any, tokenizer: Any) -> None:
        self.image_processor, self.tokenizer = image_processor, tokenizer

    def __call__(self, images: Sequence[Any], return_tensors: str) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.image_processor(images, return_tensors=return_tensors)
        return found


class Turn(NamedTuple):
    """One turn of a chat: a picture, what is asked of it, and what was answered."""

    picture: Any
    asked: str
    said: str


def chatted(processor: Any, pictures: Sequence[Any], prompts: Sequence[str], before: Sequence[Turn] = ()) -> dict[str, Tensor]:
    """What a model with a chat template reads: of each row the turns before, then its picture and prompt.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: the processor refuses them, each in its own way.
    """
    rows = []
    for picture, prompt in zip(pictures, prompts, strict=True):
        chat = []
        for turn in before:
            chat += [_asks(turn.picture, turn.asked), {"role": "assistant", "content": [{"type": "text", "text": turn.said}]}]
        rows.append([*chat, _asks(picture, prompt)])
    found = processor.apply_chat_template(
        rows,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
    )
    return _tensors(found)


def _asks(picture: Any, prompt: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": prompt}]}


def prompted(processor: Any, kind: str, pictures: Sequence[Any], prompts: Sequence[str]) -> dict[str, Tensor]:
    """What a model without a chat template reads, of prompts of one length.

    Args:
        kind: its model_type.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: as of `chatted`.
    """
    if not prompts[0]:
        return _tensors(processor(images=list(pictures), return_tensors="pt"))
    found = processor(images=list(pictures), text=list(prompts), return_tensors="pt")
    end = processor.tokenizer.sep_token_id or processor.tokenizer.eos_token_id
    if MANNERS.get(kind, MANNER).cut and bool((found["input_ids"][:, -1] == end).all()):
        found |= {name: found[name][:, :-1] for name in ("input_ids", "attention_mask") if name in found}
    return _tensors(found)


def _tensors(found: Any) -> dict[str, Tensor]:
    return {name: x for name, x in dict(found).items() if isinstance(x, Tensor)}
