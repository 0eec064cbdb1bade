"""The ranks of one site: processes that torchrun, or Slurm's srun, started together."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from ayni.errors import UserError

#: What srun sets, under the names that torch reads.
_SLURM = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"}


@dataclass(frozen=True)
class Ranks:
    """This process among the site's."""

    rank: int
    count: int
    device: Any

    @property
    def first(self) -> bool:
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over all ranks, on every one of them."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.count > 1:
            dist.barrier()

    def share(self, batch: int) -> range:
        """This rank's places in a batch.

        Raises:
            UserError: the batch does not divide.
        """
        if batch % self.count:
            raise UserError(
                f"data.batch = {batch} rows cannot be shared by {self.count} ranks: make it a "
                f"multiple of {self.count}"
            )
        size = batch // self.count
        return range(self.rank * size, (self.rank + 1) * size)


def join(device: str | None = None, *, meeting: Path | None = None) -> Ranks:
    """Join the other ranks, where there are any.

    Args:
        device: cuda where there is one, else cpu.
        meeting: a folder that all ranks see and no others used before: how ranks find each other
            that srun started. Those of torchrun know already.

    Raises:
        UserError: the first rank does not come to the meeting.
    """
    if meeting is not None or "MASTER_ADDR" in os.environ:
        for ours, theirs in _SLURM.items():
            if theirs in os.environ:
                os.environ.setdefault(ours, os.environ[theirs])
    count = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0")) if count > 1 else 0
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0")) if kind == "cuda" else None)
    if kind == "cuda":
        torch.cuda.set_device(where)
        torch.set_float32_matmul_precision("high")
    if count > 1 and not dist.is_initialized():
        if meeting is not None and "MASTER_ADDR" not in os.environ:
            _meet(meeting, rank)
        dist.init_process_group(_backend(kind))
    return Ranks(rank, count, where)


def _meet(folder: Path, rank: int, patience: float = 600.0) -> None:
    """The first rank writes where it listens, the others read it; file systems may lag."""
    path = folder / "first-rank"
    if rank == 0:
        with socket.socket() as free:
            free.bind(("", 0))
            said = f"{_host()} {free.getsockname()[1]}"
        aside = path.with_suffix(".part")
        aside.write_text(said)
        aside.rename(path)
    end = time.monotonic() + patience
    while path not in folder.iterdir():  # listed, not opened: that shows what is new
        if time.monotonic() > end:
            raise UserError(f"the first rank did not come to {folder}: look at its log")
        time.sleep(0.2)
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = path.read_text().split()


def _host() -> str:
    """Where the first rank listens: inside the node, where all of them are; no network is needed then."""
    alone = os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]
    return "127.0.0.1" if alone else socket.gethostname()


def leave() -> None:
    """Part from the other ranks."""
    if dist.is_initialized():
        dist.destroy_process_group()


def shard(trainee: Any, ranks: Ranks, *, bf16: bool) -> None:
    """Spread parameters, gradients and moments over the ranks (FSDP2), a layer at a time.

    Weights and sums of gradients stay float32; with `bf16` the compute is done in bfloat16. One rank
    alone is sharded for that, too: autocast would leave queries and values of different types, which
    flex attention refuses, and cast the weights more often.
    """
    if not dist.is_initialized():
        dist.init_process_group(
            _backend(ranks.device.type), store=dist.HashStore(), rank=0, world_size=1
        )
    mesh = init_device_mesh(ranks.device.type, (ranks.count,))
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32
    )
    for layer in trainee.model.model.layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(trainee, mesh=mesh, mp_policy=policy, reshard_after_forward=False)


def _backend(kind: str) -> str:
    """gloo also on GPUs: asynchronous checkpoints speak of themselves beside the training."""
    return "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
