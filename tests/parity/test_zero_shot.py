"""Zero-shot classification equals a plain loop over transformers' CLIPModel with the same templates."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmkit.data.shards import Dataset, open_dataset
from mmkit.loading import load_model
from mmkit.metrics import zero_shot
from mmkit.metrics.evaluation import Request
from mmkit.metrics.prompts import templates_of
from tests.conftest import write_dataset

TOLERANCE = 1e-5
NAMES = ("circle", "green triangle", "blue squares", "star", "top", "large circle", "red star")
ROWS = 20


@pytest.fixture
def data(tmp_path: Path, picture: Callable[..., Image.Image]) -> Dataset:
    rows = []
    for i in range(ROWS):
        buffer = io.BytesIO()
        picture(32 + i, 40).save(buffer, "PNG")
        rows.append({"id": f"{i:02}", "image": {"bytes": buffer.getvalue(), "path": None}, "label": NAMES[i % len(NAMES)]})
    write_dataset(tmp_path / "data", {"test": rows}, {"image": "image", "label": "label"})
    return open_dataset(tmp_path / "data")


def plain_loop(folder: Path, data: Dataset, sentences: list[str]) -> np.ndarray:
    """Logits (N, C), as OpenAI's notebook and CLIP_benchmark compute them; class by class, template by template."""
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    model = CLIPModel.from_pretrained(folder).eval()
    tokenizer, processor = CLIPTokenizer.from_pretrained(folder), CLIPImageProcessorPil.from_pretrained(folder)
    classes, found = [], []
    with torch.inference_mode():
        for name in NAMES:
            each = []
            for sentence in sentences:
                tokens = tokenizer([sentence.replace("{c}", name)], return_tensors="pt")
                text: Any = model.text_projection(model.text_model(**tokens).pooler_output)
                each.append(torch.nn.functional.normalize(text, dim=-1)[0])
            mean = torch.stack(each).mean(0)
            classes.append(mean / mean.norm())
        for row in data.rows("test"):
            image = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
            pixels = processor(image, return_tensors="pt")["pixel_values"]
            vector = model.visual_projection(model.vision_model(pixels).pooler_output)[0]
            found.append(model.logit_scale.exp() * torch.stack(classes) @ (vector / vector.norm()))
    return torch.stack(found).numpy()


@pytest.mark.parametrize("templates", ["openai", "a photo of a {c}."])
def test_clip(clip_folder: Path, data: Dataset, tmp_path: Path, templates: str) -> None:
    sentences = [*templates_of((templates,), ()).sentences]
    theirs = plain_loop(clip_folder, data, sentences)
    model = load_model(str(clip_folder), "cpu")
    request = Request("zero-shot", classes=(",".join(NAMES),), templates=(templates,))
    cosines: list[np.ndarray] = []
    score = zero_shot.score
    with chdir(tmp_path), pytest.MonkeyPatch.context() as patch:
        patch.setattr(zero_shot, "score", lambda *args: cosines.append(score(*args)) or cosines[-1])
        (result,) = zero_shot.of_model(model, data, request)
    scale = model.pairing.logit_scale.exp().item()
    assert np.abs(cosines[0] - theirs / scale).max() <= TOLERANCE
    probabilities = torch.from_numpy(theirs).softmax(1).numpy()
    assert np.abs(np.array(result.rows["probability"]) - probabilities.max(1)).max() <= TOLERANCE
    assert result.rows["predicted"] == [NAMES[c] for c in theirs.argmax(1)]
    target = np.arange(ROWS) % len(NAMES)
    order = np.argsort(-theirs, 1)
    assert result.record["metrics"]["acc1"] == np.mean(order[:, 0] == target)
    assert result.record["metrics"]["acc5"] == np.mean((order[:, :5] == target[:, None]).any(1))
    recalls = [np.mean(order[target == c, 0] == c) for c in range(len(NAMES))]
    assert result.record["metrics"]["mean_per_class_recall"] == pytest.approx(np.mean(recalls))
