"""Values and slopes against loops over the model itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mmkit.batch import Batch, Want
from mmkit.encode import answer, encode
from mmkit.explain.contribution import gradients, parts, values
from mmkit.explain.held import REMOVALS, hold, partners
from mmkit.explain.support import Pair, Target, has_target, roots, support
from mmkit.losses.filip import late_interaction
from tests.small import small

N = 5
TARGETS = {"task": {"classes": ["a", "b", "c"], "many": False}}
TEXTS = ["a red picture", "blue", "all of it is green", "red", "a blue picture all of it"]


def fused(kind, many=False, of=None):
    torch.manual_seed(1)
    tables = {
        "fusion": {"kind": kind, "dim": 16, "inputs": ["image", "text"]},
        "loss": {"task": {"kind": "classify", "of": "fused"}},
    }
    if kind not in ("concat", "sum", "logits"):
        tables["fusion"] |= {"layers": 1, "heads": 2}
    model = small(targets={"task": {**TARGETS["task"], "many": many}}, **tables)
    for parameter in model.parameters():  # as they begin, heads hardly tell anything apart
        nn.init.normal_(parameter, std=0.3)
    return model


def prepared(model):
    torch.manual_seed(2)
    images = [torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8) for _ in range(N)]
    return [{"image": image, "text": model.reader("text").prepare(text)} for image, text in zip(images, TEXTS, strict=True)]


def held_of(model, objective, samples):
    found = {}
    for name, of in roots(model, objective).items():
        whats = [root.what for root in of]
        blank = None
        if not has_target(objective):
            given = encode(model, name, [model.reader(name).blank], whats)
            blank = {what: x[0] for what, x in given.items()}
        found[name] = hold(encode(model, name, [one[name] for one in samples], whats), range(len(samples)), blank)
    return found


KINDS = ["early", "merged", "cross", "gated-cross", "concat", "sum", "logits", "hybrid"]


@pytest.mark.parametrize("kind", KINDS)
def test_coalitions_are_what_the_model_says_of_such_rows(kind):
    model = fused(kind)
    objective, samples = model.loss["task"], prepared(model)
    about = support(objective, ["a", "b", "c", "a", "b"])
    others = torch.tensor([[1, 2, 3, 4, 0], [2, 3, 4, 0, 1]])
    held = held_of(model, objective, samples)

    def asked(rows):
        p = answer(model, ["image", "text"], rows, Want("task", "logits")).softmax(-1)
        return p[range(N), [0, 1, 2, 0, 1]].numpy()

    zero = values(model, about, held, "zero", others, batch_size=2)
    assert np.allclose(zero[:, 3], asked(samples), atol=1e-5)
    assert np.allclose(zero[:, 1], asked([{"image": one["image"]} for one in samples]), atol=1e-5)
    assert np.allclose(zero[:, 2], asked([{"text": one["text"]} for one in samples]), atol=1e-5)
    shuffled = values(model, about, held, "shuffle", others, batch_size=3)
    mixed = [{"image": one["image"], "text": samples[other]["text"]} for one, other in zip(samples, others[1], strict=True)]
    assert np.allclose(shuffled[:, 1], asked(mixed), atol=1e-5)
    both = [{"image": samples[i]["image"], "text": samples[j]["text"]} for i, j in others.T.tolist()]
    assert np.allclose(shuffled[:, 0], asked(both), atol=1e-5)
    assert np.ptp(zero) > 1e-3, "the model says the same of everything"


@pytest.mark.parametrize("kind", ["early", "merged", "concat"])
def test_slopes_are_those_of_each_sample_alone(kind):
    model = fused(kind)
    objective, samples = model.loss["task"], prepared(model)
    held = held_of(model, objective, samples)
    found = gradients(model, Target(objective, ["a", "b", "c", "a", "b"]), held, batch_size=3)
    for row, true in enumerate((0, 1, 2, 0, 1)):
        leaves = {
            (name, what): x.requires_grad_()
            for name, one in held.items()
            for what, x in one.of(torch.tensor([row])).items()
            if what != "mask"
        }
        masks = {Want(name, "mask"): one.of(torch.tensor([row]))["mask"] for name, one in held.items()}
        have = {Want(name, what): x for (name, what), x in leaves.items()} | masks
        p = model(Batch([""], {}), [Want("task", "logits")], have)[Want("task", "logits")].double().softmax(-1)[0, true]
        slopes = torch.autograd.grad((p / (1 - p)).log(), list(leaves.values()), allow_unused=True)
        total = dict.fromkeys(held, 0.0)
        for (name, what), slope in zip(leaves, slopes, strict=True):
            if slope is not None:
                total[name] += sum(float(g.norm()) for g in (slope * held[name].usual.spread[what])[0].view(-1, slope.size(-1)))
        assert found[row] == pytest.approx(list(total.values()), rel=1e-3)


def test_the_scale_of_an_encoding_and_what_never_varies_do_not_count():
    model = fused("logits")
    objective, samples = model.loss["task"], prepared(model)
    about = Target(objective, ["a", "b", "c", "a", "b"])
    before = gradients(model, about, held_of(model, objective, samples))
    with torch.no_grad():  # the encoder of texts gives ten times as much, and the fusion takes a tenth of it
        held = held_of(model, objective, samples)
        held["text"].items["pooled"] *= 10
        held["text"].usual.spread["pooled"] *= 10
        model.fusion["fused"].adapt["text"].weight /= 10
    assert np.allclose(gradients(model, about, held), before, rtol=1e-3)
    same = held_of(model, objective, [one | {"image": samples[0]["image"]} for one in samples])
    assert np.allclose(gradients(model, about, same)[:, 0], 0, atol=1e-5)


def test_of_many_classes_it_is_how_surely_each_is_told_rightly():
    model = fused("concat", many=True)
    objective, samples = model.loss["task"], prepared(model)
    cells = [["a"], ["b", "c"], [], ["a", "b", "c"], ["c"]]
    found = values(model, Target(objective, cells), held_of(model, objective, samples), "zero", partners(range(N), 2, 1)[0])
    p = answer(model, ["image", "text"], samples, Want("task", "logits")).sigmoid()
    for row, cell in enumerate(cells):
        right = [p[row, c] if name in cell else 1 - p[row, c] for c, name in enumerate("abc")]
        assert found[row, 3] == pytest.approx(float(sum(right) / 3), abs=1e-5)


@pytest.mark.parametrize("kind", ["infonce", "sigmoid", "filip"])
def test_the_similarity_of_pairs_and_of_what_is_blank(kind):
    model = small(loss={"itc": {"kind": kind, "between": ["image", "text"]}})
    objective, samples = model.loss["itc"], prepared(model)
    blank = {name: model.reader(name).blank for name in ("image", "text")}

    def similar(rows):
        what = objective.what[0]
        got = {n: encode(model, n, [one[n] for one in rows], [what, "mask"]) for n in ("image", "text")}
        if what == "vector":
            return [float(a @ b) for a, b in zip(got["image"]["vector"], got["text"]["vector"], strict=True)]
        rows = zip(*(got[n][w] for n in ("image", "text") for w in ("vectors", "mask")), strict=True)
        return [float(torch.stack(late_interaction(*(x[None] for x in row))).mean()) for row in rows]

    held, about = held_of(model, objective, samples), support(objective, ())
    assert isinstance(about, Pair)
    found = values(model, about, held, "zero", partners(range(N), 2, 1)[0])
    assert found[:, 3] == pytest.approx(similar(samples), abs=1e-5)
    assert found[:, 1] == pytest.approx(similar([one | {"text": blank["text"]} for one in samples]), abs=1e-5)
    assert found[:, 2] == pytest.approx(similar([one | {"image": blank["image"]} for one in samples]), abs=1e-5)


def test_everything_is_computed_and_progress_ends():
    model = fused("merged")
    objective, samples = model.loss["task"], prepared(model)
    seen = []
    about, held = Target(objective, list("abcab")), held_of(model, objective, samples)
    found, worth = parts(model, about, held, partners(range(N), 2, 3), progress=lambda *at: seen.append(at))
    assert list(found) == [("gradient", None), *((m, r) for m in ("ablation", "shapley") for r in REMOVALS)]
    assert all(part.shape == (N, 2) for part in found.values())
    # with all inputs nothing is removed
    assert np.allclose(worth["zero"][:, 3], worth["mean"][:, 3]) and np.allclose(worth["zero"][:, 3], worth["shuffle"][:, 3])
    assert seen[-1] == (5, 5)
