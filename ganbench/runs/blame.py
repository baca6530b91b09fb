"""What a plugin raised, in a sentence: during what, in which of its lines, and where the whole traceback lies."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ganbench import errors
from ganbench.errors import PluginError, UserError, brief, named, place_of
from ganbench.files import write_atomically
from ganbench.runs.stopping import Stopped


@contextmanager
def blaming(fault: str, files: Callable[[], Collection[str]], log: Path | None = None) -> Iterator[None]:
    """Turn whatever a plugin raises inside the block into a `UserError`: a fault, the reason, and its line in files.

    `log`: where to keep the traceback.
    """
    try:
        yield
    except UserError:
        raise
    except BaseException as error:  # a stranger's code may fail in any way
        let_pass(error)
        where = place_of(error, files()) if log is None else keep_traceback(error, files(), log)
        raise PluginError(f"{fault}: {brief(named(error), 300)}{where}") from error


def let_pass(error: BaseException) -> None:
    """Raise an error again that is no fault of a plugin's: whoever asks to stop is heard."""
    if isinstance(error, KeyboardInterrupt | Stopped):
        raise error


def reason_of(error: BaseException, files: Collection[str]) -> str:
    """Tell what was raised, and where in some files unless it is a sentence for the user already."""
    return brief(str(error), 300) if isinstance(error, UserError) else brief(named(error), 300) + place_of(error, files)


def loading_files(error: BaseException) -> frozenset[str]:
    """Return the files of the plugin whose import or hook raised: the first that is none of ours, and those beside."""
    paths = [Path(os.path.realpath(frame.filename)) for frame in traceback.extract_tb(error.__traceback__)]
    # Once anything has imported the backport of `importlib.metadata`, that is what loads plugins.
    loaders = [errors, importlib, *filter(None, [sys.modules.get("importlib_metadata")])]
    ours = [Path(os.path.realpath(str(module.__file__))).parent for module in loaders]
    strange = [path for path in paths if path.is_file() and not any(path.is_relative_to(folder) for folder in ours)]
    if not strange:
        return frozenset()
    home = strange[0].parent
    alone = home.name in ("site-packages", "dist-packages")  # others' modules lie there as well
    return frozenset(str(path) for path in strange if path == strange[0] or (path.is_relative_to(home) and not alone))


def keep_traceback(error: BaseException, files: Collection[str], log: Path) -> str:
    """Write the traceback of an error to a file; return in brackets during what and where it was, and that file."""
    text = "".join(traceback.format_exception(error))
    write_atomically(log, lambda file: file.write(text.encode("utf-8", "backslashreplace")))
    return place_of(error, files, f"traceback in {log}")
