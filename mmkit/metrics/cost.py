"""What a model costs to use: parameters, milliseconds an item of each input, memory. Measured on real items of the dataset."""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmkit.batch import Batch, Want
from mmkit.encode import Pace, chunks, columns_of
from mmkit.errors import UserError
from mmkit.metrics import heads
from mmkit.metrics.evaluation import Request, Result

if TYPE_CHECKING:
    from mmkit.data.shards import Dataset
    from mmkit.model import Model

METRIC = "cost"
WARM_UP, LEAST, MOST = 2, 3, 20  # runs
SECONDS = 2.0  # for the runs of one figure, once there are LEAST
MIB = 1 << 20
PARTS = ("encoder", "project", "fusion", "head", "loss")

Run = Callable[[], object]


def of_model(model: Model, data: Dataset, request: Request) -> list[Result]:
    """Time each encoder, and the whole way to the answers of each head, alone and in batches of `request.batch_size`.

    Items are read and prepared before the clock starts; a batch is put together, moved and run while it goes. The device and
    the number of threads stand in the record, for the figures are those of this machine.

    Raises:
        UserError: the dataset has none of the model's inputs.
    """
    split, record, stem = heads.scope(model, data, request, METRIC)
    items = _items(model, data, split, request)
    report = request.progress("timed")
    sizes = (1, request.batch_size)
    runs = {(name, n): run for n in sizes for name, run in _runs(model, items, n).items()}
    timed: dict[tuple[str, int], float] = {}
    needed = 0.0
    for done, ((name, n), run) in enumerate(runs.items(), 1):
        needed = max(needed, memory(model.device, run)) if n == request.batch_size else needed
        timed[name, n] = milliseconds(model.device, run) / n
        report(done, len(runs))
    parts = {part: count for part, count in parameters(model).items() if count}
    batched = {f"ms_per_{name}": round(ms, 4) for (name, n), ms in timed.items() if n == request.batch_size}
    alone = {f"ms_per_{name}_alone": round(ms, 4) for (name, n), ms in timed.items() if n == 1}
    weights = sum(t.nbytes for t in (*model.parameters(), *model.buffers())) / MIB
    record |= {
        "task": "cost",
        "n": {name: len(found) for name, found in items.items()},
        "metrics": {"parameters": model.parameter_count} | batched | alone | {"memory_mib": round(weights + needed, 1)},
        "chance": {},
        "cost": {"parameters": model.parameter_count} | batched,
        "parts": parts,
        "memory": {"weights_mib": round(weights, 1), "batch_mib": round(needed, 1), "measured": _how(model.device, needed)},
        "batch_size": request.batch_size,
        "device": _device(model.device),
        "threads": torch.get_num_threads(),
        "precision": "fp32",
    }
    return [Result(record, {}, "", stem)]


def parameters(model: Model) -> dict[str, int]:
    """`encoder.NAME`, `project.NAME`, `fusion.NAME`, `head.NAME` … -> how many parameters it has; together all of the model."""
    found: dict[str, int] = {}
    for part in PARTS:
        module = getattr(model, part)
        for name, one in module.items() if hasattr(module, "items") else [("", module)] if module is not None else []:
            found[f"{part}.{name}".rstrip(".")] = sum(p.numel() for p in one.parameters())
    return found


def milliseconds(device: torch.device, run: Run) -> float:
    """The median time of a run, after some that warm up."""
    taken: list[float] = []
    for i in range(WARM_UP + MOST):
        begin = time.perf_counter()
        run()
        _wait(device)
        if i >= WARM_UP:
            taken.append(time.perf_counter() - begin)
        if len(taken) >= LEAST and sum(taken) > SECONDS:
            break
    return 1000 * statistics.median(taken)


def memory(device: torch.device, run: Run) -> float:
    """MiB that one run needs beyond what is held before it: of the GPU's memory what torch allocates; of a CPU's the growth of
    this process, from when what is free has been handed back. 0 where the system does not say."""
    if device.type == "cuda":
        run()
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - held) / MIB
    if sys.platform != "linux":
        return 0.0
    run()  # what is loaded once is no need of a batch
    with suppress(OSError, AttributeError):  # another libc has no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)
    try:  # proc(5): the peak so far is forgotten
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0.0
    before = _status("VmRSS")
    run()
    return max(0.0, _status("VmHWM") - before)


def _status(key: str) -> float:
    """MiB of a line in /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 / MIB for line in lines if line.startswith(f"{key}:")), 0.0)


def _how(device: torch.device, needed: float) -> str:
    if not needed:
        return "weights alone: this system does not say more"
    if device.type == "cuda":
        return "weights, and the peak of what torch allocates on the GPU for one batch"
    return "weights, and the growth of the process's resident memory in one batch; torch itself is not counted"


def _wait(device: torch.device) -> None:
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _items(model: Model, data: Dataset, split: str | None, request: Request) -> dict[str, list[Any]]:
    """The first prepared items of each input, at most one batch."""
    columns = columns_of(model, data, model.inputs)
    if not columns:
        has = ", ".join(sorted(set(data.columns.values())))
        raise UserError(f"the dataset has no {' and no '.join(model.inputs)} column", data.path, f"it has: {has}")
    rows = data.rows(split, ["id", *dict.fromkeys(columns.values())], min(request.batch_size, request.limit or sys.maxsize))
    found: dict[str, list[Any]] = {name: [] for name in columns}
    for _, items in chunks(model, columns, rows, Pace(request.batch_size, request.workers)):
        for name, own in items.items():
            found[name] += [item.value for item in own]
    return {name: own[: request.batch_size] for name, own in found.items() if own}


def _runs(model: Model, items: dict[str, list[Any]], n: int) -> dict[str, Run]:
    """input -> its encoder on n items; `answer`, or `answer_HEAD` of several -> the whole way to the answers of a head.

    Fewer items than n are taken again and again.
    """
    batches = {name: [*islice(cycle(own), n)] for name, own in items.items()}
    what = "vectors" if model.tokenwise else "vector"

    @torch.inference_mode()
    def run(names: list[str], want: Want) -> None:
        inputs = {name: model.reader(name).collate(batches[name]) for name in names}
        model(Batch([""] * n, inputs).to(model.device), [want])

    runs: dict[str, Run] = {}
    for name in batches:
        runs[name] = partial(run, [name], Want(name, what if name in model.embedded else "pooled"))
    heads = {head: Want(head, "logits") for head in model.head}
    # a head that tells what is hidden has no answer where nothing is
    for head, want in [(head, want) for head, want in heads.items() if want in model.clean_wants()]:
        names = list(dict.fromkeys(root.part for root in model.roots(want)))
        if set(names) <= batches.keys():
            runs["answer" if len(model.head) == 1 else f"answer_{head}"] = partial(run, names, want)
    return runs
