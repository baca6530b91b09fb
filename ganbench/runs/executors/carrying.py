"""Carrying what comes of a run to a folder of results that is not seen where it is made, and there what lies in it.

What is carried are files of a run by name, and the end of its news. Nothing of it is believed: a name that is none of
those here is refused, and what it holds is looked at as `ganbench results merge` does.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from ganbench.contract.executors import Depot
from ganbench.errors import DiskError, UserError, quoted
from ganbench.files import write_atomically
from ganbench.results.record import RunSpec
from ganbench.results.store import ResultStore, kept_by_executors
from ganbench.results.upkeep import PASSING, bring_on
from ganbench.runs.executors.news import append, whole_lines

LOOK_SECONDS = 1.0
"""How often it is looked whether a run has kept or told anything."""
RECORD, TRACES, PICTURES, WORK, NEWS = "record", "traces", "picture/", "work/", "news"
_NAME = re.compile(r"[^./\\\0][^/\\\0]*")
_NOT_CARRIED = (*PASSING, "checkpoint-")
"""Of checkpoints the newest is: it is whole, and takes the place of the one before only once it was checked."""


def places(store: ResultStore, spec: RunSpec) -> dict[str, Path]:
    """Return where the files of a run lie that can be carried, by name, its record as first."""
    found = {RECORD: store.path(spec), TRACES: store.traces_path(spec)}
    folders = {PICTURES: store.samples(spec), WORK: store.work(spec)}
    for prefix, folder in folders.items():
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if _is_carried(path.name) and path.is_file():
                found[prefix + path.name] = path
    return found


def _is_carried(name: str) -> bool:
    wanted = not name.startswith(_NOT_CARRIED) and not name.endswith((".part", ".damaged"))
    return wanted and bool(_NAME.fullmatch(name))


def _put(store: ResultStore, spec: RunSpec, files: Mapping[str, bytes]) -> None:
    """Write files of a run where they belong. Raises `UserError` for a name that none has."""
    for name, content in files.items():
        prefix, slash, rest = name.partition("/")
        folders = {PICTURES: store.samples(spec), WORK: store.work(spec)}
        path = {RECORD: store.path(spec), TRACES: store.traces_path(spec)}.get(name)
        if path is None and prefix + slash in folders and _is_carried(rest):
            path = folders[prefix + slash] / rest
        if path is None:
            raise UserError(f"it holds {quoted(name)}, which no run keeps")
        write_atomically(path, lambda file, content=content: file.write(content), lasting=False)  # type: ignore[misc]


class RunDepot(Depot):
    """See `Depot`. `news`: the file that the news of the run are told in. Its calls may come from several threads."""

    def __init__(self, store: ResultStore, spec: RunSpec, news: Path) -> None:
        self._store, self._spec, self._news = store, spec, news
        self._maker, self._lease, self._one = "", ExitStack(), threading.Lock()

    def lend(self, maker: str) -> Mapping[str, bytes] | None:
        """See `Depot.lend`."""
        import ganbench.runs.checkpoint  # noqa: F401  # takes seconds, which the first news would wait for

        with self._one:
            if not self._maker and not self._leased():
                return None
            self._maker = maker
            found = places(self._store, self._spec)
            try:
                return {
                    name: path.read_bytes() for name, path in found.items() if path.exists() and PICTURES not in name
                }
            except OSError as error:
                raise DiskError(f"cannot read {error.filename}: {error.strerror or error}") from error

    def take(self, maker: str, files: Mapping[str, bytes]) -> bool:
        """See `Depot.take`."""
        with self._one:
            if not maker or maker != self._maker:
                return False
            news, files = files.get(NEWS, b""), {name: file for name, file in files.items() if name != NEWS}
            if files:
                self._bring(files)
            if news:  # last: what is told is kept already
                append(self._news, news)
            return True

    def close(self, maker: str = "") -> None:
        """See `Depot.close`."""
        with self._one:
            if maker in ("", self._maker):
                self._maker = ""
                self._lease.close()

    def _leased(self) -> bool:
        self._lease.close()
        if not self._lease.enter_context(self._store.lock(self._spec, blocking=False, lost=self._lost)):
            self._lease.close()
            return False
        self._store.adopt(self._spec)
        return True

    def _lost(self) -> None:
        self._maker = ""  # another command took the run over, while this machine stood still

    def _bring(self, files: Mapping[str, bytes]) -> None:
        from ganbench.runs.checkpoint import fault  # which imports torch, as whoever has an order need not

        with _scratch(kept_by_executors(self._store.root)) as folder:
            source = ResultStore(folder)
            try:
                _put(source, self._spec, files)
                wrong = bring_on(self._store, source, self._spec, fault)
            except DiskError:
                raise
            except UserError as error:
                wrong = [str(error)]
            if wrong:
                what = "; ".join(wrong).replace(f"{folder}{os.sep}", "")
                raise UserError(f"what came of the run where it was made cannot be kept: {what}")


def carried(
    spec: RunSpec,
    news: Path,
    depot: Depot,
    make: Callable[[Path, Callable[[], bool]], bool],
    stopping: Callable[[], bool],
) -> bool:
    """Make a run in a folder of results of its own, from what a depot has of it, and take there what comes of it.

    `news`: the file of its news where the depot is; `make`: makes it, in the folder, until a function says to stop;
    returns what that returns. Raises what the depot raises, once the run has been stopped.
    """
    maker = secrets.token_hex(8)
    while (lent := depot.lend(maker)) is None:
        if stopping():
            return False
        time.sleep(LOOK_SECONDS)  # another command makes it
    with _scratch(None) as folder:
        store = ResultStore(folder)
        _put(store, spec, lent)
        names = {str(folder): str(news.parents[2])}  # a record names files of its run as they will be found
        carrier = _Carrier(_Bundle(store, spec, news.name, names), lambda files: depot.take(maker, files))
        try:
            ended = make(folder, lambda: stopping() or carrier.is_refused)
        finally:
            carrier.finish()
    depot.close(maker)
    return ended


class _Bundle:
    """The files of a run, of which only what has changed is carried, and its news. What there is now is known.

    `names`: what in record and news is to be replaced, and by what.
    """

    def __init__(self, store: ResultStore, spec: RunSpec, news: str, names: Mapping[str, str]) -> None:
        self._store, self._spec, self._news, self._told = store, spec, store.work(spec) / news, 0
        self._names = {json.dumps(old)[1:-1].encode(): json.dumps(new)[1:-1].encode() for old, new in names.items()}
        self._known = {name: mark for name, path in places(store, spec).items() if (mark := _mark(path))}

    def fresh(self) -> dict[str, bytes]:
        """Return what has changed since this was last asked. With any file go record and traces."""
        news = self._fresh_news()  # first: what it tells of is kept already
        paths = places(self._store, self._spec)
        marks = {name: mark for name, path in paths.items() if (mark := _mark(path))}
        changed = [name for name, mark in marks.items() if self._known.get(name) != mark]
        found: dict[str, bytes] = {}
        for name in dict.fromkeys([RECORD, TRACES, *changed]) if changed and RECORD in marks else ():
            with suppress(FileNotFoundError):  # replaced at this moment: it comes the next time
                found[name] = paths[name].read_bytes()
                self._known[name] = marks.get(name, (0, 0, 0))
        found |= {NEWS: news} if news else {}
        return {name: self._renamed(file) if name in (RECORD, NEWS) else file for name, file in found.items()}

    def _renamed(self, text: bytes) -> bytes:
        for old, new in self._names.items():
            text = text.replace(old, new)
        return text

    def _fresh_news(self) -> bytes:
        whole = whole_lines(self._news, self._told)
        self._told += len(whole)
        return whole


class _Carrier:
    """A thread that takes what is fresh of a bundle to a depot. `is_refused`: nobody wants more of it."""

    def __init__(self, bundle: _Bundle, take: Callable[[Mapping[str, bytes]], bool]) -> None:
        self.is_refused = False
        self._bundle, self._take = bundle, take
        self._over, self._error = threading.Event(), None  # type: tuple[threading.Event, BaseException | None]
        self._thread = threading.Thread(target=self._run, name="carrier", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Take what is left. Raises what went wrong on the way."""
        self._over.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        over = False
        try:
            while not over and not self.is_refused:
                over = self._over.wait(LOOK_SECONDS)
                if files := self._bundle.fresh():
                    self.is_refused = not self._take(files)
        except BaseException as error:  # whatever an engine raises that carries it
            self._error, self.is_refused = error, True


def _mark(path: Path) -> tuple[int, int, int] | None:
    """Return what another content of a file would have otherwise; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@contextmanager
def _scratch(parent: Path | None) -> Iterator[Path]:
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        folder = TemporaryDirectory(prefix="ganbench-carried-", dir=parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise DiskError(f"cannot make a folder for what is carried: {error.strerror or error}") from error
    with folder as name:
        yield Path(name)
