"""Runs as tasks of Ray, on one machine or on all of a cluster."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ganbench import Depot, Executor, News, Order, Terms, UserError, follow, hookimpl, installed, told_apart

SAVING_SECONDS = 90.0
"""How long runs that are asked to stop may take to keep a checkpoint, and to have it carried back."""
NODE_SECONDS = 120.0
"""How long a node may take to say what it has installed: the first answer takes a new process there."""
LOOK_SECONDS = 0.5
"""How often Ray is asked which tasks have ended."""
ASK_SECONDS = 1.0
"""How often a run asks whether it is to stop."""
NODE = "ray.io/node-id"
"""The label that Ray gives each node."""
REACH_SECONDS = 10.0
"""How long a cluster may take to answer: Ray itself would go on trying for many minutes."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
"""Variables by which a Ray tells nobody of itself, and starts the Python that it is told to."""


@dataclass(frozen=True)
class Config:
    """Options of the tasks.

    address: of a cluster, `host:port` or `auto`; empty for that of `RAY_ADDRESS`, or one that is started here.
    gpus_per_run: 0.25 lets four runs share a GPU, 0 leaves runs to the CPU.
    cpus_per_run: with which a run computes.
    memory_per_run: in GB that a run is taken to need; no node is given more runs than fit, 0 for any number.
    retries: how often a run whose node or process is lost goes on elsewhere, from its checkpoint.
    shared: whether nodes see the folder of results; `auto` looks, and where one does not, what comes is carried back.
    """

    address: str = ""
    gpus_per_run: float = 0.0
    cpus_per_run: int = 1
    memory_per_run: float = 0.0
    retries: int = 3
    shared: Literal["auto", "yes", "no"] = "auto"

    @property
    def demand(self) -> dict[str, float]:
        """What a run takes of a node, as Ray calls it."""
        asked = {"CPU": self.cpus_per_run, "GPU": self.gpus_per_run, "memory": int(self.memory_per_run * 2**30)}
        return {name: amount for name, amount in asked.items() if amount}


class Ray(Executor):
    """Makes runs as tasks of Ray: as many at a time as the CPUs, GPUs and memory of its nodes allow, or `--jobs`.

    All nodes must have the same ganbench and plugins, which is looked at before any run. Where a node is lost, its runs
    go on elsewhere. Where it does not see the folder of results, what its runs keep is carried back as it comes. Data
    and `--weights` must lie at the same paths everywhere. Whoever may reach the ports of a Ray may run code on it.
    """

    name = "ray"
    summary = "tasks of Ray, on this machine or a cluster"
    needs = ("ray",)
    install = "ganbench[ray]"
    config: Config = Config()

    def check(self, config: Config) -> None:
        """See `Executor.check`."""
        if config.cpus_per_run < 1:
            raise UserError(f"cpus_per_run={config.cpus_per_run}: must be 1 at least")
        for name in ("gpus_per_run", "memory_per_run", "retries"):
            if not 0 <= getattr(config, name) < float("inf"):
                raise UserError(f"{name}={getattr(config, name):g}: must not be negative")
        if config.gpus_per_run > 1 and config.gpus_per_run % 1:
            raise UserError(f"gpus_per_run={config.gpus_per_run:g}: must be a whole number, or a part of one GPU")
        if config.address.startswith("ray://"):
            raise UserError(
                f"address={config.address}: give the command on a machine of the cluster, with address=auto"
            )

    def execute(self, orders: Sequence[Order], terms: Terms) -> Generator[News, None, None]:
        """See `Executor.execute`."""
        if not orders:
            return
        terms.folder.mkdir(parents=True, exist_ok=True)
        with _connected(terms.config.address, terms.folder) as is_ours, _token(terms) as seat:
            tasks = _Tasks(orders, terms, seat)
            for note in tasks.look(is_ours=is_ours):
                yield orders[0].note(note)
            try:
                yield from follow(orders, tasks.fate, tasks.notes)
            finally:
                tasks.stop()


# On a node


@dataclass(frozen=True)
class Seat:
    """How runs are made on a node. `here`: what the machine of the command has installed, of `distributions`.

    `results`: the folder; `token`: a file in it, and `secret` what stands in that. `most`: of runs at a time on all
    nodes together, 0 for any number.
    """

    config: Config
    results: Path
    distributions: Collection[str]
    here: Mapping[str, str]
    token: Path
    secret: str
    most: int = 0

    def told_apart(self) -> str:
        """Say what is installed on this node that is not so on the machine of the command, or nothing."""
        return told_apart(installed(self.distributions), self.here)

    def is_shared(self) -> bool:
        """Whether this node sees the folder of results."""
        try:
            return self.config.shared != "no" and self.token.read_text(encoding="ascii") == self.secret
        except OSError:
            return False

    def at_once(self, room: Mapping[str, float]) -> int:
        """Return how many runs may share a device of a node that has so much of all that runs take."""
        demand = self.config.demand
        room = {**room, "GPU": 1.0} if "GPU" in demand else room
        most = min(int(room.get(name, 0) / amount + 1e-9) for name, amount in demand.items())
        return max(1, min(most, self.most or most))


@dataclass(frozen=True)
class Unfit:
    """Why no run can be made on a node; what a task returns in place of a run."""

    node: str
    why: str


def look(seat: Seat) -> tuple[str, bool]:
    """Say of a node what it has not as the machine of the command has, and whether it sees the folder of results."""
    return seat.told_apart(), seat.is_shared()


def make(order: Order, seat: Seat, desk: Any) -> Unfit | None:
    """Make a run on this node: the task. It may have been tried on another before."""
    node = _node_id()
    if why := seat.told_apart():
        return Unfit(node, f"{_here()} {why}")
    shared = seat.is_shared()
    if not shared and seat.config.shared == "yes":
        return Unfit(node, f"{_here()} does not see the folder of results, {seat.results}")
    if not seat.config.gpus_per_run:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves a task that asked for no GPU all of them
    with _Line(desk) as line:
        if line.ask("begin", order.run, node):
            depot = None if shared else _Far(line, order)
            at_once = seat.at_once(_room_of(node))
            order.make(threads=seat.config.cpus_per_run, at_once=at_once, stopping=line.is_over, depot=depot)
    return None


class _Line:
    """Asks the desk. By a thread, since Ray takes a task that waits for one that needs no CPU, and starts another."""

    def __init__(self, desk: Any) -> None:
        self._desk, self._over = desk, threading.Event()
        self._asking = ThreadPoolExecutor(1)
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def ask(self, what: str, *arguments: Any) -> Any:
        """Return what the desk answers."""
        return self._asking.submit(self._ask, what, *arguments).result()

    def is_over(self) -> bool:
        """Whether runs are to stop: the command says so, or is gone."""
        return self._over.is_set()

    def __enter__(self) -> _Line:
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._asking.shutdown(wait=False)

    def _listen(self) -> None:
        try:
            while not self._over.wait(ASK_SECONDS) and not self._ask("is_over"):
                pass
        finally:  # also where nobody answers any more
            self._over.set()

    def _ask(self, what: str, *arguments: Any) -> Any:
        import ray

        try:
            return ray.get(getattr(self._desk, what).remote(*arguments))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None


class _Far(Depot):
    """The depot of an order, which is at the desk."""

    def __init__(self, line: _Line, order: Order) -> None:
        self._line, self._order = line, order

    def lend(self, maker: str) -> Mapping[str, bytes] | None:
        found: Mapping[str, bytes] | None = self._line.ask("lend", self._order, maker)
        return found

    def take(self, maker: str, files: Mapping[str, bytes]) -> bool:
        return bool(self._line.ask("take", self._order.run, maker, files))

    def close(self, maker: str = "") -> None:
        self._line.ask("close", self._order.run, maker)


def _room_of(node_id: str) -> dict[str, float]:
    import ray

    return next((node["Resources"] for node in ray.nodes() if node["NodeID"] == node_id), {})


def _here() -> str:
    import ray

    return f"node {ray.util.get_node_ip_address()} ({socket.gethostname()})"


def _node_id() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


# On the machine of the command


class Desk:
    """An actor beside the command, of the same lifetime, whom runs ask, and which takes in what they carry back."""

    def __init__(self) -> None:
        self._begun: dict[str, list[str]] = {}
        self._depots: dict[str, Depot] = {}
        self._over, self._one = False, threading.Lock()

    def begin(self, run: str, node: str) -> bool:
        """Note on which node a run is made now; return whether it is to be made at all."""
        with self._one:
            if not self._over:
                self._begun.setdefault(run, []).append(node)
            return not self._over

    def moved(self) -> dict[str, list[str]]:
        """Return of runs that were begun several times on which nodes, one after the other."""
        with self._one:
            return {run: list(nodes) for run, nodes in self._begun.items() if len(nodes) > 1}

    def is_over(self) -> bool:
        """Whether all runs are to stop."""
        return self._over

    def stop(self) -> list[str]:
        """Let all runs stop, and none begin; return those that have begun."""
        with self._one:
            self._over = True
            return list(self._begun)

    def lend(self, order: Order, maker: str) -> Mapping[str, bytes] | None:
        """See `Depot.lend`."""
        with self._one:
            depot = self._depots.setdefault(order.run, order.depot())
        return depot.lend(maker)

    def take(self, run: str, maker: str, files: Mapping[str, bytes]) -> bool:
        """See `Depot.take`."""
        return self._depots[run].take(maker, files)

    def close(self, run: str, maker: str = "") -> None:
        """See `Depot.close`."""
        if (depot := self._depots.get(run)) is not None:
            depot.close(maker)


class _Tasks:
    """The tasks of orders, of which there are as many at a time as was asked for."""

    def __init__(self, orders: Sequence[Order], terms: Terms, seat: Callable[[Collection[str]], Seat]) -> None:
        import ray

        distributions = frozenset[str]().union(*(order.distributions for order in orders))
        self._config: Config = terms.config
        self._orders, self._seat = orders, seat(distributions)
        self._most = terms.side_by_side or len(orders)
        self._refs: dict[str, Any] = {}
        self._over: dict[str, str] = {}
        self._unfit: dict[str, str] = {}
        self._notes: list[str] = []
        self._moved: dict[str, int] = {}
        self._looked = self._asked = 0.0
        here = _pinned(_node_id())
        self._desk = ray.remote(Desk).options(num_cpus=0, max_concurrency=16, scheduling_strategy=here).remote()

    def look(self, *, is_ours: bool) -> list[str]:
        """Ask each node whether runs can be made there, and return what is to be said. Raises `UserError` if not."""
        import ray

        nodes = sorted((node for node in ray.nodes() if node["Alive"]), key=_name_of)
        on = [{"num_cpus": 0, "max_retries": 1, "scheduling_strategy": _pinned(node["NodeID"])} for node in nodes]
        asked = [ray.remote(look).options(**options).remote(self._seat) for options in on]
        faults, blind = list[str](), list[str]()
        for node, ref in zip(nodes, asked, strict=True):
            name = _name_of(node)
            try:
                why, sees = ray.get(ref, timeout=NODE_SECONDS)
            except Exception as error:  # it fails in many ways where ganbench is missing or another
                why, sees = f"cannot say what it has installed: {_brief(error)}", True
            faults += [f"{name} {why}"] if why else []
            blind += [] if sees else [name]
        if faults:
            raise UserError(f"--executor ray: {'; '.join(faults)}: install the same there")
        if blind and self._config.shared == "yes":
            raise UserError(f"--executor ray: {self._said_of_blind(blind)}: mount it there, or leave out shared=yes")
        told = _said_of_room(self._config, nodes, is_ours=is_ours)
        if blind and self._config.shared == "auto":
            told.append(f"{self._said_of_blind(blind)}: what comes of runs there is carried back")
        return told

    def fate(self, order: Order) -> str | None:
        """See `follow`."""
        self._refresh()
        if order.run not in self._refs and len(self._refs) - len(self._over) < self._most:
            self._submit(order)
        return self._over.get(order.run)

    def notes(self) -> Iterator[News]:
        """Yield what is to be said of runs that went on elsewhere, and of nodes."""
        import ray

        if time.monotonic() - self._asked > LOOK_SECONDS:
            self._asked, moved = time.monotonic(), ray.get(self._desk.moved.remote())
            for order in self._orders if moved else ():
                nodes = moved.get(order.run, [])
                if len(nodes) > self._moved.get(order.run, 1):
                    self._moved[order.run] = len(nodes)
                    yield order.note(f"lost with its process on {_named(nodes[-2])}, it goes on on {_named(nodes[-1])}")
        while self._notes:
            yield self._orders[0].note(self._notes.pop(0))

    def stop(self) -> None:
        """Ask the runs that are being made to keep what they have, and wait until they have."""
        import ray

        left = {run: ref for run, ref in self._refs.items() if run not in self._over}
        if not left:
            return
        begun = ray.get(self._desk.stop.remote(), timeout=SAVING_SECONDS)
        for run, ref in left.items():
            if run not in begun:
                ray.cancel(ref)
        ray.wait(list(left.values()), num_returns=len(left), timeout=SAVING_SECONDS)

    def _submit(self, order: Order) -> None:
        import ray

        demand = {f"num_{name.lower()}s": self._config.demand.get(name, 0) for name in ("CPU", "GPU")}
        if memory := self._config.demand.get("memory"):
            demand["memory"] = memory
        fit = {"label_selector": {NODE: f"!in({','.join(self._unfit)})"}} if self._unfit else {}
        task = ray.remote(make).options(max_retries=self._config.retries, name=order.name, **demand, **fit)
        self._refs[order.run] = task.remote(order, self._seat, self._desk)

    def _refresh(self) -> None:
        """Learn which tasks have ended, and how."""
        import ray

        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        left = {ref: run for run, ref in self._refs.items() if run not in self._over}
        ended, _ = ray.wait(list(left), num_returns=len(left), timeout=0) if left else ([], [])
        for ref in ended:
            run = left[ref]
            try:
                unfit = ray.get(ref)
            except Exception as error:  # Ray's own, and what a run's machine raised
                self._end(run, f"its task of Ray failed: {_brief(error)}")
                continue
            if unfit is None:
                self._end(run, "its task of Ray ended")
            else:  # a node that joined later
                del self._refs[run]
                if unfit.node not in self._unfit:
                    self._unfit[unfit.node] = unfit.why
                    self._notes.append(f"no runs are made on {unfit.why}")

    def _end(self, run: str, how: str) -> None:
        import ray

        ray.get(self._desk.close.remote(run))  # where its node is lost, so that its end can be recorded
        self._over[run] = how

    def _said_of_blind(self, blind: Sequence[str]) -> str:
        names = ", ".join(blind[:3]) + (f" and {len(blind) - 3} others" if len(blind) > 3 else "")
        return f"{names} {'does' if len(blind) == 1 else 'do'} not see the folder of results, {self._seat.results}"


def _said_of_room(config: Config, nodes: Sequence[Mapping[str, Any]], *, is_ours: bool) -> list[str]:
    """Say that no node has what a run takes. Raises `UserError` where none will ever have."""
    room = [{name: node["Resources"].get(name, 0) for name in config.demand} for node in nodes]
    if any(all(found[name] >= amount for name, amount in config.demand.items()) for found in room):
        return []
    asked = ", ".join(_amount(name, amount) for name, amount in config.demand.items())
    most = ", ".join(_amount(name, max((found[name] for found in room), default=0)) for name in config.demand)
    said = f"no node has what a run takes ({asked}); the most that any has: {most}"
    if is_ours:
        raise UserError(f"--executor ray: {said}")
    return [f"{said}; runs wait for one that has"]


def _amount(name: str, amount: float) -> str:
    return f"{amount / 2**30:.3g} GB of memory" if name == "memory" else f"{amount:g} {name}"


@contextlib.contextmanager
def _connected(address: str, folder: Path) -> Iterator[bool]:
    """Connect to a cluster, or start one for the block; tell whether that was done. Raises `UserError`."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():  # of a program that has called ganbench
        yield False
        return
    address = address or os.environ.get("RAY_ADDRESS", "") or "local"
    ours: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    heard = signal.getsignal(signal.SIGTERM)
    try:
        _require_somebody(address)
        with contextlib.chdir(folder):  # all processes of Ray import from the current folder before any other
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **ours)
        _hush()
    except Exception as error:  # it refuses in many ways
        where = "start a Ray on this machine" if ours else f"reach the Ray at {address}"
        raise UserError(f"--executor ray: cannot {where}: {_brief(error)}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, heard)  # Ray has put its own in the place of the command's
    try:
        yield bool(ours)
    finally:
        ray.shutdown()


def _hush() -> None:
    """Let Ray not print what befalls its nodes to standard output, which it does whatever it is told."""
    worker: Any = importlib.import_module("ray._private.worker")
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *_, **__: None


def _require_somebody(address: str) -> None:
    """Raise `OSError` where nobody listens at an address."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()


@contextlib.contextmanager
def _token(terms: Terms) -> Iterator[Callable[[Collection[str]], Seat]]:
    """Leave a file in the folder of results for the block, by which nodes know whether they see that."""
    secret = secrets.token_hex(16)
    token = terms.folder / f"token-{secret[:8]}"
    token.write_text(secret, encoding="ascii")
    try:
        yield lambda names: Seat(
            terms.config, terms.results, names, installed(names), token, secret, terms.side_by_side
        )
    finally:
        token.unlink(missing_ok=True)


def _pinned(node: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)


def _name_of(node: Mapping[str, Any]) -> str:
    return f"node {node['NodeManagerAddress']} ({node['NodeManagerHostname']})"


def _named(node_id: str) -> str:
    import ray

    return next((_name_of(node) for node in ray.nodes() if node["NodeID"] == node_id), f"node {node_id[:8]}")


def _brief(error: Exception) -> str:
    """Return what an error says, of those that Ray wraps the one that was raised, on one line."""
    cause = getattr(error, "cause", None) or error
    said = str(cause) if isinstance(cause, UserError) else f"{type(cause).__name__}: {cause}"
    line = " ".join(said.split()).partition(" traceback: ")[0]
    return line if len(line) <= 300 else f"{line[:300]} [...]"


@hookimpl
def ganbench_executors() -> list[Executor]:
    return [Ray()]
