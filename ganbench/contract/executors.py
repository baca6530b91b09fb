"""Executors: where the runs of a command are made, and the orders that they are given. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


class News(ABC):
    """What a run tells while it is made: its start, progress, scores, notes, its end. Passed on as it is."""

    @property
    @abstractmethod
    def run(self) -> str:
        """The id of the run."""

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether this is the last news of the run."""


class Depot(ABC):
    """Takes in, where the folder of results is, what comes of a run that is made where that folder is not seen.

    An engine carries its calls from one to the other; what is given and returned can be pickled, and is bytes by name.
    """

    @abstractmethod
    def lend(self, maker: str) -> Mapping[str, bytes] | None:
        """Return what there is of the run, for `maker` to go on from, or None while another command makes it.

        From then on nobody else makes it, and no earlier maker is heard any more.
        """

    @abstractmethod
    def take(self, maker: str, files: Mapping[str, bytes]) -> bool:
        """Check and keep what has come of the run since; return False where it is no longer this maker's.

        Raises `UserError` for what is damaged, of which nothing is kept.
        """

    @abstractmethod
    def close(self, maker: str = "") -> None:
        """Let others make the run, where `maker` makes it, or whoever does."""


class Order(ABC):
    """One run to be made: a value that can be pickled, and made on any machine that sees the folder of results.

    The machine has the same ganbench; plugins that are files travel with the order. Data, weights and results lie at
    the same paths there; only for the results there is a way round, `depot`.
    """

    @property
    @abstractmethod
    def run(self) -> str:
        """The id of the run: the same whenever it is continued."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call it, for people; not unique."""

    @property
    @abstractmethod
    def distributions(self) -> Collection[str]:
        """The names of the installed distributions whose code the run executes; see `installed`."""

    @abstractmethod
    def make(
        self,
        *,
        threads: int = 0,
        at_once: int = 1,
        stopping: Callable[[], bool] = lambda: False,
        depot: Depot | None = None,
    ) -> bool:
        """Make the run on this machine, in a process of its own, from its last checkpoint where there is one.

        What happens is told in the folder of results, where `news` finds it. Whatever goes wrong in the run is its end,
        and told; nothing of it is raised. While another process makes the run, on whatever machine, this waits.

        `threads`: that it computes with, 0 for all cores that this process may use; `at_once`: how many runs share its
        device; `stopping`: asked twice a second, whether it is to keep a checkpoint and end. Whatever is raised in the
        thread that calls it stops the run as well, which may take a minute. Returns whether the run has ended.

        `depot`: where this machine does not see the folder of results, what takes to it, within seconds, all that the
        run keeps and tells; several threads ask it. Raises what the depot raises, once the run has been stopped.
        """

    @abstractmethod
    def depot(self) -> Depot:
        """Return what takes in what comes of the run, on a machine that sees the folder of results."""

    @abstractmethod
    def news(self) -> Sequence[News]:
        """Return what the run has told since this was last asked, wherever it is made, in order. Cheap; never waits."""

    @abstractmethod
    def note(self, text: str) -> News:
        """Return the news that something is to be said of the run, shown to whoever gave the command."""

    @abstractmethod
    def lost(self, why: str) -> News:
        """Record that the run has ended without news of it, because its machine or job has; return its last news.

        Given again, the command continues it from its checkpoint.
        """


@dataclass(frozen=True)
class Terms:
    """How orders are to be made. `results`: the folder; `side_by_side`: the most at once, 0 if that was not said.

    `folder`: in it, for what the executor itself needs to keep; it need not be there. `config`: its options, of the
    type of its `config`.
    """

    results: Path
    side_by_side: int
    folder: Path
    config: Any = None


class Executor(ABC):
    """Where runs are made, asked for by `--executor NAME`, with options by `--executor-set KEY=VALUE`.

    `config`: a frozen dataclass of its options with their defaults, if it has any. `needs`: modules that it imports
    when it is used; `install`: what brings them. It lives in the process of the command: its own module imports neither
    these nor torch, since the command waits for it.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    needs: ClassVar[Sequence[str]] = ()
    install: ClassVar[str] = ""
    config: Any = None

    def check(self, config: Any) -> None:
        """Raise `UserError` where its options cannot be: asked before anything is planned."""
        return

    @abstractmethod
    def execute(self, orders: Sequence[Order], terms: Terms) -> Generator[News, None, None]:
        """Have the orders made, and yield all their news as it comes; end when each has ended.

        Each order ends with one news that says so: its own, or that which `lost` returns. Closing the generator, or
        `KeyboardInterrupt` in it, asks those that are being made to stop and waits until they have kept what they have.
        """
