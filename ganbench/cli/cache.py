"""`ganbench cache`: what is kept to be quick, and how to be rid of it."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ganbench.cli.group import Command, Group
from ganbench.streams import show

KINDS = ("classifiers", "data", "digests", "downloads", "features", "names", "references")
"""What ganbench keeps in its cache; whatever else lies in that folder is somebody else's."""


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Say where prepared data, features and classifiers are kept, and how much room they take."""
    from ganbench.files import cache_folder
    from ganbench.reports.words import aligned, memory
    from ganbench.results.upkeep import size_of

    if context.invoked_subcommand is not None:
        return
    folder = cache_folder()
    kinds = [(kind.name, len(_entries(kind)), size_of(kind)) for kind in _kinds(folder)]
    show(f"{folder} (all of it can be made again; GANBENCH_CACHE names another folder)\n")
    lines = [(name, f"{count:,}", memory(size)) for name, count, size in kinds]
    total = ("*total*", f"{sum(count for _, count, _ in kinds):,}", memory(sum(size for *_, size in kinds)))
    show(aligned(("kind", "entries", "size"), [*lines, total]))


@command.command(cls=Command)
@click.option("--older-than", type=click.FloatRange(0), metavar="DAYS", help="Only what was not written to since then.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed and stop.")
def prune(older_than: float | None, dry_run: bool) -> None:
    """Remove what is kept, all of it or what is old. Do not do so while runs are being made."""
    from ganbench.files import cache_folder
    from ganbench.reports.words import memory
    from ganbench.results.upkeep import Rubbish, remove, size_of

    before = None if older_than is None else time.time() - older_than * 86_400
    found = [
        Rubbish(entry, kind.name, size_of(entry))
        for kind in _kinds(cache_folder())
        for entry in _entries(kind)
        if before is None or _newest(entry) < before
    ]
    for each in found:
        show(f"{each.path}, {memory(each.size)}")
    if not dry_run:
        remove(found)
    said = "would be removed" if dry_run else "removed"
    number = "1 entry" if len(found) == 1 else f"{len(found):,} entries"
    show(f"{number} {said}, {memory(sum(each.size for each in found))}")


def _kinds(folder: Path) -> list[Path]:
    return [folder / name for name in KINDS if (folder / name).is_dir()]


def _entries(kind: Path) -> list[Path]:
    from ganbench.errors import UserError

    try:
        return sorted(kind.iterdir())
    except OSError as error:
        raise UserError(f"cannot read {kind}: {error.strerror or error}") from error


def _newest(entry: Path) -> float:
    paths = [entry, *(entry.rglob("*") if entry.is_dir() and not entry.is_symlink() else [])]
    return max(path.lstat().st_mtime for path in paths)
