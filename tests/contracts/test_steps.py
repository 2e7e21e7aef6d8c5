"""For every recipe: parts and processes change no gradient, also of texts of unequal length and of rows that lack an input."""

from __future__ import annotations

import functools
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmkit import kinds
from mmkit.batch import Batch
from mmkit.encoders import ENCODERS
from mmkit.losses import LOSSES
from mmkit.model import Model
from mmkit.training.step import gradients
from mmkit.workflows.plan import Plan
from tests.core import RECIPES, dropped_out, plan, smallest, whole_dataset
from tests.small import OF_ANY


@pytest.fixture(scope="module")
def data(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_dataset(run / "data", tmp_path_factory.mktemp("data") / "data", gaps=True)


@pytest.fixture(scope="module")
def made(data: Path) -> Callable[[str], Plan]:
    """The plan of a recipe, made once."""
    return functools.cache(lambda recipe: plan(smallest(recipe, data)))


def gradient(model: Model, batch: Batch, parts: int = 1) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    torch.manual_seed(4)
    loss = gradients(model, batch, parts, "fp32", "0 1")["loss"].item()
    return loss, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    flat = [torch.cat([grads[name].flatten() for name in sorted(theirs)]) for grads in (ours, theirs)]
    return ours.keys() == theirs.keys() and bool((flat[0] - flat[1]).norm() <= 1e-5 * flat[1].norm())


@pytest.mark.parametrize("recipe", RECIPES)
def test_four_parts_have_the_gradient_of_one(recipe: str, made: Callable[[str], Plan]) -> None:
    model, batch = made(recipe).model.train(), made(recipe).first_batch
    loss, expected = gradient(model, batch)
    assert expected and all(grad.isfinite().all() for grad in expected.values())
    again, ours = gradient(model, batch, 4)
    assert again == pytest.approx(loss, abs=1e-5)
    assert same(ours, expected)


def of_kind(section: str, kind: str, data: Path) -> Plan:
    """The plan of `fusion-mid` with another fusion, or of `nmodal` with another loss of pairs or encoder."""
    if section == "fusion":
        return plan(smallest("fusion-mid", data, {"fusion": {"kind": kind}}))
    if section == "loss":
        return plan(smallest("nmodal", data, {"loss": {"itc": {"kind": kind}}}))
    small = {"kind": kind, "dim": 16}
    return plan(smallest("nmodal", data, {"encoder": {ENCODERS[kind][0]: small}}))


KINDS = [("fusion", kind) for kind in OF_ANY]
# the others stand in recipes
KINDS += [("loss", kind) for kind, place in LOSSES.items() if hasattr(kinds.load(place), "of_pair")]
KINDS += [("encoder", kind) for kind in ENCODERS if kind != "pretrained"]


@pytest.mark.parametrize(("section", "kind"), KINDS)
def test_every_row_of_the_tables_is_exact_in_parts(section: str, kind: str, data: Path) -> None:
    found = of_kind(section, kind, data)
    model, batch = found.model.train(), found.first_batch
    loss, expected = gradient(model, batch)
    again, ours = gradient(model, batch, 3)
    assert again == pytest.approx(loss, abs=1e-5)
    assert same(ours, expected)
    assert all(grad.isfinite().all() for grad in expected.values())


@pytest.mark.parametrize("recipe", [r for r in RECIPES if r in ("clip", "filip", "siglip", "nmodal")])
def test_the_dropout_of_each_part_is_replayed(recipe: str, data: Path) -> None:
    """Where a loss is of the whole batch, parts run twice: a naive form keeps the graphs of all of them."""
    config = smallest(recipe, data)
    found = plan(smallest(recipe, data, dropped_out(config)))
    model, batch = found.model.train(), found.first_batch
    _, ours = gradient(model, batch, 4)
    model.zero_grad()
    torch.manual_seed(4)
    outputs = [model(piece, sorted(model.wants())) for piece in batch.split(4)]
    joined = {want: torch.cat([output[want] for output in outputs]) for want in model.wants()}
    sum(loss.weight * loss.score(joined, batch) for loss in model.loss.values()).backward()
    assert same(ours, {name: p.grad for name, p in model.named_parameters() if p.grad is not None})


SCRIPT = """
    import sys, pathlib, torch, torch.distributed as dist
    import mmkit.data.loader as loader
    from mmkit.training.step import gradients
    from tests.core import RECIPES, plan, smallest
    rank, data, out = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    dist.init_process_group("gloo", init_method="file://" + out + ".store", rank=rank, world_size=2)
    found = {}
    for recipe in RECIPES:
        made = plan(smallest(recipe, data))
        model = made.model.train()
        model.zero_grad()
        torch.manual_seed(4)
        values = gradients(model, made.first_batch, 2, "fp32", "0 1")
        texts = {n: t["mask"].size(1) for n, t in made.first_batch.inputs.items() if "mask" in t}
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found[recipe] = (values["loss"], grads, made.first_batch.ids, texts)
    torch.save(found, out + str(rank))
    dist.destroy_process_group()
"""


def test_two_processes_have_the_gradient_of_one(data: Path, made: Callable[[str], Plan], tmp_path: Path) -> None:
    out, root = tmp_path / "found", Path(__file__).parents[2]
    code = textwrap.dedent(SCRIPT)
    ranks = [subprocess.Popen([sys.executable, "-c", code, str(r), str(data), str(out)], cwd=root) for r in (0, 1)]
    assert [process.wait(timeout=240) for process in ranks] == [0, 0]
    halves = [torch.load(f"{out}{rank}", weights_only=True) for rank in (0, 1)]
    for recipe in RECIPES:
        batch = made(recipe).first_batch
        loss, expected = gradient(made(recipe).model.train(), batch)
        assert halves[0][recipe][2] + halves[1][recipe][2] == batch.ids
        for value, ours, _, _ in (half[recipe] for half in halves):
            assert value.item() == pytest.approx(loss, abs=1e-5), recipe
            assert same(ours, expected), recipe
    # else nothing had to be filled up
    lengths = [half[recipe][3] for recipe in RECIPES for half in halves]
    assert any(a != b for a, b in zip(lengths[::2], lengths[1::2], strict=True))
