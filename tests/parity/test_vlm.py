"""A vision-language checkpoint writes through mmkit what it writes in transformers, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmkit.decoding import Example, Sampling, Written, check_examples, generate
from mmkit.errors import UserError
from mmkit.foreign_open import load_writer
from mmkit.foreign_vlm import CAPTION, QUESTION, VisionLanguage
from mmkit.loading import load_model
from tests.speaking import KINDS

QUESTIONS = ["what colour is the cat?", "is it a dog, yes or no? red or blue?", "a?"]
LENGTH = 12
READING = [kind for kind in KINDS if kind != "vit_gpt2"]  # the words of a question


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("speaking")
    return {kind: build(root / kind) for kind, build in KINDS.items()}


@pytest.fixture(scope="module")
def opened(folders: dict[str, Path]) -> dict[str, Any]:
    return {kind: load_writer(str(folder), "cpu") for kind, folder in folders.items()}


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, size, np.uint8)) for size in ((32, 32, 3), (40, 64, 3), (64, 24, 3))]


def asked(model: Any, name: str, **how: Any) -> list[list[Written]]:
    samples = [{"image": picture, "text": question} for picture, question in zip(pictures(), QUESTIONS, strict=True)]
    return generate(model, model.loss[name], samples, length=LENGTH, **how)


def by_hand(folder: Path, picture: Image.Image, text: str | None, **how: Any) -> list[list[int]]:
    """What a user of transformers types, for one picture: the tokens after the prompt."""
    from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folder)
    reads = model.config.model_type != "vision-encoder-decoder"
    processor = (AutoProcessor if reads else AutoImageProcessor).from_pretrained(folder)
    if not reads:
        inputs = processor(picture, return_tensors="pt")
    elif processor.chat_template:
        content = [{"type": "image", "image": picture}, {"type": "text", "text": text}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
    else:
        inputs = processor(images=picture, text=text, return_tensors="pt")
        if text and model.config.model_type == "git":  # as its documentation does: [CLS] and the question, without [SEP]
            inputs = {name: x[:, :-1] if name != "pixel_values" else x for name, x in inputs.items()}
    out = model.generate(**inputs, max_new_tokens=LENGTH, do_sample=False, **how)
    return [row[-LENGTH:] for row in out.tolist()]


def same(written: list[Written], rows: list[list[int]]) -> None:
    """Up to the end of each text; by hand what is shorter than the longest is filled up behind it."""
    assert len(written) == len(rows)
    for one, row in zip(written, rows, strict=True):
        assert len(one.ids) == LENGTH, "no text of these ends early, so that tokens can be counted from the back"
        assert list(one.ids) == row


@pytest.mark.parametrize("kind", KINDS)
def test_captions_are_those_of_generate(kind: str, opened: dict[str, Any], folders: dict[str, Path]) -> None:
    prompt = CAPTION if opened[kind].chats else None
    for written, picture in zip(asked(opened[kind], "captions"), pictures(), strict=True):
        same(written, by_hand(folders[kind], picture, prompt))


@pytest.mark.parametrize("kind", READING)
def test_answers_are_those_of_generate(kind: str, opened: dict[str, Any], folders: dict[str, Path]) -> None:
    form = QUESTION if opened[kind].chats else "{}"
    for written, picture, question in zip(asked(opened[kind], "answers"), pictures(), QUESTIONS, strict=True):
        same(written, by_hand(folders[kind], picture, form.replace("{}", question)))


@pytest.mark.parametrize("kind", ["llava", "git", "vit_gpt2"])
def test_beams_are_those_of_generate(kind: str, opened: dict[str, Any], folders: dict[str, Path]) -> None:
    prompt = CAPTION if opened[kind].chats else None
    for written, picture in zip(asked(opened[kind], "captions", beams=3, top=2), pictures(), strict=True):
        same(written, by_hand(folders[kind], picture, prompt, num_beams=3, num_return_sequences=2))


@pytest.mark.parametrize("kind", KINDS)
def test_neither_the_batch_nor_the_order_changes_a_text(kind: str, opened: dict[str, Any]) -> None:
    what = "answers" if kind in READING else "captions"
    together = [texts[0] for texts in asked(opened[kind], what)]
    alone = [texts[0] for texts in asked(opened[kind], what, batch_size=1)]
    assert [one.ids for one in together] == [one.ids for one in alone]
    assert [one.score for one in together] == pytest.approx([one.score for one in alone], abs=1e-4)
    assert len({one.ids for one in together}) > 1, "pictures and questions are looked at"


def test_the_score_is_the_mean_log_probability(opened: dict[str, Any]) -> None:
    """Against one forward over prompt and text."""
    model: VisionLanguage = opened["llava"]
    picture = pictures()[0]
    ((written,),) = generate(model, model.loss["captions"], [{"image": picture}], length=LENGTH)  # type: ignore[arg-type]
    inputs = model._processed([picture], [CAPTION])
    ids = torch.cat([inputs["input_ids"], torch.tensor([written.ids])], 1)
    with torch.inference_mode():
        logits = model.body(input_ids=ids, pixel_values=inputs["pixel_values"]).logits[0, -LENGTH - 1 : -1]
    expected = logits.log_softmax(-1).gather(1, torch.tensor(written.ids)[:, None]).mean()
    assert written.score == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("kind", ["llava", "idefics3"])
def test_examples_are_turns_of_the_chat(kind: str, opened: dict[str, Any], folders: dict[str, Path]) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    first, second, asked_of = pictures()
    examples = [Example({"image": first}, "a dog", "what is it?"), Example({"image": second}, "red", "what colour is it?")]
    sample = {"image": asked_of, "text": QUESTIONS[0]}
    model, processor = AutoModelForImageTextToText.from_pretrained(folders[kind]), AutoProcessor.from_pretrained(folders[kind])
    chat: list[Any] = []
    for picture, question, answer in (
        (first, "what is it?", "a dog"),
        (second, "what colour is it?", "red"),
        (asked_of, QUESTIONS[0], ""),
    ):
        text = QUESTION.replace("{}", question)
        chat.append({"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": text}]})
        chat += [{"role": "assistant", "content": [{"type": "text", "text": answer}]}] if answer else []
    how = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    inputs = processor.apply_chat_template([chat], add_generation_prompt=True, **how)
    expected = model.generate(**inputs, max_new_tokens=LENGTH, do_sample=False)[0, -LENGTH:].tolist()
    own = opened[kind]
    ((written,),) = generate(own, own.loss["answers"], [sample], length=LENGTH, examples=examples)
    same([written], [expected])
    ((alone,),) = generate(own, own.loss["answers"], [sample], length=LENGTH)
    assert alone.ids != written.ids, "the examples are read"


@pytest.mark.parametrize("kind", ["git", "blip"])
def test_a_checkpoint_of_one_picture_takes_no_examples(kind: str, opened: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="takes one picture a prompt"):
        check_examples(opened[kind], opened[kind].loss["answers"])


def test_what_reads_no_words_says_so(opened: dict[str, Any], folders: dict[str, Path]) -> None:
    prompted: Any = load_writer(str(folders["vit_gpt2"]), "cpu", prompt="a photo of")
    for model, name in ((opened["vit_gpt2"], "answers"), (prompted, "captions")):
        with pytest.raises(UserError, match="a checkpoint of vision-encoder-decoder writes captions, and reads no words"):
            asked(model, name)
    assert opened["vit_gpt2"].protocol("caption")["asked"] == ""


def test_drawn_texts_are_seeded_and_differ(opened: dict[str, Any]) -> None:
    def draw(seed: int) -> list[tuple[int, ...]]:
        return [texts[0].ids for texts in asked(opened["llava"], "captions", sampling=Sampling(0.9, 1.5, seed))]

    state = torch.get_rng_state()
    first = draw(1)
    assert first == draw(1) != draw(2)
    assert torch.equal(state, torch.get_rng_state())
    greedy = [texts[0].ids for texts in asked(opened["llava"], "captions")]
    assert [texts[0].ids for texts in asked(opened["llava"], "captions", sampling=Sampling(1e-6))] == greedy


def test_what_is_drawn_of_a_picture_depends_on_no_other(opened: dict[str, Any]) -> None:
    def draw(batch: int) -> list[list[Written]]:
        return asked(opened["llava"], "captions", sampling=Sampling(0.9, 1.5, 1), batch_size=batch, beams=3, top=3)

    drawn = draw(1)
    assert [[one.ids for one in texts] for texts in drawn] == [[one.ids for one in texts] for texts in draw(64)]
    assert all([one.score for one in texts] == sorted((one.score for one in texts), reverse=True) for texts in drawn)
    same = generate(
        opened["llava"], opened["llava"].loss["captions"], [{"image": pictures()[0]}] * 3, sampling=Sampling(0.9, 1.5)
    )
    assert len({texts[0].ids for texts in same}) == 3


def test_short_memory_takes_smaller_batches(opened: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened["llava"]
    expected, real = asked(model, "captions"), model._generated
    sizes = []

    def generated(inputs: Any, B: int, *rest: Any) -> Any:
        sizes.append(B)
        if most < B:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(inputs, B, *rest)

    monkeypatch.setattr(model, "_generated", generated)
    most = 1
    assert [texts[0].ids for texts in asked(model, "captions")] == [texts[0].ids for texts in expected]
    assert sizes == [3, 1, 2, 1, 1]
    most = 0
    with pytest.raises(UserError, match="memory on cpu does not hold one picture") as raised:
        asked(model, "captions")
    assert "smaller checkpoint" in raised.value.hint


def test_many_crops_share_no_batch(opened: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened["idefics3"]
    expected = [texts[0].ids for texts in asked(model, "captions")]
    monkeypatch.setattr("mmkit.foreign_vlm.VALUES", 1)
    assert [texts[0].ids for texts in asked(model, "captions")] == expected


FAULTS = [
    ("model.safetensors", b"x", "the weights cannot be read"),
    ("processor_config.json", None, "processor"),
    ("config.json", b'{"model_type": "bert"}', "a checkpoint of bert, not a whole CLIP, SigLIP or CLAP"),
]


@pytest.mark.parametrize(("file", "content", "what"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_damaged_folder_is_one_line(
    file: str, content: bytes | None, what: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(folders["llava"], tmp_path / "llava")
    place = tmp_path / "llava" / file
    place.unlink()
    if content is not None:
        place.write_bytes(content)
    with pytest.raises(UserError, match=what) as raised:
        load_writer(str(tmp_path / "llava"), "cpu")
    assert "\n" not in str(raised.value)


def test_a_processor_that_needs_more_names_the_extra(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoProcessor

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise ImportError("\nQwen2VLVideoProcessor requires the Torchvision library but it was not found in your environment.")

    monkeypatch.setattr(AutoProcessor, "from_pretrained", refuse)
    with pytest.raises(UserError, match="this needs the package torchvision") as raised:
        load_writer(str(folders["git"]), "cpu")
    assert raised.value.hint == "pip install 'mmkit[vlm]'"


def test_what_compares_says_what_such_a_checkpoint_does(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="a checkpoint of git, not a whole CLIP, SigLIP or CLAP") as raised:
        load_model(str(folders["git"]))
    assert "mmkit caption" in raised.value.hint


def test_a_prompt(folders: dict[str, Path], opened: dict[str, Any]) -> None:
    own: Any = load_writer(str(folders["llava"]), "cpu", prompt="{} yes?")
    assert [t[0].ids for t in asked(own, "answers")] != [t[0].ids for t in asked(opened["llava"], "answers")]
    assert own.protocol("vqa") == {"asked": "{} yes?", "precision": "float32"}
    without: Any = load_writer(str(folders["llava"]), "cpu", prompt="yes?")
    with pytest.raises(UserError, match=r"the prompt has no \{\} for the question"):
        asked(without, "answers")
