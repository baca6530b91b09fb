"""What is known today of plugins that records of an older schema name by the hashes of their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from ganbench.results.schemas import KINDS, Known, Lookup, shipped
from ganbench.runs.job import Job
from ganbench.runs.options import as_plain, resolve
from ganbench.runs.registry import Entry, Kind, Registry, discover
from ganbench.runs.steps import Begin

Table = Mapping[tuple[str, str, str], Known]
"""By kind, name and hash of the file, in plain values."""


def table_of(entries: Iterable[tuple[str, Entry]]) -> Table:
    """Return what is known of plugins, each with its kind."""
    found: dict[tuple[str, str, str], Known] = {}
    doubtful = set()
    for kind, entry in entries:
        if entry.origin.sha256 and kind in KINDS:
            owner = entry.item if isinstance(entry.item, type) else type(entry.item)
            with suppress(Exception):  # a plugin's options may fail in any way: it is not known then
                known = Known(entry.code, as_plain(resolve(owner, entry.item.name, {})))
                key = (kind, entry.item.name, entry.origin.sha256)
                if found.setdefault(key, known).code != known.code:  # two of one file, with other modules each
                    doubtful.add(key)
    return {key: known for key, known in found.items() if key not in doubtful}


def used_by(jobs: Iterable[Job], registry: Registry) -> list[tuple[str, Entry]]:
    """Return the plugins of jobs that a record names by the hash of their files, each with its kind."""
    specs = [job.spec for job in jobs]
    names = {(kind, getattr(spec, kind).partition(":")[0]) for spec in specs for kind in KINDS}
    return [(kind, entry) for kind, name in sorted(names) for entry in registry.needed_by([(cast(Kind, kind), name)])]


def installed(files: Sequence[Path], begin: Begin) -> Table:
    """Import what is installed, and these files, and return what is known of them."""
    everything = discover(files, begin=begin).entries
    return table_of(
        (kind, entry) for kind, named in everything.items() for owners in named.values() for entry in owners
    )


def lookup_in(table: Table) -> Lookup:
    """Return what finds a plugin by the hash of its file: what came with ganbench, and what is installed unchanged."""

    def lookup(kind: str, name: str, sha256: str) -> Known | None:
        return shipped(kind, name, sha256) or table.get((kind, name, sha256))

    return lookup
