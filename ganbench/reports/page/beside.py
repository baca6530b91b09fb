"""What lies beside records, wherever in a folder of results these are: traces, pictures, logs. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ganbench.errors import UserError
from ganbench.results.record import RunRecord, RunSpec
from ganbench.results.store import ResultStore

KEPT_BYTES = 400_000_000
"""Traces up to so many bytes are kept in memory while they are drawn over one amount after the other."""
_NAME = re.compile(r"seed\d+-([0-9a-f]{8,16})")


class Beside(ResultStore):
    """A store that looks beside the files that it found, which may be those of several stores below one folder.

    It reads the traces of a run once. `problems`: what could not be read, one sentence each.
    """

    def __init__(self, store: ResultStore) -> None:
        super().__init__(store.root)
        self.problems: dict[str, None] = {}
        self._kept, self._bytes = dict[str, dict[str, np.ndarray]](), 0
        paths = sorted(store.files([]), key=lambda path: path.parts)
        named = [(found[1], path) for path in paths if (found := _NAME.fullmatch(path.stem))]
        self._paths: dict[str, Path] = dict(reversed(named))  # of two of a name the first is reported

    def path(self, spec: RunSpec) -> Path:
        """Return where the record of a run was found."""
        return self._paths.get(spec.id) or self._paths.get(spec.id[:8]) or super().path(spec)

    def logs(self, spec: RunSpec) -> Path:
        """Return the working folder of a run, which need not be there."""
        above = self.path(spec).parents
        return (above[4] if len(above) > 4 else self.root) / ".work" / spec.id

    def traces(self, record: RunRecord) -> dict[str, np.ndarray]:
        """Return the traces of a run; of those that cannot be used nothing, and note it."""
        key = record.spec.id
        if key not in self._kept:
            try:
                found = super().traces(record)
            except UserError as error:
                self.problems[f"{error}; its curves are left out"] = None
                found = {}
            if self._bytes > KEPT_BYTES:
                self._kept, self._bytes = {}, 0
            self._kept[key] = found
            self._bytes += sum(trace.nbytes for trace in found.values())
        return self._kept[key]
