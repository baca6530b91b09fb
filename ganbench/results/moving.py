"""Giving a record of an older schema the name that its run has now, with all that belongs to the run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ganbench.errors import DiskError, UserError
from ganbench.files import write_atomically
from ganbench.results.codec import encode
from ganbench.results.lease import NAME as LEASE, is_held
from ganbench.results.record import FINAL, RunRecord


@dataclass(frozen=True)
class Former:
    """A record that goes by another name today. `id`: the one that it was written under, which names its work."""

    path: Path
    id: str
    record: RunRecord

    @property
    def rank(self) -> tuple[bool, bool]:
        """Which of several that are one run today comes first: one that ended, one that has its proper name."""
        return self.record.status not in FINAL, not self.is_named

    @property
    def is_named(self) -> bool:
        """Whether the file has the name that the record was written under."""
        return self.path.name == f"seed{self.record.spec.seed}-{self.id[:8]}.json"


LOCKS = ("lock", LEASE)
"""How the names of files begin that keep a run to one process."""
IGNORE = ".gitignore"
SAMPLES = ".samples"
"""How the name of the folder ends that holds the pictures of a run, beside its record."""


class Taken(UserError):
    """The new name of a record is that of another one."""


def move(former: Former, target: Path) -> None:
    """Give a record its new name and schema, with its traces, its pictures and its working folder.

    Raises `Taken` where there is another record of this name, `UserError` where another command makes the run,
    `DiskError` where the disk refuses.
    """
    path, record, content = former.path, former.record, encode(former.record)
    try:
        # A proper name beside the same content was left by an upgrade that was stopped before its last step.
        if target.exists() and not (former.is_named and target.read_bytes() == content):
            raise Taken(f"{path} is left as it is: {target.name} is a record of the same run")
        move_work(path, former.id, record.spec.id)
        with suppress(FileNotFoundError):
            path.with_suffix(".traces.npz").replace(target.with_suffix(".traces.npz"))
        move_samples(path.with_suffix(SAMPLES), target.with_suffix(SAMPLES))
        # The record last: until it has its new name alone, all of this is found and done again.
        if path.exists():
            write_atomically(target, lambda file: file.write(content))
            path.unlink(missing_ok=True)
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DiskError(f"cannot move {path} to {target.name}: {reason}") from error


def move_work(path: Path, old: str, new: str) -> None:
    """Let a run continue in its working folder under another id; `path`: a file of the run.

    Raises `UserError` where another command makes the run, `OSError` where the disk refuses.
    """
    for work in [folder / ".work" for folder in path.parents if (folder / ".work" / old).is_dir()]:
        try:
            with FileLock(work / old / "lock", blocking=False):  # as a ganbench before leases holds it
                if is_held(work / old):
                    raise _at_work(path)
                (work / new).mkdir(exist_ok=True)
                for kept in sorted((work / old).iterdir()):
                    if not kept.name.startswith(LOCKS) and not (work / new / kept.name).exists():
                        kept.replace(work / new / kept.name)
                with suppress(OSError):  # what the new folder had already stays in the old one
                    for lock in (path for path in (work / old).iterdir() if path.name.startswith(LOCKS)):
                        lock.unlink()
                    (work / old).rmdir()
        except Timeout:
            raise _at_work(path) from None
        except FileNotFoundError:
            if (work / old).is_dir():  # else another command has just done it
                raise


def _at_work(path: Path) -> UserError:
    return UserError(f"{path} is left as it is: another command is at work on its run")


def move_samples(old: Path, new: Path) -> None:
    """Let the pictures of a run, where there are any, stand in another folder.

    Those that the new folder has already stay there. Raises `OSError`, or `DiskError`, where the disk refuses.
    """
    if not old.is_dir():
        return
    make_ignored(new)
    for picture in sorted(old.iterdir()):
        with suppress(FileNotFoundError):  # another command has just moved it
            if picture.name == IGNORE or (new / picture.name).exists():
                picture.unlink()
            else:
                picture.replace(new / picture.name)
    with suppress(FileNotFoundError):
        old.rmdir()


def bring_samples(path: Path, run: str) -> bool:
    """Move pictures that an earlier ganbench kept in the working folder of a run beside its record, `path`.

    Returns whether there were any. Raises `DiskError` where the disk refuses.
    """
    found = [hidden for folder in path.parents if (hidden := folder / ".work" / run / "samples").is_dir()]
    for hidden in found:
        try:
            move_samples(hidden, path.with_suffix(SAMPLES))
        except OSError as error:
            raise DiskError(f"cannot move {hidden}: {error.strerror or error}") from error
    return bool(found)


def make_ignored(folder: Path) -> None:
    """Make a folder that git ignores, where there is none. Raises `DiskError` where the disk refuses."""
    if not (folder / IGNORE).exists():
        write_atomically(folder / IGNORE, lambda file: file.write(b"*\n"))
