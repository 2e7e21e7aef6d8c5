"""What is measured before the first step: seconds a step, the precision that is faster, and the memory a batch needs."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

import torch

from mmkit.batch import Batch
from mmkit.config import Train
from mmkit.errors import UserError, is_out_of_memory
from mmkit.model import Model
from mmkit.training.distributed import world
from mmkit.training.step import gradients

PROBE = 8  # samples whose activations are counted
REPEATS = 3
SPARE = 0.9  # share of the free memory that a run may plan with


@dataclass(frozen=True)
class Cost:
    """Of one step.

    Args:
        seconds: forward and backward.
        bytes: weights, gradients, optimizer moments and the activations of one part of the batch.
        precision: fp32 or bf16; reason: why.
    """

    seconds: float
    bytes: int
    precision: str
    reason: str


def measure(model: Model, batch: Batch, train: Train) -> Cost:
    """Measure one step on the first batch; nothing of the model changes.

    Raises:
        UserError: the batch does not fit in memory; the one that does is named.
    """
    need = memory(model, batch, train)
    if train.precision:
        precision, reason = train.precision, "as configured"
    elif train.amp:
        precision, reason = faster_precision(model, batch, train)
    else:
        precision, reason = "fp32", "--amp measures whether half precision is faster"
    try:
        return Cost(_seconds(model, batch, train, precision), need, precision, reason)
    except RuntimeError as e:
        if not is_out_of_memory(e):
            raise
        raise does_not_fit(batch, train, _fitting(model, batch, train, precision)) from None


def _fitting(model: Model, batch: Batch, train: Train, precision: str) -> int:
    """Samples that fit at once, found by halving; 0 where not even one does."""
    part = -(-batch.rows // train.accumulate)
    if world()[1] > 1:  # a step is a collective, and other processes may not have failed
        return part // 2
    while part := part // 2:
        model.zero_grad(set_to_none=True)
        few = batch.take(range(part))
        try:
            gradients(model, few, 1, precision)
            return part
        except RuntimeError as e:
            if not is_out_of_memory(e):
                raise
    return 0


def faster_precision(model: Model, batch: Batch, train: Train) -> tuple[str, str]:
    """bf16 where a step is faster in it, else fp32, and the reason; CPUs without AMX or AVX512-BF16 lose 10 to 300 times."""
    small = batch.take(range(min(batch.rows, 2 * PROBE))) if model.device.type == "cpu" else batch
    half, full = (_seconds(model, small, train, precision) for precision in ("bf16", "fp32"))
    ratio = half / full
    if ratio < 0.95:
        return "bf16", f"a step takes {ratio:.2f}x as long as in fp32 on this device"
    return "fp32", f"bf16 is {ratio:.1f}x as slow as fp32 on this device"


def _seconds(model: Model, batch: Batch, train: Train, precision: str) -> float:
    elapsed = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        gradients(model, batch, train.accumulate, precision)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        elapsed.append(time.perf_counter() - start)
        model.zero_grad(set_to_none=True)
    # the first includes warming up
    return min(elapsed)


def memory(model: Model, batch: Batch, train: Train) -> int:
    """Bytes that training needs, from the activations of a few samples.

    Raises:
        UserError: it is more than what is free; the batch that fits is named.
    """
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    fixed = 4 * sum(p.numel() for p in model.parameters()) + 12 * learned
    rows = batch.rows
    few = batch.take(range(min(rows, PROBE)))
    per_sample = activation_bytes(model, few) / few.rows
    part = -(-rows // train.accumulate)
    need, free = int(fixed + part * per_sample), free_memory(model.device)
    if need > SPARE * free:
        fitting = int((SPARE * free - fixed) // per_sample)
        raise out_of_memory(need, free, rows, part, fitting)
    return need


def activation_bytes(model: Model, batch: Batch) -> int:
    """Bytes that the forward pass keeps for the backward pass, each storage once and weights not at all."""
    seen = {p.untyped_storage().data_ptr() for p in model.parameters()}
    total = 0

    def count(x: torch.Tensor) -> torch.Tensor:
        nonlocal total
        storage = x.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            total += storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
        outputs = model(batch, model.clean_wants())  # held until the count is over, so that no storage is used twice
    del outputs
    # a version of the batch keeps about as much as the clean one
    return total * (1 + len({want.of for want in model.wants()} - {""}))


def free_memory(device: torch.device) -> int:
    """Bytes that this device can still give."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo") as f:
            available = next(line for line in f if line.startswith("MemAvailable"))
        return int(available.split()[1]) * 1024
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows: unknown, so nothing is refused
        return sys.maxsize


def out_of_memory(need: int, free: int, rows: int, part: int, fitting: int) -> UserError:
    """The error that names the batch that fits.

    Args:
        rows: of this process's batch; part: rows computed at once; fitting: rows that fit at once.
    """
    what = f"out of memory: {part} samples at once need about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
    return UserError(what, hint=_smaller(rows, fitting))


def does_not_fit(batch: Batch, train: Train, fitting: int) -> UserError:
    """The error for a batch that the device refused.

    Args:
        fitting: samples that fit at once.
    """
    rows = batch.rows
    what = f"out of memory: {-(-rows // train.accumulate)} samples at once do not fit on the device"
    return UserError(what, hint=_smaller(rows, fitting))


def _smaller(rows: int, fitting: int) -> str:
    if fitting < 1:
        return "a smaller --size or smaller inputs: not even one sample fits"
    return f"--accumulate {-(-rows // fitting)} (the same result, slower) or --batch-size {fitting * world()[1]}"
