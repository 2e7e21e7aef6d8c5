"""Memory counted from a few samples, the batch that fits, and the precision that is measured."""

import pytest
import torch

from mmkit.batch import Want
from mmkit.config import Train
from mmkit.errors import UserError
from mmkit.training import measure
from tests.training.test_step import tiny_batch, tiny_model


def test_activations_grow_with_the_batch_and_weights_do_not_count():
    model = tiny_model()
    batch = tiny_batch(model)
    whole, half = (measure.activation_bytes(model, b) for b in (batch, batch.split(2)[0]))
    assert 1.8 < whole / half < 2.2
    with torch.no_grad():
        assert measure.activation_bytes(model, batch) == 0


def test_checkpointing_keeps_less_and_computes_the_same():
    model = tiny_model()
    batch = tiny_batch(model)
    before, expected = measure.activation_bytes(model, batch), model(batch, model.wants())
    model.checkpoint_activations()
    assert measure.activation_bytes(model, batch) < 0.8 * before
    assert torch.equal(model(batch, model.wants())[Want("image")], expected[Want("image")])


def test_the_batch_that_fits_is_named(monkeypatch):
    model = tiny_model()
    batch = tiny_batch(model)
    need = measure.memory(model, batch, Train(batch_size=16))
    monkeypatch.setattr(measure, "free_memory", lambda device: int(need * 0.6))
    with pytest.raises(UserError) as e:
        measure.memory(model, batch, Train(batch_size=16))
    assert "out of memory: 16 samples at once need about" in e.value.what
    parts = int(e.value.hint.split()[1])
    assert parts > 1
    assert measure.memory(model, batch, Train(batch_size=16, accumulate=parts)) < need


def test_amp_takes_what_is_faster_and_says_why(monkeypatch):
    model = tiny_model()
    batch = tiny_batch(model)
    for seconds, chosen in (({"bf16": 0.5, "fp32": 1.0}, "bf16"), ({"bf16": 26.0, "fp32": 1.0}, "fp32")):
        monkeypatch.setattr(measure, "_seconds", lambda m, b, t, precision, s=seconds: s[precision])
        cost = measure.measure(model, batch, Train(batch_size=16, amp=True))
        assert cost.precision == chosen
        assert "on this device" in cost.reason
    assert measure.measure(model, batch, Train(batch_size=16)).precision == "fp32"


def test_bf16_computes_nearly_the_same_gradient():
    from mmkit.training.step import gradients
    from tests.training.test_step import flat_gradient

    model = tiny_model()
    batch = tiny_batch(model)
    gradients(model, batch, 1, "fp32")
    full = flat_gradient(model)
    model.zero_grad()
    gradients(model, batch, 1, "bf16")
    assert torch.nn.functional.cosine_similarity(full, flat_gradient(model), dim=0) > 0.99
