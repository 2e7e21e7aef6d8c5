"""Each finding of the doctor from rows that bear it out, and none from a healthy run."""

import math

import pytest

from mmkit.training.doctor import diagnose

FACTS = {
    "step": 0,
    "run/steps": 200,
    "run/warmup": 10,
    "run/batch_size": 64,
    "run/loss_at_chance": math.log(64),
    "run/max_scale": 100.0,
    "run/context": 32,
}


def healthy(i):
    return {
        "step": 10 * i,
        "train/loss": 4.1 * 0.9**i,
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
        ("stuck", {}, {"train__loss": math.log(64) + 0.01}, "the loss is stuck at 4.17, ln(batch)"),
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


def test_a_run_that_has_just_begun_is_not_judged():
    assert diagnose(rows(train__cosine__image=0.999, train__loss=math.log(64))[:9]) == []


def test_one_slow_first_batch_is_no_slow_loader():
    run = rows()
    run[1]["train/loader_share"] = 1.0
    assert diagnose(run) == []
