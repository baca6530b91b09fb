"""Starting a process that is as this one: its import path, its modules, and signals that wait until they are heard."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path
from types import ModuleType

from ganbench.errors import UserError

STOPPING = {signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)}
"""Requests to stop."""
_LONGEST_FOLDER = 70
"""A socket's address holds about a hundred characters, of which its own name in the folder takes 32."""


@dataclass(frozen=True)
class Home:
    """What a run's process takes over from the command: its environment, and which file each module came from."""

    environment: Mapping[str, str]
    modules: Mapping[str, str]


def socket_folder() -> str | None:
    """Return the first folder for temporary files in which a socket can lie."""
    folders = ["/tmp", "/var/tmp", "/dev/shm"]
    with suppress(OSError):  # there may be no usable one at all
        folders.insert(0, tempfile.gettempdir())
    fits = (folder for folder in folders if len(os.fsencode(folder)) <= _LONGEST_FOLDER)
    return next((folder for folder in fits if Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)), None)


@contextmanager
def alike(modules: Mapping[str, str]) -> Iterator[Home]:
    """Let a Python that is started inside the block import from where this one does, and from nowhere else.

    Otherwise the current folder is in front of its import path, and a `random.py` there would be run. Requests to stop
    that come while it starts wait until it can hear them. Its sockets lie where their address is short enough.

    `modules`: files of modules that it must import as they are, beside those that this process has imported.
    """
    path = os.pathsep.join(dict.fromkeys(str(Path(entry).absolute()) for entry in sys.path))
    home = Home(dict(os.environ), {**modules, **origins()})
    folder, main = tempfile.tempdir, sys.modules["__main__"]
    blocked = None
    try:
        os.environ.update(PYTHONPATH=path, PYTHONSAFEPATH="1")
        ensure_running()  # started by itself, because it lets signals through in the end
        if hasattr(signal, "pthread_sigmask"):
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        tempfile.tempdir = socket_folder() or folder
        sys.modules["__main__"] = ModuleType("__main__")  # a run needs nothing of the script, which may have no guard
        yield home
    finally:
        sys.modules["__main__"] = main
        tempfile.tempdir = folder
        restore(home.environment)
        if blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def restore(environment: Mapping[str, str]) -> None:
    """Set the variables of the environment to what they were, and no others."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def origins() -> dict[str, str]:
    """Return the file of every package and module at the top of the import path that has been imported."""
    found = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items()) if "." not in name}
    return {name: os.path.realpath(file) for name, file in found.items() if file and not name.endswith("main__")}


def require_same_modules(theirs: Mapping[str, str]) -> None:
    """Raise `UserError` where this process has imported something else than the command has."""
    for name, file in origins().items():
        if theirs.get(name, file) != file:
            where = f"from {file}, but the command from {theirs[name]}"
            raise UserError(f"a run's process imports {name!r} {where}: mend the import path")
