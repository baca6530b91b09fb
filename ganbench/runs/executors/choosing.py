"""The executor that a command asks for, with its options, and what it is given to make. Imports no torch."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ganbench.contract.executors import Executor, News, Order, Terms
from ganbench.errors import UserError, brief, quoted
from ganbench.results.store import kept_by_executors
from ganbench.runs.blame import blaming
from ganbench.runs.executors.local import run_all
from ganbench.runs.executors.orders import RunOrder
from ganbench.runs.executors.worker import Event
from ganbench.runs.imported import LOAD_SECONDS, load, usable, within
from ganbench.runs.options import resolve
from ganbench.runs.registry import Entry

LOCAL = "local"


class Local(Executor):
    """Makes runs on this machine, a process each, side by side on each device as `--jobs` says."""

    name, summary = LOCAL, "processes of this machine"

    def __init__(self, devices: Sequence[str] = ()) -> None:
        self.devices = devices

    def execute(self, orders: Sequence[Order], terms: Terms) -> Generator[News, None, None]:
        """See `Executor.execute`."""
        given = [cast(RunOrder, order) for order in orders]
        if given:
            yield from run_all(
                [order.job for order in given],
                terms.results,
                parallel=terms.side_by_side,
                limits=given[0].limits,
                modules=given[0].modules,
                devices=self.devices,
            )


@dataclass(frozen=True)
class Chosen:
    """An executor as it was asked for. `entry`: of its plugin, None for the one of this machine."""

    executor: Executor
    config: Any = None
    entry: Entry | None = None

    @property
    def is_local(self) -> bool:
        """Whether runs are made by this command itself."""
        return self.entry is None

    def events(self, orders: Sequence[RunOrder], results: Path, side_by_side: int) -> Generator[Event]:
        """Have the orders made, and yield what happens; whichever the executor leaves without an end gets one."""
        open_orders = {order.run: order for order in orders}
        terms = Terms(results, side_by_side, kept_by_executors(results) / self.executor.name, self.config)
        with closing(self.executor.execute(orders, terms)) as heard:
            while (news := self._next(heard)) is not None:
                if news.ended:
                    open_orders.pop(news.run, None)
                yield news
        for order in open_orders.values():
            yield order.lost(f"the executor {self.executor.name!r} ended without news of it")

    def _next(self, heard: Generator[News]) -> Event | None:
        if self.entry is None:
            return cast("Event | None", next(heard, None))
        with self.entry.blamed(f"the executor {self.executor.name!r} failed"):
            news = next(heard, None)
        if news is not None and not isinstance(news, Event):
            raise UserError(f"the executor {self.executor.name!r} yields {brief(repr(news))}, which is no news")
        return news


def choose(name: str, texts: Sequence[str], files: Sequence[Path]) -> Chosen:
    """Return the executor of a name. `texts`: its options, `KEY=VALUE`; `files`: plugins that are single files.

    Raises `UserError` for a name that there is none of, a package that is missing, and an option that is wrong.
    """
    settings = _settings(name, texts)
    if name == LOCAL:
        local = Local()
        return Chosen(local, resolve(local, name, settings))
    return within(LOAD_SECONDS, "--executor", lambda: _chosen(name, settings, files))


def _chosen(name: str, settings: dict[str, str], files: Sequence[Path]) -> Chosen:
    entry = usable("executor", name, load("executor", [name], files), "--executor", more=(LOCAL,))
    executor: Executor = entry.item
    config = resolve(executor, name, settings)
    with blaming(f"{name} cannot look at its options", lambda: entry.files):
        try:
            executor.check(config)
        except UserError as error:
            raise UserError(f"--executor {name}: {error}") from None
    return Chosen(executor, config, entry)


def _settings(name: str, texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        key, is_set, value = text.partition("=")
        key = key.strip().removeprefix(f"{name}.").replace("-", "_")
        if not is_set or not key:
            raise UserError(f"--executor-set {quoted(text)}: write KEY=VALUE, for instance partition=gpu")
        found[key] = value.strip()
    return found
