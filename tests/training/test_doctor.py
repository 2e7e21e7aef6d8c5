"""Each finding of the doctor from rows that bear it out, and none from a healthy run."""

import json
import math

import pytest
import torch

from mmkit.batch import Batch, Want
from mmkit.losses.contrastive import InfoNCE, Sigmoid, candidates
from mmkit.losses.filip import Filip
from mmkit.training.doctor import diagnose, read_rows
from mmkit.workflows import fit

FACTS = {
    "step": 0,
    "run/steps": 200,
    "run/warmup": 10,
    "run/batch_size": 64,
    "run/max_scale": 100.0,
    "run/context": 32,
}


def healthy(i):
    return {
        "step": 10 * i,
        "train/loss": 4.1 * 0.9**i,
        "train/loss_at_chance": math.log(64),
        "train/lr": 1e-3,
        "train/logit_scale": 14.0 + i,
        "train/cosine/image": 0.1,
        "train/cosine/text": 0.1,
        "train/grad_norm/image": 1.0,
        "train/grad_norm/text": 1.0,
        "train/truncated": 0.0,
        "train/equal_captions": 0.0,
        "train/unknown": 0.0,
        "train/loader_share": 0.1,
    }


def rows(facts=(), **changes):
    changed = [healthy(i) | {key.replace("__", "/"): value for key, value in changes.items()} for i in range(1, 21)]
    return [FACTS | dict(facts), *changed]


def test_a_healthy_run_has_no_finding():
    assert diagnose(rows()) == []
    assert diagnose([]) == []


@pytest.mark.parametrize(
    ("name", "facts", "changes", "says"),
    [
        ("stuck", {}, {"train__loss": math.log(64) + 0.01}, "the loss is stuck at 4.17: guessing gives ln(batch), 4.16"),
        ("warmup", {"run/warmup": 200}, {}, "the warm-up of 200 steps is no shorter than the run of 200"),
        ("clamp", {}, {"train__logit_scale": 100.0}, "logit_scale is at its clamp of 100"),
        ("collapsed", {}, {"train__cosine__image": 0.999}, "the image vectors have collapsed"),
        ("truncated", {}, {"train__truncated": 0.4}, "40% of the captions are cut at 32 tokens"),
        ("equal", {}, {"train__equal_captions": 0.5}, "50% of the captions in a batch stand there twice"),
        ("unknown", {}, {"train__unknown": 0.2}, "20% of the tokens are unknown"),
        ("frozen", {}, {"train__grad_norm__text": 0.0}, "the text encoder does not learn"),
        ("loader", {}, {"train__loader_share": 0.8}, "the model waits for pictures 80% of the time"),
    ],
)
def test_each_finding(name, facts, changes, says):
    found = diagnose(rows(facts, **changes))
    assert [f.name for f in found] == [name]
    assert found[0].what.startswith(says)
    assert found[0].do


def test_a_locked_encoder_is_a_mistake_only_where_its_weights_are_random():
    assert diagnose(rows({"run/frozen": ["text"], "run/random": ["image"]})) == []
    (finding,) = diagnose(rows({"run/frozen": ["text"], "run/random": ["text"]}))
    assert "the text encoder learns in no stage, and its weights are random" in finding.what


def test_only_a_run_with_a_loss_of_pairs_lacks_negatives():
    for loss in (InfoNCE(["image", "text"]), Sigmoid(["image", "text"]), Filip(["image", "text"])):
        assert "logit_scale" in loss.log()
    run = rows(train__equal_captions=0.95)
    assert [finding.name for finding in diagnose(run)] == ["equal"]
    for row in run:
        row.pop("train/logit_scale", None)
    assert diagnose(run) == []


def test_a_run_that_has_just_begun_is_not_judged():
    assert diagnose(rows(train__cosine__image=0.999, train__loss=math.log(64))[:9]) == []


def test_one_slow_first_batch_is_no_slow_loader():
    run = rows()
    run[1]["train/loader_share"] = 1.0
    assert diagnose(run) == []


def batch_of(rows, keys):
    return Batch([""] * rows, {}, keys=dict(zip(("image", "text"), keys, strict=False)))


def stuck_at(losses, keys, batch=64):
    """What the doctor says of a run of `losses` whose every batch has `keys` and whose loss is that of guessing."""
    chance = sum(loss.weight * loss.at_chance(batch_of(batch, keys)) for loss in losses)
    return chance, diagnose(rows(train__loss=chance + 0.01, train__loss_at_chance=chance))


def test_ln_of_the_batch_is_said_only_where_it_is_that():
    between = ["image", "text"]
    twice = torch.arange(64) // 2  # each caption stands there twice
    for losses, keys, says in [
        ([InfoNCE(between)], [], True),
        ([InfoNCE(between)], [torch.arange(64)], True),
        ([InfoNCE(between)], [twice], False),
        ([InfoNCE(between, weight=0.5)], [], False),
        ([InfoNCE(between), InfoNCE(between)], [], False),
        ([Sigmoid(between)], [], False),
        ([Sigmoid(between)], [twice], False),
    ]:
        chance, (finding,) = stuck_at(losses, keys)
        assert finding.name == "stuck" and f"{chance:.2f}, so nothing is learnt" in finding.what
        assert ("ln(batch)" in finding.what) == says


def test_a_run_that_learns_little_is_not_stuck_where_much_is_left_out():
    """Half the batch is one caption: ln(64) = 4.16 is above what guessing gives, and 3.6 below it."""
    keys = [torch.tensor([0] * 32 + list(range(1, 33)))]
    chance, _ = stuck_at([InfoNCE(["image", "text"])], keys)
    assert chance == pytest.approx((32 * math.log(33) + 32 * math.log(64)) / 64)
    assert diagnose(rows(train__loss=chance * 0.9, train__loss_at_chance=chance)) == []
    (finding,) = diagnose(rows(train__loss=chance, train__loss_at_chance=chance))
    assert finding.name == "stuck"


@pytest.mark.parametrize("keyed", [False, True])
def test_chance_is_the_loss_of_vectors_that_are_all_the_same(keyed):
    same = torch.nn.functional.normalize(torch.ones(12, 4), dim=-1)
    keys = [torch.arange(12) // 3, torch.arange(12) // 4] if keyed else []
    loss = InfoNCE(["image", "text"], label_smoothing=0.1)
    got, batch = {Want("image"): same, Want("text"): same}, batch_of(12, keys)
    assert loss.score(got, batch).item() == pytest.approx(loss.at_chance(batch), abs=1e-5)
    assert torch.equal(candidates(12, keys, tile=5), candidates(12, keys))
    n = candidates(12, keys).mean().item()
    loss = Sigmoid(["image", "text"], bias=-10 - math.log(n - 1))  # the scale of 10 and the bias give each pair 1/n
    assert loss.score(got, batch).item() == pytest.approx(loss.at_chance(batch), abs=1e-4)


def test_the_log_is_read_once(monkeypatch, tmp_path):
    log, said, reads = tmp_path / "metrics.jsonl", [], []
    monkeypatch.setattr(fit, "read_rows", lambda path: reads.append(path) or read_rows(path))
    before, after = rows(train__unknown=0.2)[:5], rows(train__unknown=0.2)[5:]
    log.write_text("".join(json.dumps(row) + "\n" for row in before))
    doctor = fit.Doctor(log, said.append)
    for row in after * 3:
        with open(log, "a") as f:
            f.write(json.dumps(row) + "\n")
        doctor.see(row)
    doctor.last_word()
    assert doctor.rows == read_rows(log) == before + after * 3
    assert len(reads) == 1
    assert len(said) == 1 and "20% of the tokens" in said[0]
