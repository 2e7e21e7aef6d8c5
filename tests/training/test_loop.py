"""The loop's own decisions: rates, decay, clipping, the clamp, which weights are kept, and what is never saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mmkit.batch import Batch
from mmkit.config import Config
from mmkit.errors import UserError
from mmkit.model import Model
from mmkit.talk import Measured, Talk
from mmkit.training import loop
from mmkit.training.run import checkpoints
from mmkit.training.schedule import learning_rate, make_optimizer
from tests.training.test_step import B, tiny_batch, tiny_model


class Repeat:
    """A loader of one batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def batches(self, position: int = 0) -> Iterator[Batch]:
        while True:
            yield self.batch


def measured(recall: float) -> Measured:
    return Measured("mean_recall", recall, {"mean_recall": recall})


def train(folder: Path, model: Model, evaluate: Callable[[Model], Measured] | None = None, **keys: Any) -> dict[str, Any]:
    return watched(folder, model, Talk(), evaluate, **keys)


def watched(folder: Path, model: Model, talk: Talk, evaluate: loop.Evaluate | None = None, **keys: Any) -> dict[str, Any]:
    config = Config(encoder=model.config.encoder)
    defaults = {"steps": 6, "batch_size": B, "lr": 1e-3, "warmup": 1, "checkpoint_every": 1, "eval_every": 1, "log_every": 1}
    for key, value in (defaults | keys).items():
        setattr(config.train, key, value)
    loader = Repeat(tiny_batch(model))
    (folder / "run").mkdir(exist_ok=True)
    return loop.train(config, folder / "run", model, lambda stage: loader, talk, evaluate)  # type: ignore[arg-type,return-value]


def test_every_step_is_told_whatever_log_every_is_and_after_its_row(tmp_path: Path) -> None:
    told: list[Any] = []
    talk = Talk(step=lambda done, seconds: told.append((done, seconds > 0)), report=lambda row: told.append(row["step"]))
    watched(tmp_path, tiny_model(), talk, log_every=4, checkpoint_every=2)
    assert told == [0, (0, False), 1, (1, True), (2, True), (3, True), 4, (4, True), (5, True), 6, (6, True)]
    told.clear()
    # resumed, it begins where it stopped
    watched(tmp_path, tiny_model(), talk, steps=8, log_every=100, checkpoint_every=2)
    assert told == [(6, False), (7, True), 8, (8, True)]


def test_the_rate_rises_to_its_peak_and_falls_to_zero_by_a_cosine() -> None:
    rates = [learning_rate(step, 110, 10, 2.0) for step in range(110)]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert rates[10:] == pytest.approx([1 + math.cos(math.pi * i / 100) for i in range(100)])


def test_gains_biases_positions_and_the_scale_are_not_decayed() -> None:
    model = tiny_model()
    config = Config().train
    config.lr, config.weight_decay = 1.0, 0.1
    names = {id(p): name for name, p in model.named_parameters()}
    decayed = {names[id(p)] for g in make_optimizer(model, config).param_groups if g["weight_decay"] for p in g["params"]}
    matrices = {n for n, p in model.named_parameters() if p.ndim >= 2 and not n.endswith(("positions", "cls"))}
    assert decayed == matrices
    assert {"loss.itc.logit_scale", "encoder.text.positions"} <= set(names.values()) - decayed


def test_gradients_are_clipped_before_the_step_and_the_scale_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, norms = tiny_model(), []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *args: Any) -> Any:
        norms.append(torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]).item())
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    model.loss["itc"].logit_scale.data.fill_(9.0)
    train(tmp_path, model, steps=3, clip=1e-3)
    assert norms == pytest.approx([1e-3] * 3, rel=1e-3)
    assert model.loss["itc"].logit_scale.item() == pytest.approx(math.log(100), abs=0.01)


def test_the_best_on_val_is_kept_and_of_equals_the_latest(tmp_path: Path) -> None:
    model, seen = tiny_model(), []
    recalls = iter([0.2, 0.5, 0.1, 0.5, 0.3, 0.4])

    def evaluate(model: Model) -> dict[str, float]:
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        return measured(next(recalls))

    state = train(tmp_path, model, evaluate)
    assert (state["best"], state["best_step"]) == (0.5, 4)
    kept = load_file(tmp_path / "run/model.safetensors")
    assert all(torch.equal(kept[k], v) for k, v in seen[3].items())


def test_patience_counts_evaluations_without_a_better_one(tmp_path: Path) -> None:
    recalls = iter([0.2, 0.5, 0.5, 0.5, 0.6, 0.7])
    state = train(tmp_path, tiny_model(), lambda model: measured(next(recalls)), patience=2)
    assert state["step"] == 4


def test_a_gradient_that_is_not_finite_is_not_applied(tmp_path: Path) -> None:
    model, calls = tiny_model(), iter(range(9))
    weight = model.project["image"].weight
    weight.register_hook(lambda grad: grad * math.inf if next(calls) == 3 else grad)
    with pytest.raises(UserError, match="the gradient is not finite at step 4") as e:
        train(tmp_path, model)
    assert "step-00000003" in e.value.hint
    for folder in checkpoints(tmp_path / "run"):
        assert all(v.isfinite().all() for v in load_file(folder / "model.safetensors").values())


def test_weights_that_a_step_threw_too_far_are_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, steps = tiny_model(), iter(range(9))
    step = torch.optim.AdamW.step

    def thrown(self: torch.optim.AdamW, *args: Any) -> None:
        step(self, *args)
        if next(steps) == 2:
            model.project["image"].weight.data.fill_(math.inf)

    monkeypatch.setattr(torch.optim.AdamW, "step", thrown)
    with pytest.raises(UserError, match="the model's output is not finite at step 3") as e:
        train(tmp_path, model)
    assert "step-00000002" in e.value.hint
    assert [c.name for c in checkpoints(tmp_path / "run")] == ["step-00000001", "step-00000002"]
