"""Upgrading a folder of records of an older schema, once."""

from __future__ import annotations

from functools import partial
from typing import IO

from ganbench.errors import DiskError, UserError
from ganbench.files import write_atomically
from ganbench.results.codec import decode, encode, id_in, load
from ganbench.results.moving import Former, bring_samples, move
from ganbench.results.record import SCHEMA, RunRecord
from ganbench.results.schemas import Lookup, is_dated
from ganbench.results.store import ResultStore


def upgrade(store: ResultStore, lookup: Lookup) -> tuple[list[RunRecord], list[str]]:
    """Write every record of an older schema anew, in the folder where it lies, with its traces and working folder.

    `lookup`: what is known of plugins. Returns the records, and one sentence for each file that was left as it is.
    Stopped and called again, it goes on. Raises `UserError` where there is no record, `DiskError` where the disk
    refuses.
    """
    problems: list[str] = []
    paths = sorted(store.files(problems))
    if not paths and not problems:
        raise UserError(f"no results in {store.root}: run `ganbench run` first")
    found, moved = [], list[RunRecord]()
    for path in paths:
        try:
            content = load(path)
            record = decode(content, path, lookup)
            if is_dated(content) and record.spec.id != id_in(content):
                found.append(Former(path, id_in(content), record))
            elif content["schema"] < SCHEMA:  # under the name that it has
                write_atomically(path, partial(_write, content=encode(record)))
                moved.append(record)
        except FileNotFoundError:
            continue  # taken away since the folder was listed
        except UserError as error:
            problems.append(str(error))
    for former in sorted(found, key=lambda former: former.rank):
        try:
            move(former, former.path.with_name(store.path(former.record.spec).name))
            moved.append(former.record)
        except DiskError:
            raise
        except UserError as error:
            problems.append(str(error))
    return moved, problems


def bring_all_samples(store: ResultStore) -> int:
    """Move pictures out of working folders, where an earlier ganbench kept them; return of how many runs.

    What is no record is passed over. Raises `DiskError` where the disk refuses.
    """
    count = 0
    for path in sorted(store.files([])):
        try:
            count += bring_samples(path, id_in(load(path)))
        except DiskError:
            raise
        except (UserError, FileNotFoundError):
            continue
    return count


def _write(file: IO[bytes], *, content: bytes) -> None:
    file.write(content)
