"""The page that a folder of results has of itself: written at the end of a run, which it can never fail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ganbench.errors import DiskError, UserError, brief, named
from ganbench.streams import REPLACED, tell

if TYPE_CHECKING:
    from ganbench.results.record import RunRecord
    from ganbench.results.store import ResultStore

NAME = "report.html"
MOST_RUNS = 1_000
"""Of a folder with more runs a page is made when it is asked for: it takes long, and is large."""


def keep_page(results: Path, *, news: bool, quiet: bool = False) -> None:
    """Write the page of all records in a folder of results and say where it is; without `news` only where it lacks."""
    from ganbench.results.store import ResultStore

    path = results / NAME
    try:
        runs = sum(1 for _ in ResultStore(results).files([]))
        if runs > MOST_RUNS:
            part = f"ganbench report --results {results} --dataset NAME --output {NAME}"
            tell(f"Note: {results} holds {runs:,} runs, more than a page is made of unasked: {part}")
            return
        if news or not path.exists():
            write_page(results, path)
        if not quiet:
            tell(f"Page: {path}")
    except Exception as error:  # the runs are kept whatever becomes of the page
        tell(f"Note: {path} was not written: {brief(named(error), 300)}")


def records_for_page(store: ResultStore) -> tuple[list[RunRecord], list[str]]:
    """Return records and problems as `store.records` does; none where there are experiments alone."""
    from ganbench.results.findings import has_findings

    try:
        return store.records()
    except DiskError:
        raise
    except UserError:
        if not has_findings(store.root):
            raise
        return [], []


def write_page(results: Path, path: Path) -> None:
    """Write the page of all records and experiments in a folder of results.

    Raises `UserError` where there are none, `DiskError`.
    """
    from ganbench.files import write_atomically
    from ganbench.reports.render import render
    from ganbench.results.sharing import uncollected
    from ganbench.results.store import ResultStore

    store = ResultStore(results)
    with uncollected():
        records, problems = records_for_page(store)
        text = render(records, problems, "html", store=store)
    write_atomically(path, lambda file: file.write(text.encode("utf-8", REPLACED)))
