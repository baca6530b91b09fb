"""The whole page, from records and what lies beside them. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ganbench.errors import UserError
from ganbench.reports.guard import guarded
from ganbench.reports.page.beside import Beside
from ganbench.reports.page.embed import embedded, finalize, policy
from ganbench.reports.page.experiments import studies_of
from ganbench.reports.page.figures import figures_of, group_of, points_for
from ganbench.reports.page.pictures import NAMES, Room, Shown, pictures_of
from ganbench.reports.page.sections import (
    Run,
    Section,
    bodies_of,
    ends,
    facts,
    heads_of,
    left_out,
    legend_of,
    names_first,
    names_of,
    real_of,
    run_of,
    tabs,
)
from ganbench.reports.summary import Overview, overview, tables_of
from ganbench.reports.table import Table, tables
from ganbench.reports.view import ALL, DEFAULT, View, require_names
from ganbench.results.findings import findings
from ganbench.results.record import RunRecord
from ganbench.results.rows import Row, rows
from ganbench.results.store import ResultStore

PLOTLY = "plotly-basic.min.js"


@dataclass
class Provenances:
    """What made runs, each once: its number by what it says."""

    numbers: dict[str, int]
    all: list[Mapping[str, Any]]

    def add(self, provenance: Mapping[str, Any]) -> int:
        """Return the number of a provenance, from 1."""
        key = json.dumps(provenance, sort_keys=True)
        if key not in self.numbers:
            self.all.append(provenance)
            self.numbers[key] = len(self.all)
        return self.numbers[key]


def render(
    records: Sequence[RunRecord], problems: Sequence[str] = (), view: View = DEFAULT, store: ResultStore | None = None
) -> str:
    """Write the page of some records, which hold their curves, and of the experiments beside them.

    Traces, pictures and what experiments found are those that `store` keeps. Raises `UserError` where there is neither
    a record nor a finding.
    """
    if view.runs:
        raise UserError("--runs is not for a page, which has every run under its row: leave it out")
    beside = Beside(store) if store else None
    found, damaged = findings(store.root) if store else ({}, [])
    if not (records or found):
        raise UserError([*problems, *damaged, "no results: run `ganbench run` first"][0])
    room = Room()
    studies = studies_of(found, room)  # first, for they are few
    taken = room.left
    (sections, shared), odd = guarded(list(records), lambda some: _compared(some, view, beside, Room(taken)))
    shared.room.dropped += room.dropped
    shared.room.problems[:0] = room.problems
    content = _facts(sections, shared, [*problems, *damaged, *odd], len(records)) | {"studies": studies}
    return _environment().get_template("page.html.j2").render(**content)


@dataclass
class _Shared:
    """What the sections of a page have in common."""

    room: Room
    provenances: Provenances
    problems: dict[str, None]
    overview: Overview | None = None


def _compared(
    records: Sequence[RunRecord], view: View, store: Beside | None, room: Room
) -> tuple[list[Section], _Shared]:
    """Make the sections. Everything is done here that an odd record may upset."""
    found, shared = rows(records), _Shared(room, Provenances({}, []), {})
    if not found:
        return [], shared
    require_names(found, view)
    every = replace(view, columns=(ALL,), protocols=False)
    drawn, points = tables(found, every), points_for(len(records))
    runs = _runs(records, store, shared)  # of all at once, so that room for pictures is shared out fairly
    sections = [_section(f"t{n}", table, view, store, points, shared, runs) for n, table in enumerate(drawn, 1)]
    if len(sections) > 1:
        shared.overview = _overview(found, view)
    return sections, shared


def _overview(found: Sequence[Row], view: View) -> Overview | None:
    try:
        return overview(*tables_of(found, view.sort))
    except UserError:  # there is nothing to rank
        return None


def _section(
    name: str,
    table: Table,
    view: View,
    store: Beside | None,
    points: int,
    shared: _Shared,
    runs: Mapping[str, Run],
) -> Section:
    groups = [group_of(table, index) for index in range(len(table.rows))]
    names = names_of(table.rows)
    data: Mapping[str, Any] = {}
    if store:
        data = figures_of(table, names, store, points)
        shared.problems |= store.problems
    return Section(
        name,
        table,
        heads_of(table, view),
        bodies_of(table, names, groups),
        real_of(table),
        legend_of(table),
        [[runs[run.spec.id] for run in row.runs] for row in table.rows],
        data,
    )


def _runs(records: Sequence[RunRecord], store: Beside | None, shared: _Shared) -> dict[str, Run]:
    folders = [samples_of(store, record) for record in records] if store else []
    pictures = pictures_of(folders, shared.room) if store else [Shown() for _ in records]
    return {
        record.spec.id: run_of(record, store, shared.provenances.add(record.provenance), shown)
        for record, shown in zip(records, pictures, strict=True)
    }


def samples_of(store: Beside, record: RunRecord) -> Path:
    """Return where the pictures of a run lie."""
    return store.path(record.spec).with_suffix(".samples")


def _facts(sections: Sequence[Section], shared: _Shared, problems: Sequence[str], runs: int) -> dict[str, Any]:
    plotly, script = asset(PLOTLY), asset("page.js")
    dropped = shared.room.dropped
    told = [f"{dropped} picture{'s have' if dropped > 1 else ' has'} no room on this page"] if dropped else []
    return {
        "sections": sections,
        "tabs": tabs(sections),
        "overview": shared.overview,
        "problems": [*problems, *shared.problems, *shared.room.problems, *told],
        "provenances": [facts(each) for each in shared.provenances.all],
        "runs": runs,
        "data": embedded({section.id: section.data for section in sections}),
        "policy": policy([plotly, script]),
        "css": Markup(asset("page.css")),
        "plotly": Markup(plotly),
        "script": Markup(script),
        "version": version("ganbench"),
        "names": NAMES,
    }


@cache
def asset(name: str) -> str:
    """Return the text of a file that goes into the page as it is."""
    return (files("ganbench.reports.page") / "assets" / name).read_text("utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ganbench.reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )
    environment.filters |= {"ends": ends, "facts": facts, "names_first": names_first, "left_out": left_out}
    return environment
