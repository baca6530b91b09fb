"""Runs of a folder, whatever has become of them, found by what people call them; and the files of each. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ganbench.errors import UserError, quoted, suggestion
from ganbench.results.codec import read
from ganbench.results.moving import SAMPLES
from ganbench.results.record import RunRecord
from ganbench.results.rows import rows
from ganbench.results.store import ResultStore

FEWEST = 4
"""So many letters of an id name a run."""
LEFT_OUT = "left-out.txt"
"""The name of the file beside the pictures that says of each one that there is not why, a line each."""


@dataclass(frozen=True)
class Files:
    """Where the files of a run lie. None, or no entry, where there are none.

    `pictures`: by name without `.png`, the marks of the budget first. `left_out`: why others are not there. `error`:
    the traceback of what ended the run.
    """

    record: Path
    traces: Path | None
    samples: Path | None
    weights: Path | None
    error: Path | None
    pictures: Mapping[str, Path]
    left_out: Mapping[str, str]


def found_in(store: ResultStore, text: str | None) -> tuple[dict[Path, RunRecord], list[str]]:
    """Return the runs that a text names, by the paths of their records, and a sentence for each that is unreadable.

    `text`: the path of a record, the beginning of an id, a variant, or a row of a table; None: all. Raises `UserError`
    where there is none.
    """
    if text is not None and text.endswith(".json"):
        path = Path(text).expanduser().absolute()
        try:
            return {path: read(path)}, []
        except FileNotFoundError:
            raise UserError(f"there is no record {text}") from None
    records, problems = store.located()
    if text is None:
        return records, problems
    named = names(records.values())
    by_id = {path: of for path, of in records.items() if len(text) >= FEWEST and of.spec.id.startswith(text.lower())}
    found = by_id or {path: of for path, of in records.items() if text in (of.spec.variant, named[of.spec.id])}
    if not found:
        variants = sorted({record.spec.variant for record in records.values()})
        near = suggestion(text, [*variants, *sorted(named.values()), *sorted(named)])
        known = f"; there are runs of {', '.join(variants)}" if variants and not near else ""
        raise UserError(f"no run in {store.root} is called {quoted(text)}{near}{known}")
    return found, problems


def names(records: Iterable[RunRecord]) -> dict[str, str]:
    """Return by id of a run the name of its row in a table, of a run that has two the one without what is sampled."""
    found: dict[str, str] = {}
    for row in rows(records):
        plain = f"{row.spec.variant} {row.options}".rstrip()
        found |= {run.spec.id: plain if run.spec.id in found else row.name for run in row.runs}
    return found


def files_of(store: ResultStore, path: Path, record: RunRecord) -> Files:
    """Look for the files of the run whose record lies at `path`."""
    roots = [*path.parents, store.root]
    works = [work for root in roots if (work := root / ".work" / record.spec.id).is_dir()]
    places = [path.with_suffix(SAMPLES), *(work / "samples" for work in works)]  # hidden ones are an earlier ganbench's
    folder = next((place for place in places if place.is_dir()), None)
    pictures = {each.stem: each for each in sorted(folder.glob("*.png"))} if folder else {}
    return Files(
        path,
        _first([path.with_suffix(".traces.npz")]),
        folder,
        _first(work / "final.pt" for work in works),
        _first(work / "error.txt" for work in works),
        pictures,
        _left_out(folder / LEFT_OUT) if folder else {},
    )


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _left_out(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    told = (line.partition(".png: ") for line in lines)
    return {name: reason for name, separator, reason in told if separator}
