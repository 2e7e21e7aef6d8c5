"""Several processes under torchrun: who is who, and the collectives that a step needs. One process is the plain case."""

from __future__ import annotations

import os
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmkit.errors import UserError

T = TypeVar("T")


def join(device: str) -> None:
    """Join the process group that torchrun made; nothing to do in a single process.

    Args:
        device: as typed; with `auto` or `cuda` each process takes a GPU of its own.

    Raises:
        UserError: there are more processes than GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        cuda = torch.cuda.is_available() and device in ("auto", "cuda")
        if cuda:
            rank, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
            if rank >= there:
                raise UserError(f"there are more processes than GPUs, {there}", hint=f"torchrun --nproc-per-node {there}")
            torch.cuda.set_device(rank)
        dist.init_process_group("nccl" if cuda else "gloo")


def leave() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def world() -> tuple[int, int]:
    """(rank, number of processes)."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def check_batch(batch_size: int, group: int = 1) -> None:
    """Every process takes an equal share of a batch, whole groups of rows.

    Raises:
        UserError: the batch does not divide.
    """
    size = world()[1]
    if batch_size % size:
        raise UserError(
            f"a batch of {batch_size} does not divide by {size} processes",
            hint=f"--batch-size {max(1, batch_size // size) * size}",
        )
    if size > 1 and batch_size // size % group:
        raise UserError(
            f"the share of each of {size} processes, {batch_size // size} rows, cuts through groups of {group} rows",
            hint=f"--batch-size {max(1, round(batch_size / size / group)) * size * group}, or another group of the loss",
        )


def from_first(value: T) -> T:
    """The value of process 0, in every process."""
    if world()[1] == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def agreed(flag: bool) -> bool:
    """True in every process as soon as it is true in one: they stop after the same step."""
    if world()[1] == 1:
        return flag
    vote = torch.tensor(float(flag), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(vote)
    return bool(vote)


def gather(x: Tensor) -> Tensor:
    """Rows of all processes, in the order of ranks: (b, …) -> (world * b, …); a second axis is filled up to the longest."""
    size = world()[1]
    if size == 1:
        return x.clone()
    if x.ndim > 1:
        longest = torch.tensor(x.size(1), device=x.device)
        dist.all_reduce(longest, dist.ReduceOp.MAX)
        filled = x.new_zeros(x.size(0), int(longest), *x.shape[2:])
        filled[:, : x.size(1)] = x
        x = filled
    # gloo gathers no bool
    sent = x.to(torch.uint8) if x.dtype == torch.bool else x
    out = [torch.empty_like(sent) for _ in range(size)]
    dist.all_gather(out, sent.contiguous())
    return torch.cat(out).to(x.dtype)


def own_rows(x: Tensor, like: Tensor) -> Tensor:
    """This process's part of what was gathered of tensors such as `like`."""
    rank, rows = world()[0], like.size(0)
    mine = x[rank * rows : (rank + 1) * rows]
    return mine[:, : like.size(1)] if like.ndim > 1 else mine


def sum_over(x: Tensor) -> Tensor:
    """The sum of a tensor over the processes."""
    if world()[1] > 1:
        x = x.clone()
        dist.all_reduce(x)
    return x


def sum_gradients(parameters: list[nn.Parameter]) -> None:
    """Replace each gradient by its sum over the processes, in one call."""
    # a step is the same graph in every process: what has no gradient here has none anywhere, and AdamW leaves it alone
    parameters = [p for p in parameters if p.grad is not None]
    if world()[1] == 1 or not parameters:
        return
    flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    dist.all_reduce(flat)
    for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        # fused AdamW walks raw memory: the gradient must lie as its parameter does (channels last, for a convolution)
        p.grad = torch.empty_like(p).copy_(part.view(p.shape))
