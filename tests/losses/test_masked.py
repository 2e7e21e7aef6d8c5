"""Masked modelling: what is hidden, that nothing of it is seen, what it is to be told as, and against naive loops."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmkit.batch import Batch, Want
from mmkit.errors import UserError
from mmkit.losses import loss_class
from mmkit.losses.codebook import Centres, fitted, k_means
from mmkit.losses.masked_tokens import in_blocks
from mmkit.model import Model
from mmkit.training.step import gradients
from tests.core import plan, smallest, whole_dataset
from tests.small import reader, small

SAID = ["a red picture", "blue", "all of it is green", "a red picture", "", "blue", "green", "a picture of it all"]
FUSION = {"kind": "merged", "dim": 16, "layers": 1, "heads": 2, "inputs": ["image", "text"]}
BOTH = {"mmm_text": {"kind": "mmm", "of": "fused.text"}, "mmm_image": {"kind": "mmm", "of": "fused.image", "codes": 4}}


class Rows:
    """A dataset of pictures, as far as losses learn of it."""

    path = "data"

    def columns_of(self, kind: str) -> list[str]:
        return []

    def rows(self, split: str, columns: list[str], limit: int | None) -> Any:
        for seed in range(40):
            rng = np.random.default_rng(seed)
            yield {"image": png(rng.integers(0, 256, (2, 2, 3), dtype=np.uint8))}


def png(pixels: np.ndarray) -> dict[str, Any]:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).resize((16, 16), Image.Resampling.NEAREST).save(out, "PNG")
    return {"bytes": out.getvalue(), "path": None}


def model(loss: dict[str, Any], fusion: dict[str, Any] | None = FUSION) -> Model:
    """A model of some losses, which have learnt what they must know, and can be trained."""
    tables: dict[str, Any] = {"loss": loss} | ({"fusion": fusion} if fusion else {})
    config = small(targets={}, **{**tables, "loss": {}}).config
    config.loss = loss
    targets = {name: loss_class(name, table).learn(table, Rows(), config) for name, table in loss.items()}
    made = small(targets=targets, **tables)
    for objective in made.loss.values():
        objective.needs(made)
    return made


def batch(gaps: bool = False) -> Batch:
    torch.manual_seed(1)
    count = len(SAID)
    there = {"image": torch.ones(count, dtype=torch.bool), "text": torch.tensor([text != "" for text in SAID])}
    if gaps:
        there["image"][[1, 6]] = False
    pixels = torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8)
    return Batch([f"row {i}" for i in range(count)], {"image": {"pixels": pixels}, "text": reader("text").collate(SAID)}, there)


def hidden_version(made: Model, name: str, rows: Batch, draw: str = "0 1") -> Batch:
    (version,) = made.loss[name].corrupt(rows, draw, {}).values()
    return version


def test_of_hidden_words_eight_tenths_are_masked_one_is_any_and_one_stays() -> None:
    words = reader("text")
    tensors = words.collate(["a red picture all of it is green"] * 600)
    may = words.units(tensors, None)
    assert may.sum(1).tolist() == (tensors["mask"].sum(1) - 2).tolist()  # neither start nor end, no padding
    hides = may & (torch.rand(may.shape, generator=torch.Generator().manual_seed(0)) < 0.5)
    found = words.hide(tensors, hides, [random.Random(i) for i in range(600)])
    assert torch.equal(found["ids"][~hides], tensors["ids"][~hides]) and torch.equal(found["mask"], tensors["mask"])
    before, after = tensors["ids"][hides], found["ids"][hides]
    assert (after == words.tokenizer.mask).float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert (after == before).float().mean().item() == pytest.approx(0.1, abs=0.03)
    assert len(after.unique()) > 100


def test_a_tokenizer_without_a_mask_token_cannot_hide_words() -> None:
    words = reader("text")
    words.tokenizer.mask = None
    tensors = words.collate(["blue"])
    with pytest.raises(UserError, match="words cannot be hidden") as e:
        words.hide(tensors, torch.zeros_like(tensors["mask"]), [])
    assert "--text-encoder transformer" in str(e.value.hint)
    made = model({"mlm": {"kind": "mlm", "of": "text"}})
    made.reader("text").tokenizer.mask = None
    with pytest.raises(UserError, match="words cannot be hidden"):
        made.loss["mlm"].needs(made)


def test_hidden_patches_are_filled_before_any_convolution_sees_them() -> None:
    pictures, rows = reader("image"), batch()
    pixels = rows.inputs["image"]
    hides = torch.tensor([[True, False, False, True]] * len(SAID))
    found = pictures.hide(pixels, hides, [])["pixels"]
    corner, rest = found[:, :, :8, :8], found[:, :, :8, 8:]
    assert (corner == 128).all() and torch.equal(rest, pixels["pixels"][:, :, :8, 8:])
    other = pixels["pixels"].clone()
    other[:, :, :8, :8] = 7
    assert torch.equal(found, pictures.hide({"pixels": other}, hides, [])["pixels"])
    patches = pictures.patches(pixels, 4, 8)
    assert torch.allclose(patches[:, 1], pixels["pixels"][:, :, :8, 8:] / 255)


@pytest.mark.parametrize(("n", "share"), [(196, 75 / 196), (36, 0.4), (4, 0.4), (49, 0.15), (1, 0.4)])
def test_blocks_hide_the_share_in_rectangles(n: int, share: float) -> None:
    rng, side = random.Random(0), round(n**0.5)
    drawn = [np.array(in_blocks(n, share, rng)).reshape(side, side) for _ in range(50)]
    most = max(1, round(share * n))
    assert all(1 <= one.sum() <= most for one in drawn)
    assert np.mean([one.sum() for one in drawn]) > 0.9 * most
    if n == 196:  # a hidden patch has neighbours that are: of patches drawn each for itself 38 % would be
        beside = np.mean([one[:, 1:][one[:, :-1]].mean() for one in drawn])
        assert beside > 0.7
    assert len({one.tobytes() for one in drawn}) > 1 or n == 1


def test_something_is_hidden_of_every_row_that_has_the_input_and_of_no_other() -> None:
    rows = batch(gaps=True)
    for of, kind in (("text", "mlm"), ("fused.text", "mlm"), ("image", "mim"), ("fused.image", "mim")):
        keys = {"codes": 4} if kind == "mim" else {}
        made = model({"one": {"kind": kind, "of": of, "masked": 0.01, **keys}})
        version, name = hidden_version(made, "one", rows), of.rpartition(".")[2]
        assert list(version.inputs) == [name]
        hidden = version.hidden[name]
        assert hidden.any(1).tolist() == rows.present[name].tolist()
        tokens = made(rows, [Want(name, "tokens")])[Want(name, "tokens")]
        assert hidden.shape == tokens.shape[:2]
        again = hidden_version(made, "one", rows.take([5, 2])).hidden[name]
        assert torch.equal(again, hidden[[5, 2]])
        assert not torch.equal(hidden_version(made, "one", rows, "0 2").hidden[name], hidden)


def test_a_class_token_is_never_hidden() -> None:
    made = small(encoder={"image": {"pool": "cls"}}, loss={}, targets={})
    made.config.loss = {"mim": {"kind": "mim", "of": "image", "codes": 4}}
    found = loss_class("mim", made.config.loss["mim"]).learn(made.config.loss["mim"], Rows(), made.config)
    assert found is not None and found["grids"] == {"image": [1, 4]}
    made = small(encoder={"image": {"pool": "cls"}}, loss=made.config.loss, targets={"mim": found})
    hidden = hidden_version(made, "mim", batch()).hidden["image"]
    assert hidden.shape == (len(SAID), 5) and not hidden[:, 0].any() and hidden[:, 1:].any(1).all()


@pytest.mark.parametrize("of", ["text", "fused.text", "image", "fused.image"])
def test_the_loss_is_that_of_a_naive_loop(of: str) -> None:
    kind, name = ("mlm", "text") if of.endswith("text") else ("mim", "image")
    made = model({"one": {"kind": kind, "of": of} | ({"codes": 4} if kind == "mim" else {})})
    rows = batch(gaps=True)
    found = gradients(made.train(), rows, 1, "fp32", "0 1")["loss/one"]
    version = hidden_version(made, "one", rows)
    total, count = 0.0, 0
    part = of if "." in of else name
    both = Batch(rows.ids, rows.inputs, rows.present, versions={"one": version})
    tokens = made(both, [Want(part, "tokens", "one")])[Want(part, "tokens", "one")]
    for row in range(rows.rows):
        for i in range(tokens.size(1)):
            if version.hidden[name][row, i]:
                logits = made.head["one"](tokens[row, i])
                if kind == "mlm":
                    true = int(rows.inputs["text"]["ids"][row, i])
                else:
                    y, x = divmod(i, 2)
                    patch = rows.inputs["image"]["pixels"][row, :, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8] / 255
                    # at a quarter of the size, as the whole picture is
                    small_patch = made.reader("image").patches(rows.inputs["image"], 4, 4)[row, i]
                    assert torch.allclose(small_patch.mean(), patch.mean(), atol=0.03)
                    centres = torch.tensor(made.targets["one"]["centres"])
                    true = min(range(len(centres)), key=lambda k: float((centres[k] - small_patch.flatten()).square().sum()))
                total -= float(logits.log_softmax(-1)[true].detach())
                count += 1
    assert count == int(made.loss["one"].count(both))
    assert found.item() == pytest.approx(total / count, rel=1e-5)


def test_both_losses_of_mmm_share_one_version_in_which_both_inputs_are_hidden() -> None:
    made, rows = model(BOTH), batch(gaps=True)
    one, other = hidden_version(made, "mmm_text", rows), hidden_version(made, "mmm_image", rows)
    assert made.loss["mmm_text"].version == made.loss["mmm_image"].version
    for name in ("image", "text"):
        assert torch.equal(one.hidden[name], other.hidden[name])
        assert all(torch.equal(one.inputs[name][key], other.inputs[name][key]) for key in one.inputs[name])
        # of rows that lack one of them nothing is hidden: there mim and mlm hide what there is
        assert one.hidden[name].any(1).tolist() == (rows.present["image"] & rows.present["text"]).tolist()
    ran: Counter[str] = Counter()
    for name, encoder in made.encoder.items():
        encoder.register_forward_hook(lambda *given, name=name: ran.update([name]))
        encoder.blocks.register_forward_hook(lambda *given, name=name: ran.update([name]))
    values = gradients(made.train(), rows, 1, "fp32", "0 1")
    assert ran == {"image": 1, "text": 1}
    assert values["loss"].item() == pytest.approx(values["loss/mmm_text"].item() + values["loss/mmm_image"].item())


def test_what_one_mmm_loss_says_of_its_input_holds_for_both() -> None:
    made = model({"mmm_text": BOTH["mmm_text"], "mmm_image": BOTH["mmm_image"] | {"masked": 0.9, "blocks": False}})
    rows = batch()
    one, other = hidden_version(made, "mmm_text", rows), hidden_version(made, "mmm_image", rows)
    assert torch.equal(one.hidden["image"], other.hidden["image"])
    assert one.hidden["image"][rows.present["text"]].float().mean() > 0.75


@pytest.mark.parametrize("lacking", ["image", "text"])
def test_a_batch_without_one_of_the_inputs(lacking: str) -> None:
    losses = BOTH | {"mlm": {"kind": "mlm", "of": "text"}, "mim": {"kind": "mim", "of": "image", "codes": 4}}
    made, rows = model(losses), batch()
    rows.present[lacking][:] = False
    values = gradients(made.train(), rows, 2, "fp32", "0 1")
    gone = {"mmm_text", "mmm_image", "mlm" if lacking == "text" else "mim"}
    assert {name for name in losses if not values[f"loss/{name}"]} == gone
    assert all(p.grad is None or p.grad.isfinite().all() for p in made.parameters())
    assert all(p.grad is None or not p.grad.any() for p in made.encoder[lacking].parameters())


@pytest.mark.parametrize(
    ("loss", "fusion", "what", "hint"),
    [
        ({"kind": "mlm", "of": "image"}, None, "mlm hides words, and image has none", "--set loss.one.of=text"),
        ({"kind": "mlm", "of": "fused"}, FUSION, "mlm hides words, and fused has none", "--set loss.one.of=text"),
        ({"kind": "mim", "of": "text"}, None, "mim hides patches, and text has none", "--set loss.one.of=image"),
        ({"kind": "mmm", "of": "text"}, None, "mmm hides parts of what is fused", "--set fusion.kind=merged"),
        ({"kind": "mmm", "of": "text"}, FUSION, "mmm hides parts of what is fused", "--set loss.one.of=fused.image"),
        (
            {"kind": "mim", "of": "fused.image", "codes": 4},
            FUSION | {"kind": "cross"},
            "cross fusion gives no tokens of image",
            "--set fusion.kind=merged",
        ),
        (
            {"kind": "mlm", "of": "fused.text"},
            {"kind": "concat", "dim": 16, "inputs": ["image", "text"]},
            "concat fusion gives no tokens of text",
            "--set fusion.kind=merged",
        ),
        ({"kind": "mim", "of": "image"}, None, "64 codes cannot be told from 160 patches", "--set loss.one.codes=40"),
    ],
)
def test_what_cannot_be_hidden_is_one_line(loss: Any, fusion: Any, what: str, hint: str) -> None:
    with pytest.raises(UserError, match=what) as e:
        model({"one": loss}, fusion)
    assert hint in str(e.value.hint)


def test_k_means_finds_what_there_is() -> None:
    rng = np.random.default_rng(3)
    true = rng.uniform(size=(5, 12))
    x = true[rng.integers(5, size=400)] + rng.normal(scale=0.01, size=(400, 12))
    found = k_means(x, 5, np.random.default_rng(0))
    distances = np.linalg.norm(found[:, None] - true[None], axis=-1)
    assert sorted(distances.argmin(1)) == list(range(5)) and distances.min(1).max() < 0.02
    # no more codes than there are different patches
    assert len(k_means(np.repeat(true, 9, 0), 20, np.random.default_rng(0))) == 5


def test_codes_are_the_nearest_centres_and_the_same_each_time() -> None:
    pictures = reader("image")
    items = [row["image"] for row in Rows().rows("train", [], None)]
    one, again = (fitted(pictures, iter(items), 4, 6, "loss.mim.codes") for _ in range(2))
    assert one == again and len(one) == 6
    patches = pictures.patches(pictures.collate([pictures.prepare(item) for item in items]), 4, 4)
    codes = Centres(one)(patches)
    brute = [
        [min(range(6), key=lambda k: float(np.sum((np.array(one[k]) - patch.flatten().numpy()) ** 2))) for patch in row]
        for row in patches
    ]
    assert codes.tolist() == brute and len(codes.unique()) == 6


def test_each_loss_of_the_recipe_falls(run: Path, tmp_path: Path) -> None:
    keys = {"train": {"batch_size": 16, "lr": 1e-2}, "loss": {name: {"share": None} for name in ("mlm", "mim")}}
    made = plan(smallest("flava", whole_dataset(run / "data", tmp_path / "data", gaps=True), keys))
    trained, rows = made.model.train(), made.first_batch
    optimizer = torch.optim.AdamW(trained.parameters(), 1e-2)
    seen = []
    for step in range(40):
        seen.append({name: value.item() for name, value in gradients(trained, rows, 1, "fp32", f"0 {step}").items()})
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    for name in ("itc", "itm", "mmm_text", "mmm_image", "mlm", "mim"):
        first, last = (sum(each[f"loss/{name}"] for each in part) / 5 for part in (seen[:5], seen[-5:]))
        # in so few steps matching learns no more than how many of the pairs match
        assert last < (1 if name == "itm" else 0.9) * first, name
