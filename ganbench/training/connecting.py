"""How the processes of a run on several devices of one machine find one another: nccl on CUDA devices, else gloo."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ganbench.errors import UserError
from ganbench.toolbox.ranks import Group
from ganbench.training.devices import resolve_device

HOST = "127.0.0.1"
PATIENCE = timedelta(days=1)
"""How long ranks wait for one another in a step, also on a machine that sleeps; one that has ended is noticed."""
JOINING = timedelta(minutes=5)
"""How long they wait until all have found one another."""
LOOPBACK = {"linux": "lo", "darwin": "lo0"}


class Parted(Exception):
    """A sum over ranks has failed: another of them is gone."""


class Processes(Group):
    """Ranks that are processes."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def sum_(self, tensor: Tensor) -> None:
        """See `Group.sum_`. Raises `Parted` where another rank is gone."""
        try:
            dist.all_reduce(tensor)
        except (RuntimeError, ValueError) as error:
            raise Parted(f"{type(error).__name__}: {error}") from error


def open_meeting(size: int) -> Any:
    """Open the place where ranks meet, at a free port of this machine alone."""
    return _stores().TCPStore(HOST, 0, size, is_master=True, wait_for_workers=False, timeout=JOINING)


def connect(place: Any, rank: int, size: int, device: torch.device) -> Processes:
    """Join the others, at a place or its port, and wait until all are there."""
    store = place
    if isinstance(place, int):
        store = _stores().TCPStore(HOST, place, size, is_master=False, timeout=JOINING)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _by_loopback():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
        group = Processes(rank, size)
        group.sum_(torch.zeros(1, device=device))  # connections are made when they are first used
    return group


def _stores() -> Any:
    return dist  # whose stores are not among what it says that it exports


def part(*, abort: bool = False) -> None:
    """Leave the others. `abort`: also where a sum that will never end is under way on a device."""
    with suppress(Exception):  # one that is gone already says so in many ways
        if abort:
            dist.distributed_c10d._abort_process_group()
        else:
            dist.destroy_process_group()


def group_of(device: torch.device, size: int) -> list[torch.device]:
    """Return the devices of a run's ranks: CUDA devices from the one named on. Raises `UserError` without so many."""
    if size == 1:
        return [device]
    if device.type == "cpu":
        return [device] * size
    if device.type != "cuda":
        raise UserError(f"--devices {size}: several devices are CUDA devices, or processes on a CPU, not {device}")
    first, count = device.index or 0, torch.cuda.device_count()
    if first + size > count:
        has = f"this machine has {count} CUDA device{'s' * (count != 1)}"
        raise UserError(f"--devices {size}: {has}" + (f", and the first is to be {device}" if first else ""))
    return [torch.device("cuda", first + rank) for rank in range(size)]


def require_several(device: str, devices: int, batch: int, *, compiled: bool) -> None:
    """Raise `UserError` where runs cannot be made on so many devices, whatever the variant."""
    if not dist.is_available():
        raise UserError(f"--devices {devices}: this build of PyTorch knows no processes that work together")
    group_of(resolve_device(device), devices)
    if batch % devices:
        raise UserError(f"--batch {batch} cannot be shared out equally among {devices} devices: give a multiple")
    if compiled:
        raise UserError(f"--compile is for one device, not for --devices {devices}: leave one of them out")


@contextmanager
def _by_loopback() -> Iterator[None]:
    """Let gloo talk over the machine's own interface: a host's name may stand for one that leads nowhere."""
    name, before = LOOPBACK.get(sys.platform), os.environ.get("GLOO_SOCKET_IFNAME")
    if name is None or before is not None:
        yield
        return
    os.environ["GLOO_SOCKET_IFNAME"] = name
    try:
        yield
    finally:
        del os.environ["GLOO_SOCKET_IFNAME"]
