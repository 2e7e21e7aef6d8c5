"""What a model answers about a batch: every want once, nothing of what is not there, and an error for what nothing answers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from mmkit import losses
from mmkit.batch import Batch, Take, Want
from mmkit.config import FUSED
from mmkit.errors import UserError
from mmkit.losses.classify import Classify
from mmkit.model import Model
from tests.small import reader, small

B = 4
LOSSES = {"itc": {"kind": "infonce", "between": ["image", "text"]}, "kind": {"kind": "classify", "of": FUSED}}
TEXTS = ["a red picture", "blue", "all of it is green", "it"]


@pytest.fixture
def model() -> Model:
    targets = {"kind": {"classes": ["cat", "dog"], "many": False}}
    fusion = {"kind": "merged", "inputs": ["image", "text"], "dim": 16}
    return small(targets=targets, loss=LOSSES, fusion=fusion, project={"dim": 8})


def batch(**more: Any) -> Batch:
    pixels = torch.randint(0, 256, (B, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    inputs = {"image": {"pixels": pixels}, "text": reader("text").collate(TEXTS)}
    return Batch(list("abcd"), inputs, **more)


def every_want(of: str = "") -> list[Want]:
    parts = [Want(name, what, of) for name in ("image", "text") for what in ("vector", "vectors", "pooled", "tokens", "mask")]
    return [*parts, Want(FUSED, "pooled", of), Want("kind", "logits", of)]


def test_shapes_and_lengths(model: Model) -> None:
    got = model(batch(), every_want())
    N = {"image": 4, "text": got[Want("text", "mask")].size(1)}
    for name, n in N.items():
        assert got[Want(name)].shape == (B, 8) and got[Want(name, "vectors")].shape == (B, n, 8)
        assert got[Want(name, "pooled")].shape == (B, 16) and got[Want(name, "tokens")].shape == (B, n, 16)
        assert torch.allclose(got[Want(name)].norm(dim=1), torch.ones(B))
        assert torch.allclose(got[Want(name, "vectors")].norm(dim=2), torch.ones(B, n))
    assert got[Want("kind", "logits")].shape == (B, 2)


def test_nothing_is_computed_twice(model: Model) -> None:
    ran: Counter[str] = Counter()
    for name, encoder in model.encoder.items():
        encoder.blocks.register_forward_hook(lambda *_, name=name: ran.update([name]))
    model.fusion[FUSED].register_forward_hook(lambda *_: ran.update([FUSED]))
    model(batch(), [*every_want(), *every_want()])
    assert ran == {"image": 1, "text": 1, FUSED: 1}
    model(batch(), [Want("text")])
    assert ran["image"] == 1, "what is not wanted does not run"


def test_what_a_row_lacks_is_zero_and_has_no_gradient(model: Model) -> None:
    there = torch.tensor([True, False, True, False])
    got = model(batch(present={"text": there, "image": torch.ones(B, dtype=torch.bool)}), every_want())
    whole = model(batch(), every_want())
    for what in ("vector", "vectors", "pooled", "tokens", "mask"):
        want = Want("text", what)
        assert not got[want][~there].any()
        assert torch.equal(got[want][there], whole[want][there])
        assert torch.equal(got[Want("image", what)], whole[Want("image", what)])
    gradient = torch.autograd.grad(got[Want("text")][~there].sum(), model.encoder["text"].parameters(), allow_unused=True)
    assert all(g is None or not g.any() for g in gradient)


def test_an_encoder_of_what_no_row_has_does_not_run(model: Model) -> None:
    nothing = {"text": torch.zeros(B, dtype=torch.bool)}
    ran = []
    model.encoder["text"].blocks.register_forward_hook(lambda *_: ran.append(1))
    got = model(batch(present=nothing, nowhere=frozenset(["text"])), every_want())
    assert not ran
    assert not got[Want("text")].any() and not got[Want("text", "mask")].any()
    assert torch.isfinite(got[Want("kind", "logits")]).all()


def test_a_take_is_rows_of_what_was_encoded(model: Model) -> None:
    index = torch.tensor([1, 0, 3, 2])
    taken = batch(versions={"other": Take({"text": index, "image": torch.arange(B)})})
    ran = []
    model.encoder["text"].blocks.register_forward_hook(lambda *_: ran.append(1))
    got = model(taken, [Want("text"), Want("text", "vector", "other"), Want("kind", "logits", "other")])
    assert len(ran) == 1
    assert torch.equal(got[Want("text", "vector", "other")], got[Want("text")][index])
    swapped = batch()
    swapped.inputs["text"] = reader("text").collate([TEXTS[i] for i in index])
    expected = model(swapped, [Want("kind", "logits")])[Want("kind", "logits")]
    assert torch.allclose(got[Want("kind", "logits", "other")], expected, atol=1e-6)


def test_a_version_is_another_batch_of_the_same_rows(model: Model) -> None:
    other = Batch(list("abcd"), {"text": reader("text").collate(TEXTS[::-1])})
    got = model(batch(versions={"other": other}), [Want("text"), Want("text", "vector", "other")])
    assert torch.allclose(got[Want("text", "vector", "other")].flip(0), got[Want("text")], atol=1e-6)


def test_a_version_holds_only_the_inputs_that_it_changes(model: Model) -> None:
    other = Batch(list("abcd"), {"text": reader("text").collate(TEXTS[::-1])})
    ran: list[str] = []
    for name, encoder in model.encoder.items():
        encoder.blocks.register_forward_hook(lambda *_, name=name: ran.append(name))
    got = model(batch(versions={"other": other}), [Want("kind", "logits"), Want("kind", "logits", "other")])
    assert sorted(ran) == ["image", "text", "text"]
    swapped = batch()
    swapped.inputs["text"] = other.inputs["text"]
    expected = model(swapped, [Want("kind", "logits")])[Want("kind", "logits")]
    assert torch.allclose(got[Want("kind", "logits", "other")], expected, atol=1e-6)


def test_the_fused_tokens_of_an_input_stand_by_its_own(model: Model) -> None:
    wants = [Want(f"{FUSED}.{name}", what) for name in ("image", "text") for what in ("tokens", "mask")]
    got = model(batch(), [*wants, Want(FUSED, "tokens"), Want("text", "mask")])
    assert torch.equal(got[Want(FUSED, "tokens")][:, 1:], torch.cat([got[wants[0]], got[wants[2]]], 1))
    assert torch.equal(got[Want(f"{FUSED}.text", "mask")], got[Want("text", "mask")])


class Hidden(Classify):
    """A head over the second token of a text, as fused."""

    reads = "tokens"

    def pick(self, read: torch.Tensor, version: Any) -> torch.Tensor:
        return read[version.hidden["text"]]


def test_a_head_is_shown_what_its_objective_picks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(losses.LOSSES, "hidden", (__name__, "Hidden"))
    model = small(
        targets={"kind": {"classes": ["cat", "dog"], "many": False}},
        loss={"itc": LOSSES["itc"], "kind": {"kind": "hidden", "of": "joint.text"}},
        fusion={
            "joint": {"kind": "merged", "inputs": ["image", "text"], "dim": 16},
            "other": {"kind": "sum", "inputs": ["image"]},
        },
    )
    text = batch().inputs["text"]
    hidden = torch.zeros_like(text["mask"])
    hidden[:, 1] = True
    version = Batch(list("abcd"), {"text": text}, hidden={"text": hidden})
    want = Want("kind", "logits", "masked")
    got = model(batch(versions={"masked": version}), [want, Want("joint.text", "tokens")])
    assert got[want].shape == (B, 2)
    assert torch.allclose(got[want], model.head["kind"](got[Want("joint.text", "tokens")][:, 1]), atol=1e-6)
    with pytest.raises(UserError) as caught:
        model.check([Want("joint.text", "pooled")])
    assert caught.value.hint == "joint.text gives: tokens, mask"


@pytest.mark.parametrize(
    ("want", "hint"),
    [
        (Want("text", "words"), "text gives: pooled, tokens, mask, embedded, vector, vectors"),
        (Want("audio"), "there are: image, text, fused, kind"),
        (Want(FUSED, "vector"), "fused gives: pooled, tokens, mask"),
        (Want("kind", "pooled"), "kind gives: logits"),
    ],
)
def test_a_want_that_nothing_answers(model: Model, want: Want, hint: str) -> None:
    with pytest.raises(UserError, match=f"nothing in the model answers {want}") as caught:
        model(batch(), [want])
    assert caught.value.hint == hint


def test_parts_are_cut_at_groups_and_hold_all_there_is() -> None:
    rows = batch(
        keys={"text": torch.arange(B)},
        present={"text": torch.tensor([True, False, True, True])},
        targets={"label": ["a", None, "b", "c"]},
        said={"text": TEXTS},
        versions={"other": Take({"text": torch.tensor([1, 0, 3, 2])})},
    )
    assert [list(span) for span in rows.spans(3)] == [[0, 1], [2, 3]]
    assert [list(span) for span in rows.spans(4, 2)] == [[0, 1], [2, 3]]
    assert [list(span) for span in rows.spans(9)] == [[0], [1], [2], [3]]
    second = rows.split(2)[1]
    assert second.ids == ["c", "d"] and second.said == {"text": TEXTS[2:]} and second.targets == {"label": ["b", "c"]}
    assert torch.equal(second.inputs["image"]["pixels"], rows.inputs["image"]["pixels"][2:])
    assert second.keys["text"].tolist() == [2, 3] and second.present["text"].tolist() == [True, True]
    taken = second.versions["other"]
    assert isinstance(taken, Take) and taken.index["text"].tolist() == [1, 0]
    assert rows.has("text") is not None and second.has("text") is None and rows.has("image") is None
