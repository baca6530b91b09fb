"""`ganbench show`: where the pictures, traces and records of runs lie."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganbench.cli.complete import one_of
from ganbench.cli.group import Command
from ganbench.cli.options import results_option
from ganbench.errors import UserError, brief
from ganbench.streams import show, tell

if TYPE_CHECKING:
    from ganbench.results.finding import Files
    from ganbench.results.record import RunRecord
    from ganbench.results.store import ResultStore

WIDTH = 80
PAGE = "report.html"
"""The page of a folder of results, where one was made."""


@click.command(cls=Command)
@click.argument("run", required=False, shell_complete=one_of("variant"))
@results_option
@click.option("--open", "opened", is_flag=True, help="Open the samples of the run; of all runs their page.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with paths in full.")
def command(run: str | None, results: Path, opened: bool, as_json: bool) -> None:
    """Say of each run how it ended and where its pictures, traces and record lie.

    RUN is the file of a record, the beginning of a run's id, a variant, or a row of a table; without it all runs of the
    folder are shown.
    """
    from ganbench.results.finding import files_of, found_in, names
    from ganbench.results.store import ResultStore

    store = ResultStore(results)
    found, problems = found_in(store, run)
    for problem in problems:
        tell(f"Skipped: {problem}")
    rows = names(found.values())
    facts = [facts_of(store, record, files_of(store, path, record), rows) for path, record in found.items()]
    target = _to_open(results if run is None else None, facts) if opened else None
    show(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else "\n\n".join(map(block, facts)))
    if target is not None and click.launch(str(target)):
        raise UserError(f"--open: no program here opens {target}")


def facts_of(store: ResultStore, record: RunRecord, files: Files, rows: Mapping[str, str]) -> dict[str, Any]:
    """Return what is shown of a run, in plain values."""
    from ganbench.results.rows import last_line

    spec = record.spec
    return {
        "row": rows[spec.id],
        "variant": spec.variant,
        "seed": spec.seed,
        "dataset": spec.dataset,
        "backbone": spec.backbone,
        "budget": str(spec.budget),
        "id": spec.id,
        "status": record.status,
        "at_work": record.is_open and store.is_busy(store.root / ".work" / spec.id),
        "error": last_line(record.error),
        "samples": _text(files.samples),
        "pictures": {name: str(path) for name, path in files.pictures.items()},
        "left_out": dict(files.left_out),
        "traces": _text(files.traces),
        "record": str(files.record),
        "weights": _text(files.weights),
        "traceback": _text(files.error),
    }


def block(facts: Mapping[str, Any]) -> str:
    """Write a run as lines: what it is, how it ended, and its files, as seen from the current folder."""
    what = " · ".join([f"seed {facts['seed']}", facts["dataset"], facts["backbone"], facts["budget"], facts["id"][:8]])
    lines = [f"{facts['row']} · {what}"] if len(facts["row"]) + len(what) < WIDTH - 3 else [facts["row"], f"  {what}"]
    status = "being made" if facts["at_work"] else facts["status"]
    lines.append(_line("status", brief(f"{status}: {facts['error']}" if facts["error"] else status, WIDTH - 12)))
    for name in ("samples", "traces", "record", "weights", "traceback"):
        if facts[name] is not None:
            lines.append(_line(name, _seen_from_here(facts[name])))
        if name == "samples":
            lines += [_line("", line) for line in _wrapped(facts["pictures"])]
    return "\n".join(lines)


def _line(name: str, text: str) -> str:
    return f"  {name:<9} {text}".rstrip()


def _wrapped(pictures: Mapping[str, str]) -> list[str]:
    import textwrap

    return textwrap.wrap(" ".join(f"{name}.png" for name in pictures), WIDTH - 12)


def _seen_from_here(path: str) -> str:
    try:
        return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
    except OSError:  # the current folder is gone
        return path


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _to_open(folder: Path | None, facts: list[dict[str, Any]]) -> Path:
    """Return what `--open` opens. Raises `UserError` where there is nothing, or nothing to show it on."""
    if folder is not None and (folder / PAGE).is_file():
        chosen = folder / PAGE
    elif len(facts) > 1:
        told = ", ".join(each["id"][:8] for each in facts[:6])
        raise UserError(f"--open: there are {len(facts)} runs: name one by its id ({told}{', …' * (len(facts) > 6)})")
    else:
        marks = [path for name, path in facts[0]["pictures"].items() if name.isdecimal()]
        if not marks:
            raise UserError(f"--open: there are no pictures of the run {facts[0]['id'][:8]}")
        chosen = Path(marks[-1])
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError(f"--open: there is no display here to open {chosen} on")
    return chosen
