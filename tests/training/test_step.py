"""A step computed in parts, or by two processes, has the gradient of one big batch."""

import subprocess
import sys
import textwrap

import pytest
import torch

from mmkit.batch import Batch
from mmkit.config import Project, resolve
from mmkit.data.modalities import image, text
from mmkit.data.tokenizer import Tokenizer, train_tokenizer
from mmkit.errors import UserError
from mmkit.losses.contrastive import InfoNCE, Sigmoid
from mmkit.model import Model
from mmkit.project import check_widths, projection
from mmkit.training import distributed
from mmkit.training.step import drawn, gradients

B = 16


def tiny_model(loss: str = "infonce", dropout: float = 0.0) -> Model:
    torch.manual_seed(0)
    tables = {
        "encoder": {
            "image": {"kind": "vit", "dim": 16, "layers": 1, "heads": 2, "dropout": dropout},
            "text": {"kind": "transformer", "dim": 16, "layers": 1, "heads": 2, "dropout": dropout},
        },
        "input": {name: {"column": name, "modality": name, "encoder": name} for name in ("image", "text")},
        "project": {"dim": 8, "kind": "linear"},
        "loss": {"itc": {"kind": loss, "between": ["image", "text"]}},
        "data": {"image": {"size": 16, "resize": "crop", "resample": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3}},
    }
    config = resolve("clip", None, [tables])
    tokenizer = Tokenizer(train_tokenizer(["a red circle", "a blue square"], 300), 12)
    readers = {"image": image.Reader(image.plain(config.data["image"])), "text": text.Reader(config.data["text"], tokenizer)}
    return Model(config, readers).train()


def tiny_batch(model: Model) -> Batch:
    torch.manual_seed(1)
    captions = [f"a {'red' if i % 2 else 'blue'} circle {i % 11}" for i in range(B)]
    inputs = {
        "image": {"pixels": torch.randint(0, 256, (B, 3, 16, 16), dtype=torch.uint8)},
        "text": model.reader("text").collate(captions),
    }
    present = {name: torch.ones(B, dtype=torch.bool) for name in inputs}
    keys = {"image": torch.arange(B), "text": torch.arange(B) % 11}
    return Batch([str(i) for i in range(B)], inputs, present, keys, said={"text": captions})


def flat_gradient(model: Model) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def naive(model: Model, batch: Batch, parts: int = 1) -> torch.Tensor:
    """The loss with the graphs of all parts kept."""
    outputs = [model(piece, model.wants()) for piece in batch.split(parts)]
    joined = {want: torch.cat([output[want] for output in outputs]) for want in model.wants()}
    return model.loss["itc"].score(joined, batch)


@pytest.mark.parametrize("loss", ["infonce", "sigmoid", "filip"])
@pytest.mark.parametrize("parts", [2, 4, 5])
def test_parts_have_the_gradient_of_one_batch(loss, parts):
    model = tiny_model(loss)
    batch = tiny_batch(model)
    whole = gradients(model, batch, 1, "fp32")["loss"]
    expected = flat_gradient(model)
    model.zero_grad()
    assert gradients(model, batch, parts, "fp32")["loss"].item() == pytest.approx(whole.item(), abs=1e-6)
    assert (flat_gradient(model) - expected).norm() / expected.norm() < 1e-5


def test_a_projection_left_out_needs_encoders_of_the_shared_width():
    with pytest.raises(UserError, match="the image encoder gives 16 values"):
        check_widths({"image": 16, "text": 16}, Project(dim=8, kind="none"))


def test_one_part_equals_plain_backward():
    model = tiny_model()
    batch = tiny_batch(model)
    gradients(model, batch, 1, "fp32")
    ours = flat_gradient(model)
    model.zero_grad()
    naive(model, batch).backward()
    assert (flat_gradient(model) - ours).norm() / ours.norm() < 1e-6


def test_dropout_is_replayed_in_the_second_pass():
    model = tiny_model(dropout=0.3)
    batch = tiny_batch(model)
    torch.manual_seed(5)
    gradients(model, batch, 4, "fp32")
    ours = flat_gradient(model)
    model.zero_grad()
    torch.manual_seed(5)
    naive(model, batch, 4).backward()
    assert (flat_gradient(model) - ours).norm() / ours.norm() < 1e-5


def test_parts_draw_the_same_dropout_where_the_encoders_ran_before():
    model = tiny_model()
    torch.manual_seed(2)
    model.project = torch.nn.ModuleDict({m: projection(m, 16, Project(dim=8, kind="mlp", dropout=0.3)) for m in model.modalities})
    batch = tiny_batch(model)
    batch.inputs.update({name: {"pooled": torch.randn(B, 16)} for name in ("image", "text")})
    losses = []
    for parts in (1, 4):
        torch.manual_seed(3)
        losses.append(gradients(model, batch, parts, "fp32")["loss"].item())
    assert losses[0] == losses[1]


SCRIPT = """
    import sys, torch, torch.distributed as dist
    sys.path.insert(0, {tests!r})
    from test_step import flat_gradient, tiny_batch, tiny_model, B
    from mmkit.training.step import gradients
    rank = int(sys.argv[1])
    dist.init_process_group("gloo", init_method={store!r}, rank=rank, world_size=2)
    model = tiny_model()
    batch = tiny_batch(model)
    gradients(model, batch.take(range(rank * B // 2, (rank + 1) * B // 2)), 1, "fp32")
    torch.save(flat_gradient(model), {out!r} + str(rank))
    dist.destroy_process_group()
"""


def test_two_processes_have_the_gradient_of_one(tmp_path):
    from pathlib import Path

    code = textwrap.dedent(SCRIPT).format(
        tests=str(Path(__file__).parent), store=f"file://{tmp_path}/store", out=str(tmp_path / "grad")
    )
    ranks = [subprocess.Popen([sys.executable, "-c", code, str(r)]) for r in (0, 1)]
    assert [p.wait(timeout=120) for p in ranks] == [0, 0]
    model = tiny_model()
    gradients(model, tiny_batch(model), 1, "fp32")
    expected = flat_gradient(model)
    for rank in (0, 1):
        ours = torch.load(tmp_path / f"grad{rank}", weights_only=True)
        assert (ours - expected).norm() / expected.norm() < 1e-6


def test_of_the_losses_with_a_share_one_is_drawn_in_proportion():
    between = ["image", "text"]
    losses = {"a": InfoNCE(between, share=3.0), "b": Sigmoid(between, share=1.0), "always": InfoNCE(between)}
    seen = [frozenset(drawn(losses, f"0 {step}")) for step in range(400)]
    assert set(seen) == {frozenset({"a", "always"}), frozenset({"b", "always"})}
    assert sum("a" in one for one in seen) / 400 == pytest.approx(0.75, abs=0.06)
    assert [set(drawn(losses, "0 7")) for _ in range(3)] == [seen[7]] * 3


def test_processes_share_whole_groups_of_rows(monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: (0, 2))
    distributed.check_batch(48)
    distributed.check_batch(64, 32)
    with pytest.raises(UserError, match="the share of each of 2 processes, 24 rows, cuts through groups of 32") as caught:
        distributed.check_batch(48, 32)
    assert caught.value.hint.startswith("--batch-size 64, or another group")
    monkeypatch.setattr(distributed, "world", lambda: (0, 1))
    distributed.check_batch(48, 32)
