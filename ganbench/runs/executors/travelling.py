"""What a run takes along to another machine: plugins that are files, with what they import from beside them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp

from ganbench.contract.types import digest
from ganbench.errors import DiskError, UserError
from ganbench.runs.job import Job


@dataclass(frozen=True)
class Luggage:
    """Files by the folder that they lay in and their name."""

    files: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)


def packed(plugins: Sequence[Path]) -> Luggage:
    """Take along plugins that are files, and the Python files beside them, which they may import."""
    found: dict[str, dict[str, bytes]] = {}
    try:
        for folder in dict.fromkeys(path.parent for path in plugins):
            beside = sorted(path for path in folder.glob("*.py") if path.is_file())
            found[str(folder)] = {path.name: path.read_bytes() for path in beside}
    except OSError as error:
        raise UserError(f"--plugin: {error.filename} cannot be read: {error.strerror}") from None
    return Luggage(found)


@contextmanager
def unpacked(luggage: Luggage, job: Job) -> Iterator[Job]:
    """Give a job whose plugins are those that were taken along: where they are, or in a folder for the block's time."""
    if all(_are_there(Path(folder), files) for folder, files in luggage.files.items()):
        yield job
        return
    root = None
    try:
        try:
            root = Path(mkdtemp(prefix="ganbench-plugins-"))
            places = {folder: root / digest(folder)[:8] for folder in luggage.files}
            for folder, files in luggage.files.items():
                places[folder].mkdir()
                for name, content in files.items():
                    (places[folder] / name).write_bytes(content)
        except OSError as error:
            raise DiskError(f"cannot unpack the plugins of a run: {error.strerror or error}") from error
        plugins = tuple(places.get(str(path.parent), path.parent) / path.name for path in job.plugins)
        yield replace(job, plugins=plugins)
    finally:
        if root is not None:
            shutil.rmtree(root, ignore_errors=True)


def _are_there(folder: Path, files: Mapping[str, bytes]) -> bool:
    try:
        return all((folder / name).read_bytes() == content for name, content in files.items())
    except OSError:
        return False
