"""Image-text matching against naive loops: which rows are taken, and what they are worth."""

from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mmkit.batch import Batch, Take, Want
from mmkit.config import Config, build
from mmkit.errors import ConfigError, UserError
from mmkit.losses import build as build_loss
from mmkit.losses.filip import late_interaction

B = 12
LOGITS, OF_TEXT, OF_IMAGE = (Want("itm", "logits", of) for of in ("", "itm-text", "itm-image"))


def configured(itc: str = "infonce", inputs: tuple[str, ...] = ("image", "text"), **fusion: Any) -> Config:
    tables: dict[str, Any] = {"fusion": {"kind": "merged", "inputs": list(inputs), **fusion}}
    tables["input"] = {name: {"modality": "image"} for name in ("image", "text", "series")}
    tables["loss"] = {"itc": {"kind": itc, "between": ["text", "image"]}} if itc else {}
    return build(tables)


def matching(config: Config | None = None, of: str = "fused", **keys: Any) -> Any:
    return build_loss("itm", {"kind": "itm", "of": of, **keys}, {"config": config or configured()})


def rows(count: int = B, **parts: Any) -> Batch:
    present = {name: torch.ones(count, dtype=torch.bool) for name in ("image", "text")}
    keys = {name: torch.arange(count) for name in ("image", "text")}
    given = {"present": present, "keys": keys, "epoch": 1.0} | parts
    return Batch([f"row {i}" for i in range(count)], {}, **given)


def vectors(count: int = B) -> dict[Want, torch.Tensor]:
    torch.manual_seed(0)
    return {Want(name): F.normalize(torch.randn(count, 6), dim=-1) for name in ("image", "text")}


def taken(loss: Any, batch: Batch, draw: str = "0 1", clean: Any = None) -> dict[str, list[int]]:
    """For each input the rows that are taken of it; of the other input each version takes the rows themselves."""
    made = loss.corrupt(batch, draw, clean or {})
    assert set(made) == {"itm-text", "itm-image"}
    own = list(range(batch.rows))
    assert made["itm-text"].index["image"].tolist() == made["itm-image"].index["text"].tolist() == own
    return {name: made[f"itm-{name}"].index[name].tolist() for name in ("image", "text")}


def test_negatives_are_other_rows_of_the_group_that_share_no_key() -> None:
    loss = matching(group=4)
    batch = rows(keys={"image": torch.tensor([0, 0, *range(2, B)]), "text": torch.tensor([*range(B - 1), 4])})
    seen: dict[str, set[tuple[int, int]]] = {"image": set(), "text": set()}
    for step in range(100):
        for name, found in taken(loss, batch, f"0 {step}").items():
            seen[name] |= set(enumerate(found))
    same = {(0, 1), (1, 0)}  # rows 4 and 11 say the same too, in other groups
    expected = {(i, j) for i in range(B) for j in range(B) if i != j and i // 4 == j // 4} - same
    assert seen["image"] == seen["text"] == expected


def test_a_row_takes_what_others_have_and_part_only_if_it_has_both() -> None:
    loss = matching(group=4)
    image = torch.tensor([True, True, True, False, *[True] * 8])
    text = torch.tensor([True, False, True, True, True, False, False, False, *[True] * 4])
    batch = rows(present={"image": image, "text": text})
    for step in range(50):
        found = taken(loss, batch, f"0 {step}")
        assert found["image"][0] in (1, 2) and found["text"][0] in (2, 3), (
            "what is taken, and nothing else of its row, must be there"
        )
        assert all(found[name][row] == row for name in found for row in (1, 3, 5, 6, 7))
        assert found["text"][4] == 4 and found["image"][4] in (5, 6, 7), "no other row of its group has a text"
    batch = Batch(batch.ids, {}, batch.present, batch.keys, versions=loss.corrupt(batch, "0 1", {}))
    # rows 0, 2, 4, 8 to 11 have both, all of these another picture, and all but row 4 another text
    assert loss.count(batch).item() == 7 + 7 + 6


def test_a_draw_is_of_the_step_and_the_row_alone() -> None:
    loss, batch, clean = matching(hard=0.5, group=4), rows(), vectors()
    whole = taken(loss, batch, clean=clean)
    assert whole == taken(loss, batch, clean=clean) != taken(loss, batch, "0 2", clean)
    half = taken(loss, batch.take(range(4, 12)), clean={want: x[4:] for want, x in clean.items()})
    assert {name: [4 + row for row in found] for name, found in half.items()} == {
        name: found[4:] for name, found in whole.items()
    }


def test_hard_negatives_are_drawn_by_the_softmax_of_the_similarity() -> None:
    loss, batch, clean = matching(hard=1.0, temperature=0.5), rows(4), vectors(4)
    alike = clean[Want("image")] @ clean[Want("text")].T / 0.5
    draws = 800
    found = [taken(loss, batch, f"0 {step}", clean) for step in range(draws)]
    for name, logits in (("text", alike), ("image", alike.T)):
        for row in range(4):
            others = [j for j in range(4) if j != row]
            expected = torch.tensor([logits[row, j].exp() for j in others])
            counts = Counter(one[name][row] for one in found)
            for share, j in zip((expected / expected.sum()).tolist(), others, strict=True):
                assert counts[j] / draws == pytest.approx(share, abs=5 * math.sqrt(share / draws))


def test_hard_ones_come_in_their_share_and_not_before_their_time() -> None:
    batch, clean = rows(3, keys={}), {w: torch.eye(3)[[0, 1, 2]] for w in (Want("image"), Want("text"))}
    clean[Want("text")] = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])  # the hardest text of row 0 is that of row 1
    hardest = [
        sum(taken(matching(hard=hard, hard_from=start), batch, f"0 {step}", clean)["text"][0] == 1 for step in range(400)) / 400
        for hard, start in ((1.0, 0.0), (1.0, 1.5), (0.5, 0.0), (0.0, 0.0))
    ]
    assert hardest == pytest.approx([1, 0.5, 0.75, 0.5], abs=0.1)


def test_of_a_model_that_compares_tokens_the_tokens_are_compared() -> None:
    loss, batch = matching(configured("filip"), hard=1.0, temperature=1e-4), rows(5)
    torch.manual_seed(0)
    clean = {Want(name, "vectors"): F.normalize(torch.randn(5, n, 4), dim=-1) for name, n in (("image", 3), ("text", 4))}
    clean |= {Want(name, "mask"): torch.rand(5, n) < 0.8 for name, n in (("image", 3), ("text", 4))}
    assert set(loss.sees()) == set(clean)
    of_image, of_text = late_interaction(*(clean[Want(name, what)] for name in ("image", "text") for what in ("vectors", "mask")))
    itself = torch.eye(5, dtype=torch.bool)
    expected = {
        "text": of_image.masked_fill(itself, -2).argmax(1).tolist(),
        "image": of_text.T.masked_fill(itself, -2).argmax(1).tolist(),
    }
    assert taken(loss, batch, clean=clean) == expected


def naive(logits: dict[Want, torch.Tensor], versions: dict[str, Take], both: list[bool]) -> tuple[float, int]:
    total, pairs = 0.0, 0
    for row in range(B):
        if both[row]:
            total, pairs = total - math.log(logits[LOGITS][row].softmax(0)[1].item()), pairs + 1
        for want, name in ((OF_TEXT, "text"), (OF_IMAGE, "image")):
            if versions[want.of].index[name][row] != row:
                total, pairs = total - math.log(logits[want][row].softmax(0)[0].item()), pairs + 1
    return total, pairs


def test_the_loss_is_that_of_a_loop_and_of_its_parts() -> None:
    loss, batch = matching(group=4), rows(present={"image": torch.rand(B) < 2, "text": torch.arange(B) % 5 > 0})
    batch = Batch(batch.ids, {}, batch.present, batch.keys, versions=loss.corrupt(batch, "0 1", {}))
    torch.manual_seed(0)
    got = {want: torch.randn(B, 2, requires_grad=True) for want in loss.wants()}
    assert set(got) == {LOGITS, OF_TEXT, OF_IMAGE}
    total, pairs = naive(got, batch.versions, (torch.arange(B) % 5 > 0).tolist())
    assert loss.score(got, batch).item() == pytest.approx(total, rel=1e-5)
    assert loss.count(batch).item() == pairs == 9 * 3
    halves = [(range(4), slice(0, 4)), (range(4, 12), slice(4, 12))]
    parts = [loss.score({w: x[at] for w, x in got.items()}, batch.take(span)) for span, at in halves]
    assert sum(part.item() for part in parts) == pytest.approx(total, rel=1e-5)
    assert sum(loss.count(batch.take(span)).item() for span, _ in halves) == pairs
    assert loss.at_chance(batch) == pytest.approx(-math.log(1 / 3) / 3 - 2 * math.log(2 / 3) / 3)


def test_rows_of_which_none_takes_part_give_zero_and_a_graph() -> None:
    loss, batch = matching(), rows(present={"image": torch.ones(B, dtype=torch.bool), "text": torch.zeros(B, dtype=torch.bool)})
    batch = Batch(batch.ids, {}, batch.present, batch.keys, versions=loss.corrupt(batch, "0 1", {}))
    got = {want: torch.randn(B, 2, requires_grad=True) for want in loss.wants()}
    found = loss.score(got, batch)
    assert found.item() == loss.count(batch).item() == loss.at_chance(batch) == 0
    assert not any(g.any() for g in torch.autograd.grad(found, list(got.values())))


THREE, OTHERS = configured(inputs=("image", "text", "series")), configured(inputs=("image", "series"))


@pytest.mark.parametrize(
    ("config", "of", "keys", "what", "hint"),
    [
        (None, "image", {}, "matching reads what is fused", "--set loss.itm.of=fused"),
        (build({}), "image", {}, "matching reads what is fused", "--set fusion.kind=merged"),
        (THREE, "fused", {}, "of two inputs, and fused is of 3", '--set \'fusion.inputs=["image", "text"]\''),
        (configured(""), "fused", {"hard": 0.5}, "a loss that compares image and text", "--set loss.itc.kind=infonce"),
        (OTHERS, "fused", {"hard": 0.5}, "a loss that compares image and series", "--set loss.itm.hard=0"),
        (None, "fused", {"hard": 2}, "hard 2 is not a share", ""),
        (None, "fused", {"group": 2}, "it takes 3 rows or more", ""),
        (None, "fused", {"temperature": 0}, "is not above 0", ""),
    ],
)
def test_what_cannot_be_matched_is_said(config: Config | None, of: str, keys: Any, what: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        matching(config, of, **keys)
    assert hint in caught.value.hint


def test_a_batch_of_two_has_no_negatives_to_choose_from() -> None:
    for size, fails in ((2, True), (3, False)):
        model = SimpleNamespace(config=build({"train": {"batch_size": size}}))
        if not fails:
            matching().needs(model)
            continue
        with pytest.raises(UserError, match="one of 2 has none to choose from") as caught:
            matching().needs(model)
        assert caught.value.hint == "--batch-size 32"
