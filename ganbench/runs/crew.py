"""A run on several devices: its process is the first rank and starts the others, which train and do nothing else.

The first rank scores, keeps checkpoints and records, and says when the others go on; they say why they end.
"""

from __future__ import annotations

import io
import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import torch

from ganbench.contract.data import ImageSet
from ganbench.contract.variant import Variant
from ganbench.errors import named
from ganbench.files import settle_cache
from ganbench.results.record import Status
from ganbench.runs.executors.child import Child, leave, ready, settle_in, start
from ganbench.runs.executors.starting import Home, require_same_modules
from ganbench.runs.job import Job
from ganbench.runs.opening import open_bench, open_dataset
from ganbench.runs.options import resolve
from ganbench.runs.registry import discover
from ganbench.training.connecting import Parted, connect, group_of, open_meeting, part
from ganbench.training.devices import make_repeatable, resolve_device
from ganbench.training.ranks import SINGLE, Ranks
from ganbench.training.trainer import Trainer

READY = "ready"
LOOK_SECONDS = 0.5
LAST_WORD_SECONDS = 5.0
"""How long a rank that is gone may take to say why."""


class Lost(Exception):
    """Another rank of the run has ended. `status`: of the run then, `killed` where its process had no last word."""

    def __init__(self, told: str, status: Status) -> None:
        super().__init__(told)
        self.status = status


@dataclass
class _Helper(Child):
    """The process of a further rank, and the connection by which it is told what to do."""

    device: torch.device
    orders: Connection


class _First(Ranks):
    """The ranks as the first sees them."""

    def __init__(self, helpers: list[_Helper], size: int) -> None:
        super().__init__(0, size)
        self._helpers = helpers

    def announce(self, until: float) -> None:
        self.tell("train", until)

    def agree(self, number: int) -> int:
        self.tell("steps", number)
        return number

    def tell(self, order: str, content: Any) -> None:
        """Tell every other rank."""
        try:
            for helper in self._helpers:
                helper.orders.send((order, content))
        except OSError as error:
            raise Parted(f"a rank does not listen: {error}") from error


class _Further(Ranks):
    """The ranks as another than the first sees them."""

    def __init__(self, rank: int, size: int, orders: Connection) -> None:
        super().__init__(rank, size)
        self._orders = orders

    def agree(self, number: int) -> int:
        order, content = self._orders.recv()
        assert order == "steps", order
        return int(content)


class Crew:
    """The ranks of one run. `ranks`: what its trainer needs; with one device there are no others."""

    def __init__(self, job: Job, threads: int) -> None:
        self._job, self._threads = job, share_of(threads, job.devices)
        self._devices = group_of(resolve_device(job.device), job.devices)
        self._helpers: list[_Helper] = []
        self.ranks: Ranks = _First(self._helpers, job.devices) if job.devices > 1 else SINGLE
        self._place: Any = None
        self._lost: Lost | None = None
        self._closed = threading.Event()

    def start(self) -> None:
        """Start the other ranks, which load what they need meanwhile."""
        if self.ranks.size == 1 or self._helpers:
            return
        self._place = open_meeting(self.ranks.size)
        for rank, device in enumerate(self._devices[1:], 1):
            theirs, orders = Pipe(duplex=False)
            printed = Connection(os.dup(2), readable=False) if os.name == "posix" else None
            leader = os.getpgrp() if hasattr(os, "getpgrp") else 0
            place = _Place(rank, str(device), self._threads, self._place.port, leader)
            child = start(follow, self._job, place, theirs, printed)
            theirs.close()
            if printed is not None:
                printed.close()
            self._helpers.append(_Helper(child.process, child.connection, device, orders))

    def connect(self, state: Mapping[str, Any] | None) -> None:
        """Wait until all ranks are there, and let them begin, or continue from the state of a trainer."""
        if self._place is None:
            return
        waiting = list(self._helpers)
        while waiting:
            for helper in ready(waiting, LOOK_SECONDS):
                if (said := _heard(helper)) != READY:
                    raise _lost(helper, said)
                waiting.remove(helper)
        assert isinstance(self.ranks, _First)
        self.ranks.tell("join", None)
        self.ranks.group = connect(self._place, 0, self.ranks.size, self._devices[0])
        if state is not None:
            file = io.BytesIO()
            torch.save(dict(state), file)
            self.ranks.tell("load", file.getvalue())
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Raise `Lost` where the block fails because another rank has ended; end the others with the block."""
        try:
            yield
        except Exception as error:
            if not self._is_of_others(error):
                raise
            until = time.monotonic() + (LAST_WORD_SECONDS if isinstance(error, Parted) else 0)
            while self._helpers and self._lost is None and time.monotonic() < until:
                time.sleep(0.05)
            if self._lost is not None:
                raise self._lost from error
            raise
        finally:
            self.close()

    def _is_of_others(self, error: Exception) -> bool:
        """Whether an error may come of another rank's end; on a CUDA device any operation may tell of it."""
        on_cuda = self._devices[0].type == "cuda" and isinstance(error, RuntimeError)
        return self.ranks.size > 1 and (on_cuda or isinstance(error, Parted | OSError))

    def close(self) -> None:
        """End the other ranks."""
        self._closed.set()
        self.ranks.part()
        for helper in self._helpers:
            helper.orders.close()
            helper.kill()
            helper.connection.close()
        if self._place is not None:
            part(abort=self._lost is not None and self._devices[0].type == "cuda")
        self._helpers.clear()
        self._place = None

    def _watch(self) -> None:
        """Notice that a rank has ended, which a sum on a CUDA device would wait for without an end."""
        helpers = list(self._helpers)
        while not self._closed.is_set():
            with suppress(OSError, ValueError):  # closed at this moment
                for helper in ready(helpers, LOOK_SECONDS):
                    said = _heard(helper)
                    if self._closed.is_set():
                        return
                    self._lost = _lost(helper, said)
                    if helper.device.type == "cuda":
                        part(abort=True)
                    return


def _heard(helper: _Helper) -> str:
    """Return what a rank says, nothing where it has ended without a word."""
    try:
        return str(helper.connection.recv())
    except (EOFError, OSError):
        return ""


def _lost(helper: _Helper, said: str) -> Lost:
    where = f"on another of its devices, {helper.device}"
    if said:
        return Lost(f"{where}: {said}", "error")
    helper.process.join(LAST_WORD_SECONDS)
    return Lost(f"{where}: {helper.cause}", "killed")


def share_of(threads: int, devices: int) -> int:
    """Return how many of a run's threads each of its ranks has."""
    return max(1, threads // devices)


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
        half_life=job.half_life,
        ranks=ranks,
    )


@dataclass(frozen=True)
class _Place:
    """A further rank's place: its device and threads, the port where ranks meet, the process group of the first."""

    rank: int
    device: str
    threads: int
    port: int
    leader: int


def follow(
    job: Job, place: _Place, orders: Connection, output: Connection | None, connection: Connection, home: Home
) -> None:
    """Be a further rank in this process, until the first needs it no more."""
    code = 1
    try:
        settle_in(home, signal.SIG_IGN, output)  # the first rank hears requests to stop
        if place.leader:
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


def _follow(job: Job, place: _Place, orders: Connection, connection: Connection, home: Home) -> None:
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
