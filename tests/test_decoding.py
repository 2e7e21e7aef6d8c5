"""Texts written token by token: the cache against the model's own forward, beams against all texts there are."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from mmkit.batch import Batch, Want
from mmkit.decoding import Anew, Sampling, Stepwise, generate, nucleus, others, search, writer
from mmkit.encode import encoded_once
from mmkit.errors import UserError
from mmkit.model import Model
from tests.small import small

LM = {"lm": {"kind": "lm", "of": "fused.text"}}
FUSIONS = ("cross", "gated-cross", "merged", "early")


def captioner(kind: str | None = "cross", **keys: Any) -> Model:
    """A model of random weights whose gates are open; without a fusion a language model alone."""
    if kind is None:
        return small(("text",), loss={"lm": {"kind": "lm", "of": "text"}})
    fusion = {"kind": kind, "dim": 16, "layers": 2, "heads": 2, "causal": True, "inputs": ["image", "text"], **keys}
    model = small(fusion=fusion, loss=LM)
    for name, parameter in model.named_parameters():
        if name.endswith(".gate"):
            torch.nn.init.ones_(parameter)
        elif name.endswith("cross.out.weight"):  # the picture counts
            torch.nn.init.normal_(parameter)
    # logits far enough apart that no two texts are about as likely
    torch.nn.init.normal_(model.head["lm"][1].weight)
    with torch.no_grad():
        model.head["lm"][1].bias[2] += 13  # the end token
    return model


def pictures(count: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(count)
    colours = torch.randint(0, 255, (count, 3, 1, 1), dtype=torch.uint8, generator=generator)
    return [{"image": colour.expand(3, 16, 16)} for colour in colours]


def have(model: Model, samples: list[dict[str, Any]]) -> dict[Want, Tensor]:
    want = Want("lm", "logits")
    return {
        root: x for name in others(model, model.loss["lm"]) for root, x in encoded_once(model, name, samples, want, {}).items()
    }


@pytest.mark.parametrize("kind", FUSIONS)
@torch.inference_mode()
def test_the_cache_changes_no_logit(kind: str) -> None:
    model = captioner(kind)
    known = have(model, [*pictures(3), {"image": None}])
    rows, generator = torch.arange(4), torch.Generator().manual_seed(0)
    step, anew = Stepwise(model, model.loss["lm"], known, rows), Anew(model, model.loss["lm"], known, rows)
    assert isinstance(writer(model, model.loss["lm"], known, rows), Stepwise)
    for length in range(12):
        ids = torch.randint(0, 260, (4,), generator=generator)
        assert torch.allclose(step.next(ids), anew.next(ids), atol=1e-5), length
        if length == 5:  # as beams that change places
            rows = torch.tensor([2, 0, 0, 3])
            step.take(rows)
            anew.take(rows)
    assert not torch.allclose(*(anew.next(torch.full((4,), 7)))[:2], atol=1e-3), "the picture is seen"


@torch.inference_mode()
def test_an_encoder_that_keeps_nothing_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    model = captioner()
    samples = pictures(4)
    expected = generate(model, model.loss["lm"], samples, 2, 2)
    monkeypatch.delattr("mmkit.encoders.text.TextTransformer.step")
    found = generate(model, model.loss["lm"], samples, 2, 2)
    assert [[one.ids for one in texts] for texts in found] == [[one.ids for one in texts] for texts in expected]


@pytest.mark.parametrize("kind", [*FUSIONS, None])
def test_one_beam_takes_the_likeliest_token_and_stops(kind: str | None) -> None:
    model = captioner(kind)
    samples: list[dict[str, Any]] = pictures(5) if kind else [{}]
    start, end = model.loss["lm"].ends
    for length in (None, 6, 2):
        most = length or 16
        for sample, texts in zip(samples, generate(model, model.loss["lm"], samples, length=length), strict=True):
            (one,) = texts
            ids = [start]
            total = 0.0
            with torch.inference_mode():
                anew = Anew(model, model.loss["lm"], have(model, [sample]), torch.arange(1))
                while len(ids) < most and (len(ids) == 1 or ids[-1] != end):
                    log = anew.next(torch.tensor(ids[-1:]))[0].log_softmax(0)
                    ids.append(int(log.argmax()))
                    total += float(log.max())
            assert one.ids == tuple(ids) and one.ended == (ids[-1] == end)
            assert one.score == pytest.approx(total / (len(ids) - 1), abs=1e-5)


@pytest.mark.parametrize("beams", [1, 3])
def test_batch_mates_change_nothing(beams: int) -> None:
    model, samples = captioner(), pictures(7)
    together = generate(model, model.loss["lm"], samples, beams, beams)
    for size in (1, 2 * beams):
        alone = generate(model, model.loss["lm"], samples, beams, beams, batch_size=size)
        assert [[one.ids for one in texts] for texts in alone] == [[one.ids for one in texts] for texts in together]
        scores = [[one.score for texts in found for one in texts] for found in (alone, together)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    lengths = {len(texts[0].ids) for texts in together}
    assert len(lengths) > 1, "some end while others go on"


class Toy:
    """Foretells by a table (steps, V, V): at each step the logits of what follows each token."""

    def __init__(self, table: Tensor) -> None:
        self.table, self.step = table, -1

    def next(self, ids: Tensor) -> Tensor:
        self.step += 1
        return self.table[self.step, ids]

    def take(self, rows: Tensor) -> None:
        pass


@pytest.mark.parametrize("seed", range(5))
def test_enough_beams_find_the_best_of_all_texts(seed: int) -> None:
    V, length = 4, 5
    table = torch.randn(length, V, V, generator=torch.Generator().manual_seed(seed)) * 2
    log = table.log_softmax(2)
    every: list[tuple[float, tuple[int, ...]]] = []
    for n in range(1, length):
        for rest in itertools.product(range(V), repeat=n):
            # a text ends at its first end token, or is cut
            if 1 not in rest[:-1] and (rest[-1] == 1 or n == length - 1):
                ids = (0, *rest)
                every.append((sum(float(log[t, a, b]) for t, (a, b) in enumerate(itertools.pairwise(ids))) / n, ids))
    every.sort(reverse=True)

    def searched(beams: int) -> list[tuple[float, tuple[int, ...]]]:
        (found,) = search(Toy(table), torch.zeros(beams), beams, length, (0, 1))  # type: ignore[arg-type]
        return found

    found = searched(V**length)
    assert [ids for _, ids in found] == [ids for _, ids in every]
    assert [score for score, _ in found] == pytest.approx([score for score, _ in every], abs=1e-5)
    assert all(searched(beams)[0][0] <= every[0][0] + 1e-6 for beams in (1, 2, 3))


def test_no_more_texts_than_beams_and_the_best_first() -> None:
    model = captioner()
    for texts in generate(model, model.loss["lm"], pictures(4), beams=4, top=4):
        assert 1 <= len(texts) <= 4
        assert len({one.ids for one in texts}) == len(texts)
        assert [one.score for one in texts] == sorted((one.score for one in texts), reverse=True)
        assert all(one.ended == (one.ids[-1] == 2) for one in texts)
    assert generate(model, model.loss["lm"], []) == []


def test_what_has_diverged_is_named() -> None:
    model = captioner()
    torch.nn.init.constant_(model.head["lm"][1].bias, float("nan"))
    with pytest.raises(UserError, match="a probability is not finite"):
        generate(model, model.loss["lm"], pictures(1))


def test_the_score_is_that_of_the_loss() -> None:
    """What decoding says of a text is what training would count of it."""
    model, samples = captioner(), pictures(3)
    objective = model.loss["lm"]
    for sample, (one,) in zip(samples, generate(model, objective, samples, length=8), strict=True):
        ids = torch.tensor([one.ids])
        batch = Batch([""], {"image": {"pixels": sample["image"][None]}, "text": {"ids": ids, "mask": ids > -1}})
        with torch.inference_mode():
            log = model(batch, [Want("lm", "logits")])[Want("lm", "logits")].log_softmax(-1)
        each = log[0, :-1].gather(1, ids[0, 1:, None])
        assert float(each.mean()) == pytest.approx(one.score, abs=1e-5)


def test_the_nucleus_is_drawn_from_by_its_probabilities() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()[None].expand(20000, -1)[:, [2, 0, 3, 1]]
    draws = torch.rand(20000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = [nucleus(logits, draws, Sampling(p)).bincount(minlength=4) / 20000 for p in (1.0, 0.79, 0.5)]
    assert shares[0].tolist() == pytest.approx([0.15, 0.5, 0.05, 0.3], abs=0.015)
    assert shares[1].tolist() == pytest.approx([0, 0.625, 0, 0.375], abs=0.015)
    assert shares[2].tolist() == [0, 1, 0, 0]
    assert nucleus(logits, draws, Sampling(1e-9)).unique().tolist() == [1]
    hot = nucleus(logits, draws, Sampling(temperature=100.0)).bincount(minlength=4) / 20000
    assert hot.tolist() == pytest.approx([0.25] * 4, abs=0.02)
    assert nucleus(logits[:2], torch.tensor([0.0, 1 - 1e-17], dtype=torch.float64), Sampling()).tolist() == [1, 2]


def test_drawn_texts_depend_on_the_seed_and_never_on_the_batch() -> None:
    model = captioner()
    objective, samples = model.loss["lm"], pictures(4)

    def draw(batch_size: int, first: int = 0, seed: int = 0, some: slice = slice(None)) -> list[list[Any]]:
        return generate(model, objective, samples[some], 3, 2, batch_size=batch_size, sampling=Sampling(0.9, 2.0, seed, first))

    together = draw(64)
    assert [[text.ids for text in texts] for texts in together] == [[text.ids for text in texts] for texts in draw(3)]
    assert [text.ids for text in together[2]] == [text.ids for text in draw(64, first=2, some=slice(2, 3))[0]]
    assert [text.ids for text in together[0]] != [text.ids for text in draw(64, seed=1)[0]]
    for texts in together:
        assert texts[0].score >= texts[1].score
    for drawn, likeliest in zip(
        generate(model, objective, samples, sampling=Sampling(1e-9)), generate(model, objective, samples), strict=True
    ):
        assert drawn[0].ids == likeliest[0].ids and drawn[0].score == pytest.approx(likeliest[0].score, abs=1e-5)
