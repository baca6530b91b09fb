"""A further rank of a run on several devices: it trains beside the first, and does nothing else."""

from __future__ import annotations

import io
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from ganbench.contract.data import ImageSet
from ganbench.contract.variant import Variant
from ganbench.errors import named
from ganbench.files import settle_cache
from ganbench.runs.executors.child import leave, settle_in
from ganbench.runs.executors.starting import Home, require_same_modules
from ganbench.runs.job import Job
from ganbench.runs.opening import open_bench, open_dataset
from ganbench.runs.options import resolve
from ganbench.runs.registry import discover
from ganbench.training.capture import recorder_for
from ganbench.training.connecting import Parted, connect
from ganbench.training.devices import make_repeatable, resolve_device
from ganbench.training.ranks import Ranks
from ganbench.training.trainer import Trainer

READY = "ready"
"""What it says when it has loaded what it needs."""


def trainer_of(job: Job, variant: Variant, data: ImageSet, device: torch.device, ranks: Ranks) -> Trainer:
    """Make the trainer of a run, or of one of its ranks."""
    spec = job.spec
    return Trainer(
        variant,
        data,
        spec.budget,
        seed=spec.seed,
        batch=spec.batch,
        device=device,
        precision=spec.precision,
        compiled=spec.compiled,
        recorder=recorder_for(device) if job.graphs and job.devices == 1 else None,
        half_life=job.half_life,
        ranks=ranks,
    )


@dataclass(frozen=True)
class Place:
    """A further rank's place: its device and threads, the port where ranks meet, the process group of the first."""

    rank: int
    device: str
    threads: int
    port: int
    leader: int


class _Further(Ranks):
    """The ranks as another than the first sees them."""

    def __init__(self, rank: int, size: int, orders: Connection) -> None:
        super().__init__(rank, size)
        self._orders = orders

    def agree(self, number: int) -> int:
        order, content = self._orders.recv()
        assert order == "steps", order
        return int(content)


def follow(
    job: Job, place: Place, orders: Connection, output: Connection | None, connection: Connection, home: Home
) -> None:
    """Be a further rank in this process, until the first needs it no more."""
    code = 1
    try:
        settle_in(home, signal.SIG_IGN, output)  # the first rank hears requests to stop
        if place.leader:
            with suppress(OSError):
                os.setpgid(0, place.leader)  # to be counted, paused and ended with it
        _follow(job, place, orders, connection, home)
    except EOFError:  # the first has ended
        code = 0
    except BaseException as error:
        traceback.print_exc()
        if not isinstance(error, Parted):
            with suppress(OSError):
                connection.send(named(error) if isinstance(error, Exception) else type(error).__name__)
    finally:
        leave(code)


def _follow(job: Job, place: Place, orders: Connection, connection: Connection, home: Home) -> None:
    settle_cache()
    warnings.simplefilter("ignore")  # the first rank tells of them
    registry = discover(job.plugins, job.origins)
    require_same_modules(home.modules)
    device = resolve_device(place.device)
    make_repeatable(device, place.threads)
    dataset = open_dataset(job.dataset, registry, job.settings["dataset"])
    where: dict[str, Any] = {"root": job.data_root, "size": job.size}
    bench = open_bench(dataset, job.spec.backbone, registry, job.settings, **where)
    cls: type[Variant] = registry.get("variant", job.spec.variant).item
    variant = bench.build(cls, resolve(cls, cls.name, job.settings["variant"]), job.spec.seed)
    ranks = _Further(place.rank, job.devices, orders)
    trainer = trainer_of(job, variant, bench.data.train, device, ranks)
    connection.send(READY)
    todo: dict[str, Callable[[Any], object]] = {
        "join": lambda _: setattr(ranks, "group", connect(place.port, place.rank, job.devices, device)),
        "load": lambda state: trainer.load_state_dict(_loaded(state)),
        "train": lambda until: [None for _ in trainer.train(until)],
    }
    while True:
        order, content = orders.recv()
        todo[order](content)


def _loaded(content: bytes) -> Mapping[str, Any]:
    state: Mapping[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state
