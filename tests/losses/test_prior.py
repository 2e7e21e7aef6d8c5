"""The prior of DALL-E: where each place may look, that training and drawing agree, and its loss against a loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmkit.batch import Batch, Want
from mmkit.errors import ConfigError, UserError
from mmkit.fusion.raster import Raster, paper, seen
from mmkit.layers import Encoded
from mmkit.model import Model
from mmkit.sampling import drawn, prior_of, sample
from tests.small import reader, small

SAID = ["a red picture", "blue", "all of it is green"]
LOGITS, CODES = Want("prior", "logits"), Want("image", "tokens")
G, T = 4, 3


def dalle(loss: dict[str, Any] | None = None, **keys: Any) -> Model:
    fusion = {"kind": "raster", "inputs": ["text", "image"], "dim": 16, "layers": 4, "heads": 2, "kernel": 3, **keys}
    encoder = {
        "image": {"kind": "dvae", "dim": 8, "layers": 1, "codes": 12, "patch": 4, "gain": 1.0},
        "text": {"kind": "transformer", "dim": 16, "layers": 0, "heads": 2, "causal": True},
    }
    model = small(fusion=fusion, encoder=encoder, loss={"prior": {"kind": "prior", "of": "fused", **(loss or {})}})
    torch.nn.init.normal_(model.fusion["fused"].codes.weight)
    return model


def batch(said: list[str] = SAID, present: dict[str, torch.Tensor] | None = None) -> Batch:
    pixels = torch.randint(0, 255, (len(said), 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    inputs = {"image": {"pixels": pixels}, "text": reader("text").collate(said)}
    return Batch([str(i) for i in range(len(said))], inputs, present or {}, said={"text": said})


def looks(pattern: str, code: int, other: int) -> bool:
    """Whether a code may look at another one, by the places of both."""
    (y, x), (v, u) = divmod(code, G), divmod(other, G)
    if other > code:
        return False
    if pattern == "row":
        return code - other <= G
    if pattern == "column":
        return x == u
    # a kernel of 3 over codes that follow each other beyond the edge of a row
    return other in {code, code - 1} | {code - G + aside for aside in (-1, 0, 1)} or (y, x) == (v, u)


@pytest.mark.parametrize("pattern", ["row", "column", "conv"])
def test_where_a_code_may_look(pattern: str) -> None:
    may = seen(pattern, T, G, 3)
    assert may.shape == (T + G * G, T + G * G)
    assert torch.equal(may[:T, :T], torch.ones(T, T, dtype=torch.bool).tril()) and not may[:T, T:].any()
    assert may[T:, :T].all(), "a code sees all of the text"
    expected = [[looks(pattern, i, j) for j in range(G * G)] for i in range(G * G)]
    assert may[T:, T:].tolist() == expected
    assert seen("all", T, G).equal(torch.ones_like(may).tril())
    with pytest.raises(ValueError, match="no pattern 'diagonal'"):
        seen("diagonal", T, G)


def test_the_pattern_of_the_paper() -> None:
    assert paper(8) == ["row", "column", "row", "row", "row", "column", "row", "conv"]
    assert paper(3) == ["row", "column", "conv"]


def test_nothing_sees_what_is_to_be_foretold() -> None:
    model = dalle()
    fusion = model.fusion["fused"]
    texts = Encoded(torch.randn(2, 5, 16), torch.ones(2, 5, dtype=torch.bool), torch.zeros(2, 16))
    codes = torch.randint(0, 12, (2, 16))
    codes[1], texts.tokens[1] = codes[0], texts.tokens[0]
    codes[1, 7] = (codes[0, 7] + 1) % 12
    onehot = torch.nn.functional.one_hot(codes, 12).float()
    parts = {"text": texts, "image": Encoded(onehot, torch.ones(2, 16, dtype=torch.bool), onehot.mean(1))}
    with torch.no_grad():
        told = fusion(parts).tokens[:, fusion.spans(parts)["image"]]
    differs = (told[0] - told[1]).abs().amax(1) > 1e-6
    assert not differs[:8].any() and differs[8:].any(), "code 7 is foretold at place 7, and changes what follows"


def test_the_loss_is_an_eighth_of_words_and_the_rest_of_codes() -> None:
    model = dalle()
    there = {"image": torch.tensor([True, False, True]), "text": torch.tensor([True, True, False])}
    rows, loss = batch(present=there), model.loss["prior"]
    got = model(rows, loss.wants())
    found, total = loss.score(got, rows), torch.zeros(())
    codes, words, start = got[CODES].argmax(-1), loss.words, -16
    for i in (0, 2):
        image = [-got[LOGITS][i, start + j, words:].log_softmax(0)[codes[i, j]] for j in range(16)]
        total = total + 7 / 8 * torch.stack(image).mean()
        if i == 0:
            ids = reader("text").tokenizer.encode([SAID[0]])[0]
            text = [-got[LOGITS][0, j, :words].log_softmax(0)[ids[j + 1]] for j in range(len(ids) - 1)]
            total = total + 1 / 8 * torch.stack(text).mean()
    assert torch.allclose(found, total, rtol=1e-5) and float(loss.count(rows)) == 2
    found.backward()
    assert all(p.grad is None for p in model.encoder["image"].parameters()), "codes are data here"
    pads = model.fusion["fused"].pads.grad
    assert pads is not None and (pads.abs().sum(1) > 0).all(), "each place has a pad of its own"


def test_pads_stand_where_a_text_has_ended() -> None:
    """A text means the same beside a longer one."""
    model = dalle()
    with torch.no_grad():
        together, alone = (model(rows, [LOGITS])[LOGITS][:1] for rows in (batch(), batch().take([0])))
    assert torch.allclose(together, alone, atol=1e-5)


def test_step_by_step_it_foretells_as_in_training() -> None:
    model = dalle().eval()
    fusion, rows = model.fusion["fused"], batch()
    wants = [Want("text", what) for what in Encoded._fields]
    with torch.no_grad():
        got = model(rows, [*wants, CODES, Want("fused.image", "tokens")])
        codes = got[CODES].argmax(-1)
        x, state = fusion.first({"text": Encoded(*(got[want] for want in wants))})
        steps = [x]
        for place in range(15):
            steps.append(fusion.after(codes[:, place], state))
    assert torch.allclose(torch.cat(steps, 1), got[Want("fused.image", "tokens")], atol=1e-5)


def test_what_is_drawn_hangs_on_the_seed_alone() -> None:
    model = dalle()
    prior = prior_of(model)
    pictures, scores = sample(model, prior, "blue", 5, seed=3)
    assert pictures.shape == (5, 3, 16, 16) and pictures.dtype == torch.uint8 and (scores < 0).all()
    again, _ = sample(model, prior, "blue", 5, seed=3, batch_size=2)
    assert (again.int() - pictures.int()).abs().max() <= 1
    assert not torch.equal(sample(model, prior, "blue", 5, seed=4)[0], pictures)
    greedy, _ = sample(model, prior, "blue", 2, temperature=0.0)
    assert torch.equal(greedy[0], greedy[1])


def test_sampling_has_the_shares_it_should() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    many = logits.expand(4000, -1), [torch.Generator().manual_seed(i) for i in range(4000)]
    shares = drawn(*many, 1.0, 1.0).bincount(minlength=4) / 4000
    assert shares.tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.04)
    nucleus = drawn(*many, 1.0, 0.7).bincount(minlength=4) / 4000
    assert nucleus.tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=0.04)
    assert drawn(*many, 1.0, 0.0).unique().tolist() == [0] == drawn(*many, 0.0, 1.0).unique().tolist()


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ConfigError, match="by a fusion of kind raster"):
        small(fusion={"kind": "merged", "inputs": ["image", "text"], "dim": 16}, loss={"prior": {"kind": "prior", "of": "fused"}})
    with pytest.raises(ConfigError, match="an input whose encoder is of kind dvae"):
        small(fusion={"kind": "raster", "inputs": ["image", "text"], "dim": 16}, loss={"prior": {"kind": "prior", "of": "fused"}})
    model = dalle()
    model.encoder["text"].causal = False
    with pytest.raises(UserError, match="would see the words that are to be foretold") as e:
        model.loss["prior"].needs(model)
    assert e.value.hint == "--set encoder.text.causal=true"
    with pytest.raises(ValueError, match="not image"):
        Raster(widths={"image": 4}, contexts={}, grids={"image": 2})


def test_codes_that_were_never_trained_are_refused() -> None:
    model = dalle()
    prior = model.loss["prior"]
    prior.begins(model, ["fusion.fused.pads", "encoder.text.embed.weight"])
    for init, said in (("", "none is given"), ("runs/clip", "runs/clip has none of this size")):
        model.config.train.init = init or None
        with pytest.raises(UserError, match=said) as e:
            prior.begins(model, ["encoder.image.stem.weight"])
        assert e.value.hint == "mmkit train --recipe dvae --name dvae; mmkit train --recipe dalle --init runs/dvae"


def test_the_ways_on_from_some_codes_are_all_there_are() -> None:
    """The probabilities of everything that may stand at the last two places sum to 1; with a head of zeros all are as likely."""
    model = dalle().eval()
    prior, fusion = model.loss["prior"], model.fusion["fused"]
    codes = torch.randint(0, 12, (1, 16), generator=torch.Generator().manual_seed(0)).repeat(144, 1)
    codes[:, -2:] = torch.cartesian_prod(torch.arange(12), torch.arange(12))
    onehot = torch.nn.functional.one_hot(codes, 12).float()
    wants = [Want("text", what) for what in Encoded._fields]
    with torch.no_grad():
        text = Encoded(*(model(batch(), wants)[want][:1] for want in wants))
        texts = Encoded(*(each.expand(144, *each.shape[1:]) for each in text))
        parts = {"text": texts, "image": Encoded(onehot, torch.ones(144, 16, dtype=torch.bool), onehot.mean(1))}
        logits = prior.of_codes(model.head["prior"](fusion(parts).tokens[:, fusion.spans(parts)["image"]])).double()
        each = logits.log_softmax(-1).gather(2, codes[..., None])[..., 0]
        assert float(each[:, -2:].sum(1).exp().sum()) == pytest.approx(1, abs=1e-6)
        for parameter in model.head["prior"].parameters():
            torch.nn.init.zeros_(parameter)
        even = prior.score(model(batch(), prior.wants()), Batch(batch().ids, batch().inputs, said={"text": SAID}))
    ln = torch.tensor([12.0, float(prior.words)]).log()
    assert float(even) / 3 == pytest.approx(float(7 / 8 * ln[0] + 1 / 8 * ln[1]), rel=1e-4)


def test_how_much_each_mask_lets_through() -> None:
    """The shares that shared/MODELS.md counted of a grid of 8."""
    shares = {pattern: float(seen(pattern, 0, 8, 3).double().mean()) for pattern in ("row", "column", "conv", "all")}
    # of a convolution itself, and those 1, 7, 8 and 9 places before, also where these are beyond an edge
    conv = (64 + 63 + 57 + 56 + 55) / 64**2
    assert shares == pytest.approx({"row": 0.132, "column": 0.070, "conv": conv, "all": 0.508}, abs=1e-3)
