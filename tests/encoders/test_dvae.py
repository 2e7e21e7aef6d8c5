"""The discrete VAE: its encoder against FLAVA's published one, its loss against the definitions, and that both can be trained."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmkit.batch import Batch, Want
from mmkit.encoders.dvae import DVAE, inside, outside
from mmkit.errors import UserError
from mmkit.losses.codebook import k_means
from mmkit.losses.dvae import Dvae, eased, from_uniform, logit_laplace, usage
from mmkit.model import Model
from tests.small import reader, small

TOKENS = Want("image", "tokens")


def dvae(**keys: Any) -> Model:
    encoder = {"image": {"kind": "dvae", "dim": 8, "layers": 1, "codes": 12, "patch": 4, "gain": 1.0, "linear": True}}
    return small(encoder=encoder, loss={"dvae": {"kind": "dvae", "of": "image", **keys}})


def rows(count: int, there: list[bool] | None = None) -> Batch:
    pixels = torch.randint(0, 255, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    present = {} if there is None else {"image": torch.tensor(there)}
    return Batch([str(i) for i in range(count)], {"image": {"pixels": pixels}}, present)


def scored(model: Model, batch: Batch, draw: str = "0 0") -> torch.Tensor:
    loss = model.loss["dvae"]
    batch = Batch(batch.ids, batch.inputs, batch.present, versions=loss.corrupt(batch, draw, {}))
    found: torch.Tensor = loss.score(model(batch, loss.wants()), batch)
    return found


def test_its_encoder_is_the_published_one() -> None:
    from transformers import FlavaImageCodebook, FlavaImageCodebookConfig

    torch.manual_seed(0)
    config = FlavaImageCodebookConfig(hidden_size=8, vocab_size=12, num_blocks_per_group=2)
    theirs, ours = FlavaImageCodebook(config).eval(), DVAE(dim=8, layers=2, codes=12, patch=8, size=32)
    # in the order in which both are called, but that each of theirs has its shortcut first or not at all
    named = {name: module for name, module in theirs.blocks.named_modules() if isinstance(module, torch.nn.Conv2d)}
    copied = {"stem": named["input"], "codes": named["output.conv"]}
    for g in range(4):
        for b in range(2):
            block, there = f"groups.{g}.{b}", f"group_{g + 1}.group.block_{b + 1}"
            copied |= {f"{block}.branch.{i}": named[f"{there}.res_path.path.conv_{i + 1}"] for i in range(4)}
            if f"{there}.id_path" in named:
                copied[f"{block}.skip"] = named[f"{there}.id_path"]
    assert {id(module) for module in copied.values()} == {id(module) for module in named.values()}
    for name, module in copied.items():
        ours.get_submodule(name).load_state_dict(module.state_dict())
    pixels = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        expected = theirs.blocks(inside(pixels.float() / 255))
        found = ours(pixels).tokens
    assert torch.allclose(found, expected.flatten(2).transpose(1, 2), atol=1e-5)


def test_pixels_come_back_from_where_they_are_put() -> None:
    x = torch.tensor([0.0, 0.25, 1.0])
    assert inside(x).tolist() == pytest.approx([0.1, 0.3, 0.9])
    assert torch.allclose(outside(inside(x)), x, atol=1e-6)
    assert outside(torch.tensor([0.01, 0.99])).tolist() == [0, 1]


def test_the_likelihood_is_a_density() -> None:
    x = torch.linspace(1e-4, 1 - 1e-4, 200_001, dtype=torch.float64)
    for location, log_scale in ((0.3, -1.0), (-1.0, 0.2)):
        density = (-logit_laplace(torch.full_like(x, location), torch.full_like(x, log_scale), x)).exp()
        assert float(torch.trapezoid(density, x)) == pytest.approx(1, abs=0.01)
        assert float(x[(density * x * (1 - x)).argmax()].logit()) == pytest.approx(location, abs=1e-3)


def test_the_divergence_is_that_of_each_place() -> None:
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    q = torch.distributions.Categorical(logits=logits)
    uniform = torch.distributions.Categorical(logits=torch.zeros_like(logits))
    assert torch.allclose(from_uniform(logits), torch.distributions.kl_divergence(q, uniform), atol=1e-6)


def test_the_loss_is_the_sum_over_the_rows_that_have_a_picture() -> None:
    model = dvae(kl=[0.7, 0.7], kl_over=10, temperature=[0.5, 0.5], temperature_over=10).train()
    batch, loss = rows(3, [True, False, True]), model.loss["dvae"]
    noise = loss.corrupt(batch, "0 0", {})[loss.version].inputs[loss.version]["noise"]
    pixels, encoder, total = batch.inputs["image"]["pixels"], model.encoder["image"], 0.0
    for i in (0, 2):
        logits = encoder(pixels[i : i + 1]).tokens
        location, log_scale = encoder.decode(((logits + noise[i]) / 0.5).softmax(-1))
        unlikely = logit_laplace(location, log_scale, inside(pixels[i : i + 1] / 255)).mean()
        total += float((unlikely + 0.7 * from_uniform(logits).sum() / (3 * 16 * 16)).detach())
    assert float(scored(model, batch)) == pytest.approx(total, rel=1e-5)
    assert float(loss.count(batch)) == 2
    # what is drawn of a row is its own, whatever the rows beside it
    alone = loss.corrupt(batch.take([2]), "0 0", {})[loss.version].inputs[loss.version]["noise"]
    assert torch.equal(alone[0], noise[2])
    assert not torch.equal(loss.corrupt(batch, "0 1", {})[loss.version].inputs[loss.version]["noise"], noise)
    # Gumbel noise has the mean of Euler's constant and the variance pi² / 6
    wide = loss.corrupt(rows(64), "0 0", {})[loss.version].inputs[loss.version]["noise"]
    assert float(wide.mean()) == pytest.approx(0.5772, abs=0.05) and float(wide.var()) == pytest.approx(math.pi**2 / 6, abs=0.1)


def test_where_nothing_learns_each_place_has_its_likeliest_code() -> None:
    model, batch = dvae(kl=[0.0, 0.0], kl_over=10).eval(), rows(2)
    with torch.no_grad():
        codes = model(batch, [TOKENS])[TOKENS].argmax(-1)
        location, log_scale = model.encoder["image"].decode(F.one_hot(codes, 12).float())
        expected = logit_laplace(location, log_scale, inside(batch.inputs["image"]["pixels"] / 255)).mean((1, 2, 3)).sum()
        assert torch.allclose(scored(model, batch), expected, rtol=1e-5)
        assert torch.allclose(model.encoder["image"].pictures(codes), outside(location.sigmoid()))


def test_schedules_are_a_cosine_of_the_steps() -> None:
    assert [eased(1, 0, share) for share in (0, 0.5, 1, 2)] == pytest.approx([1, 0.5, 0, 0])
    loss = dvae(temperature=[1.0, 0.2], temperature_over=4, kl=[0.0, 2.0], kl_over="50%").loss["dvae"]
    assert isinstance(loss, Dvae)
    loss.train_keys.steps, loss.train_keys.batch_size = 16, 2
    for _ in range(4):
        loss.after_step()
    assert loss.log() == pytest.approx({"temperature": 0.2, "kl_weight": 1.0})


def test_usage_counts_codes() -> None:
    assert usage(torch.tensor([4, 4, 0, 0])) == pytest.approx({"codes_used": 2, "code_perplexity": 2})
    assert usage(torch.tensor([8, 0]))["code_perplexity"] == 1


def test_it_begins_with_patches_and_goes_on_from_them() -> None:
    torch.manual_seed(0)
    model, batch = dvae(kl=[0.0, 0.0], kl_over=1, temperature=[0.5, 0.1], temperature_over=10).train(), rows(8)
    encoder, loss, draw = model.encoder["image"], model.loss["dvae"], torch.Generator().manual_seed(2)
    # of one colour each, and something of another one: what a patch shows is not all that there is to it
    colours = torch.randint(0, 255, (8, 3, 1, 1), generator=draw)
    pixels = (
        colours + torch.randint(-25, 25, (8, 3, 4, 4), generator=draw).repeat_interleave(4, 2).repeat_interleave(4, 3)
    ).clamp(0, 255)
    batch = Batch(batch.ids, {"image": {"pixels": pixels.to(torch.uint8)}})
    picture = loss.pictures(batch)
    patches = reader("image").patches(batch.inputs["image"], 16, 4).flatten(2).flatten(0, 1)
    centres = torch.from_numpy(k_means(patches.double().numpy(), 12, np.random.default_rng(0))).float()
    nearest = torch.cdist(patches, centres).argmin(1)
    begun = float((centres[nearest] - patches).square().mean())

    def error() -> float:
        with torch.no_grad():
            return float((encoder.pictures(model(batch, [TOKENS])[TOKENS].argmax(-1)) - picture).square().mean())

    encoder.begin(centres)
    assert torch.equal(model(batch, [TOKENS])[TOKENS].argmax(-1).flatten(), nearest)
    assert error() == pytest.approx(begun, rel=1e-3)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    loss.train_keys.steps = 10
    for step in range(10):
        optimizer.zero_grad()
        (scored(model, batch, f"0 {step}") / 8).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.after_step()
    mean = float((picture.mean(0) - picture).square().mean())
    assert error() < 0.5 * mean
    logged = loss.log()
    assert logged["codes_used"] > 6 and logged["temperature"] == pytest.approx(0.1) and logged["mse"] < 2 * begun
    assert set(loss.log()) == {"temperature", "kl_weight"}, "what was seen is told once"


def test_an_encoder_without_codes_is_named() -> None:
    model = small(loss={"dvae": {"kind": "dvae", "of": "image"}})
    with pytest.raises(UserError, match="the encoder of image has no codes") as e:
        model.loss["dvae"].needs(model)
    assert e.value.hint == "--set encoder.image.kind=dvae"
    assert reader("image").grid


@pytest.mark.parametrize("fold", [1, 2, 4])
def test_folded_pixels_come_back_where_they_were(fold: int) -> None:
    """Whatever is folded, a code is chosen by the pixels around its place, and is seen in those around it."""
    torch.manual_seed(0)
    encoder = DVAE(dim=8, layers=1, codes=12, patch=4, fold=fold, gain=1.0, linear=True, size=64)
    pixels = torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8)
    changed = pixels.clone()
    changed[..., :4, 60:] = 255 - changed[..., :4, 60:]
    codes = torch.zeros(1, 256, dtype=torch.long)
    other = codes.clone()
    other[0, 15] = 5
    with torch.no_grad():
        differs = (encoder(changed).tokens - encoder(pixels).tokens).abs().amax((0, 2)).view(16, 16)
        seen = (encoder.pictures(other) - encoder.pictures(codes)).abs().amax((0, 1))
    assert differs[:3, 13:].max() == differs.max() and differs[8:].max() == 0 == differs[:, :7].max()
    assert seen[:12, 52:].max() == seen.max() and seen[32:].max() == 0 == seen[:, :28].max()


def test_what_does_not_fold_is_named() -> None:
    for fold in (3, 8):
        with pytest.raises(ValueError, match="no more than the patch 4"):
            DVAE(patch=4, fold=fold, size=32)


def test_what_chooses_codes_learns_at_a_rate_of_its_own() -> None:
    from mmkit.training.schedule import make_optimizer

    model = dvae()
    for module in model.encoder["image"].modules():
        if hasattr(module, "lr_factor"):
            module.lr_factor = 0.25
    model.config.train.lr = 1e-3
    factor = {id(p): group["factor"] for group in make_optimizer(model, model.config.train).param_groups for p in group["params"]}
    slow = {name.split(".")[0] for name, p in model.encoder["image"].named_parameters() if factor[id(p)] == 0.25}
    assert slow == {"stem", "groups", "codes", "past"}


def test_a_squared_error_stands_beside_the_likelihood() -> None:
    plain, beside = (dvae(kl=[0.0, 0.0], kl_over=1, squared=squared).eval() for squared in (0.0, 3.0))
    beside.load_state_dict(plain.state_dict())
    batch = rows(2)
    with torch.no_grad():
        codes = plain(batch, [TOKENS])[TOKENS].argmax(-1)
        location, _ = plain.encoder["image"].decode(F.one_hot(codes, 12).float())
        off = (inside(batch.inputs["image"]["pixels"] / 255).logit() - location).square().mean((1, 2, 3)).sum()
        assert torch.allclose(scored(beside, batch) - scored(plain, batch), 3 * off, rtol=1e-4)
    with pytest.raises(Exception, match="a weight, 0 or more"):
        dvae(squared=-1.0)
