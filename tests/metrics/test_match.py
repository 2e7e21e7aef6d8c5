"""Pairs of a split, items kept on disk and fused in batches, and the nearest put in a new order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mmkit.batch import Batch, Want
from mmkit.encode import encode
from mmkit.errors import UserError
from mmkit.losses.matching import Matching
from mmkit.metrics import fused, match
from mmkit.metrics.ranking import nearest, rank
from mmkit.metrics.rerank import reordered
from tests.small import OF_ANY, small

TEXTS = ["a red picture", "blue", "all of it is green", "a"]
BLOCKS = ("early", "merged", "cross", "gated-cross", "hybrid")


def matching(kind: str = "merged") -> Any:
    fusion = {"kind": kind, "inputs": ["image", "text"], "dim": 16} | ({"layers": 1, "heads": 2} if kind in BLOCKS else {})
    loss = {"itc": {"kind": "infonce", "between": ["image", "text"]}, "itm": {"kind": "itm", "of": "fused"}}
    return small(fusion={key: value for key, value in fusion.items() if kind != "logits" or key != "dim"}, loss=loss)


def items(model: Any) -> dict[str, list[Any]]:
    torch.manual_seed(1)
    pictures = [torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8) for _ in range(3)]
    return {"image": pictures, "text": [model.reader("text").prepare(text) for text in TEXTS]}


@pytest.mark.parametrize("kind", OF_ANY)
def test_pairs_are_scored_as_the_model_scores_them_alone(kind: str) -> None:
    model = matching(kind)
    objective: Matching = model.loss["itm"]
    prepared = items(model)
    kept = {name: fused.keeper(model, objective, name) for name in objective.pair}
    for name, own in kept.items():  # in two portions, of which each is as long as its longest
        fused.keep(model, name, prepared[name][:2], own)
        fused.keep(model, name, prepared[name][2:], own)
    pairs = np.array([(i, j) for i in range(3) for j in range(4)][::-1])
    found = fused.logits_of(model, objective, kept, pairs, batch_size=5)
    for (i, j), ours in zip(pairs, found, strict=True):
        inputs = {name: model.reader(name).collate([prepared[name][k]]) for name, k in (("image", i), ("text", j))}
        with torch.no_grad():
            alone = model(Batch([""], inputs), [Want("itm", "logits")])[Want("itm", "logits")][0]
        assert ours == pytest.approx(alone.numpy(), abs=1e-5)
    assert len(np.unique(found.round(5), axis=0)) > 1
    assert fused.scores(found) == pytest.approx(found[:, 1] - found[:, 0])


def test_what_is_kept_has_no_padding_and_comes_back_whole() -> None:
    model = matching()
    prepared = items(model)["text"]
    given = encode(model, "text", prepared, ["pooled", "tokens", "mask"])
    kept = fused.keeper(model, model.loss["itm"], "text")
    fused.keep(model, "text", prepared, kept)
    lengths = [int(mask.sum()) for mask in given["mask"]]
    assert np.diff(kept.starts).tolist() == lengths and len(set(lengths)) > 2
    taken = kept.take(np.array([3, 0]))
    assert taken["mask"].sum(1).tolist() == [lengths[3], lengths[0]] and taken["tokens"].shape[1] == max(lengths[3], lengths[0])
    for place, item in enumerate((3, 0)):
        assert torch.equal(taken["tokens"][place, : lengths[item]], given["tokens"][item][: lengths[item]])
        assert torch.equal(taken["pooled"][place], given["pooled"][item])
    assert not taken["tokens"][0, lengths[3] :].any()


def split(rows: list[tuple[int | None, list[int]]]) -> fused.Split:
    """Rows of one picture or none and of texts, by their keys."""
    found = fused.Split([f"row {i}" for i in range(len(rows))], {"image": fused.Items(), "text": fused.Items()})
    for i, (picture, texts) in enumerate(rows):
        for name, keys in (("image", [] if picture is None else [picture]), ("text", texts)):
            found.items[name].rows += [i] * len(keys)
            found.items[name].keys += keys
            found.items[name].said += [f"text {key}" for key in keys]
    return found


def test_each_pair_has_another_beside_it_that_does_not_belong_together() -> None:
    found = split([(1, [10, 11]), (2, [10]), (3, []), (None, [12]), (1, [13])])
    pairs = match.made(found, ("image", "text"), "here")
    own, other = pairs.items[pairs.true].tolist(), pairs.items[~pairs.true].tolist()
    # items are numbered over the rows that have them: the fourth picture is that of the last row
    assert own == [[0, 0], [0, 1], [1, 2], [3, 4]]
    assert [i for i, _ in other] == [i for i, _ in own] and pairs.rows.tolist() == [0, 0, 1, 4] * 2
    keys = [(found.items["image"].keys[i], found.items["text"].keys[j]) for i, j in other]
    # picture 1 has texts 10, 11 and 13 in one row or another
    assert {key for picture, key in keys if picture == 1} == {12} and {key for picture, key in keys if picture == 2} <= {
        11,
        12,
        13,
    }
    again = match.made(found, ("image", "text"), "here")
    assert np.array_equal(again.items, pairs.items)


def test_other_items_are_drawn_from_all_of_the_split() -> None:
    found = split([(i, [100 + i]) for i in range(400)])
    pairs = match.made(found, ("image", "text"), "here")
    other = pairs.items[~pairs.true]
    assert len(other) == 400 and (other[:, 0] != other[:, 1]).all()
    assert 200 < len(np.unique(other[:, 1])) < 300  # 1 - 1/e of them, as of draws with replacement
    assert abs(np.corrcoef(other.T)[0, 1]) < 0.2


NONE, ALL = [(1, []), (None, [10])], [(1, [10]), (1, [11])]


@pytest.mark.parametrize(("rows", "what"), [(NONE, "no row has image and text"), (ALL, "everything belongs together")])
def test_a_split_without_pairs_is_said(rows: Any, what: str) -> None:
    with pytest.raises(UserError, match=what):
        match.made(split(rows), ("image", "text"), "here")


def test_the_nearest_are_those_of_the_highest_cosine() -> None:
    random = np.random.default_rng(0)
    queries, gallery = random.normal(size=(7, 4)), random.normal(size=(9, 4))
    cosine = queries @ gallery.T / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(gallery, axis=1)
    assert np.array_equal(nearest(queries, gallery, 3), np.argsort(-cosine, axis=1)[:, :3])
    assert nearest(queries, gallery, 99).shape == (7, 9)


def test_the_nearest_change_places_among_themselves_alone() -> None:
    near = np.array([[4, 2, 0], [0, 1, 2], [0, 1, 2], [2, 1, 0]])
    scores = np.array([[0.1, 0.9, 0.5], [3.0, 2.0, 1.0], [1.0, 1.0, 0.0], [1.0, 2.0, 3.0]])
    gallery_ids = np.array([0, 1, 1, 3, 4])  # two items of id 1
    ranks = np.array([3.0, 5.0, 1.0, np.nan])
    # id 0 was third and is now second; id 3 is not among the nearest; of id 1 the better one ties with another; id 9 has none
    found = reordered(ranks, near, scores, np.array([0, 3, 1, 9]), gallery_ids)
    assert found[:3].tolist() == [2.0, 5.0, 1.5] and np.isnan(found[3])
    # a positive that tied with an item behind the border is not lifted over it
    assert reordered(np.array([1.5]), np.array([[0]]), np.ones((1, 1)), np.array([0]), np.array([0, 1])).tolist() == [1.5]


def test_all_of_the_gallery_is_ranked_by_the_head_alone() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(2, 12, 4)).astype(np.float32)
    ids, scores = np.arange(12), random.normal(size=(12, 12))
    near = nearest(vectors[0], vectors[1], 12)
    before = rank(vectors[0], ids, vectors[1], ids)
    found = reordered(before, near, np.take_along_axis(scores, near, 1), ids, ids)
    assert found.tolist() == [1 + int((row > row[i]).sum()) for i, row in enumerate(scores)]
