"""What codes of pictures are worth: `python -m tests.benchmarks.codes DATA DVAE [DALLE]` prints a JSON object for each run.

Of a discrete VAE the error of what is made anew beside that of the mean picture and of a k-means of patches with as many codes,
of a DALL-E how often it prefers the caption of a picture to 19 others, by the probability of the codes of the picture.
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

import numpy as np
import torch

from mmkit.batch import Batch, Want
from mmkit.data.shards import open_dataset
from mmkit.loading import load_model
from mmkit.losses.codebook import EACH, PICTURES, k_means
from mmkit.metrics.evaluation import Request
from mmkit.metrics.reconstruction import of_model
from mmkit.sampling import prior_of

OTHERS = 19


def patches(model: Any, objective: Any, data: Any, split: str, limit: int | None = None) -> np.ndarray:
    """Of the pictures of a split, as the encoder reads them, (pictures, N, 3 * p * p) in 0..1."""
    reader, encoder = model.reader(objective.input), objective.encoder[0]
    rows = data.rows(split, [model.inputs[objective.input].column], limit)
    found = []
    for row in rows:
        tensors = reader.collate([reader.prepare(row[model.inputs[objective.input].column])])
        found.append(reader.patches(tensors, encoder.grid**2, encoder.patch).flatten(2)[0].numpy())
    return np.stack(found)


def of_codes(model: Any, data: Any) -> dict[str, Any]:
    """`eval reconstruction` on test, and a k-means of patches of the training pictures there."""
    (result,) = of_model(model, data, Request("reconstruction", split="test"))
    objective, rng = next(iter(model.loss.values())), np.random.default_rng(0)
    train = patches(model, objective, data, "train", PICTURES)
    chosen = np.concatenate([one[rng.permutation(len(one))[:EACH]] for one in train]).astype(np.float64)
    centres = torch.from_numpy(k_means(chosen, objective.encoder[0].dim, rng)).float()
    test = torch.from_numpy(patches(model, objective, data, "test")).flatten(0, 1)
    nearest = torch.cdist(test, centres).argmin(1)
    means = {"mse": float((centres[nearest] - test).square().mean()), "codes_used": len(nearest.unique())}
    return {"model": model.name, **result.record["metrics"], "mean": result.record["chance"]["mse"], "k_means": means}


@torch.inference_mode()
def of_captions(model: Any, data: Any, limit: int = 200) -> dict[str, Any]:
    """How often the true caption of a test picture makes its codes likelier than each of 19 captions of others."""
    prior, rng = prior_of(model), random.Random(0)
    image, text = (model.inputs[name].column for name in (prior.input, prior.text))
    rows = [row for row in data.rows("test", [image, text]) if row[image] and row[text]]
    said = sorted({caption for row in rows for caption in row[text]})
    logits, codes = prior.wants()
    right, likely = 0, []
    for row in rows[:limit]:
        others = rng.sample([caption for caption in said if caption not in row[text]], OTHERS)
        texts = [row[text][0], *others]
        pixels = model.reader(prior.input).collate([model.reader(prior.input).prepare(row[image])] * len(texts))
        words = model.reader(prior.text).collate([model.reader(prior.text).prepare(one) for one in texts])
        got = model(Batch([""] * len(texts), {prior.input: pixels, prior.text: words}, said={prior.text: texts}), [logits, codes])
        scores = prior.log_probability(got[logits].float(), got[Want(prior.input, "tokens")].argmax(-1))
        right += int(scores[0] > scores[1:].max())
        likely.append([float(-scores[0]), float(-scores[1:].mean())])
    true, others_ = np.mean(likely, 0)
    return {
        "model": model.name,
        "prefers": right / len(likely),
        "chance": 1 / 20,
        "n": len(likely),
        "ce": true,
        "ce_of_others": others_,
    }


if __name__ == "__main__":
    opened = open_dataset(sys.argv[1])
    print(json.dumps(of_codes(load_model(sys.argv[2], "cpu"), opened)), flush=True)
    if len(sys.argv) > 3:
        print(json.dumps(of_captions(load_model(sys.argv[3], "cpu"), opened)), flush=True)
