"""`ganbench experiment`: one of the small studies that the field began with, from its runs to its page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganbench import NUMBERS
from ganbench.cli.complete import one_of, some_of
from ganbench.cli.executor import executor_options
from ganbench.cli.group import Command
from ganbench.cli.options import (
    FullPath,
    Metrics,
    Names,
    Seeds,
    check_early,
    current_folder,
    data_option,
    plugin_option,
    results_option,
)
from ganbench.errors import UserError
from ganbench.results.rows import title_of
from ganbench.streams import show, tell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ganbench.results.findings import Found
    from ganbench.results.record import RunRecord, RunSpec
    from ganbench.runs.experiments import Outcome, Wanted

OF_RUNS = ("variants", "dataset", "backbone", "budget", "size", "batch", "metrics", "marks")
"""Options that are said of the runs of an experiment, by the keywords of `ganbench.run`."""
MOST_FAILED = 3


@click.command(cls=Command)
@click.argument("name", shell_complete=one_of("experiment"))
@click.option(
    "--variants",
    type=Names(),
    shell_complete=some_of("variant", more=("all", "family:")),
    help="Who takes part.  [default: the experiment's]",
)
@click.option(
    "--dataset", type=Names(), shell_complete=some_of("dataset"), help="Data of its runs.  [default: the experiment's]"
)
@click.option("--backbone", shell_complete=one_of("backbone"), help="Architecture family of its runs.")
@click.option("--budget", help="Of each of its runs: 200k-images, 2000-updates.")
@click.option("--seeds", type=Seeds(), help="How many, or which: 3, 3-5 or 0,7.  [default: the experiment's]")
@click.option("--metrics", type=Metrics(), shell_complete=some_of("metric"), help="Metrics of its runs, or none.")
@click.option("--marks", type=click.IntRange(1, 10_000), help="Evaluation points of its runs.")
@click.option("--size", type=click.IntRange(1, 16_384), help="Side of the images in pixels.")
@click.option("--batch", type=click.IntRange(1), help="Real images in a batch of its runs.")
@click.option(
    "--runs", "records", type=FullPath(), help="Look at the finished runs of this folder instead of making any."
)
@click.option("--jobs", type=click.IntRange(1), help="Runs side by side.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@results_option
@data_option
@click.option("--weights", type=FullPath(), envvar="GANBENCH_WEIGHTS", help="Folder of metric weights.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option: NAME.at=1,10 of the experiment, lr=2e-4 of runs.",
)
@executor_options
@plugin_option
@click.option("--quiet", is_flag=True, help="Tell of failures and notes alone, and print the tables.")
@click.option("--no-page", is_flag=True, help="Write no report.html into the folder of results.")
@click.option("--json", "as_json", is_flag=True, help="Print the finding as JSON.")
def command(as_json: bool, **options: Any) -> None:
    """Carry out an experiment: its runs first, where it needs some, then what it looks at.

    `ganbench list experiments` names them, `ganbench list NAME` their options. Prints tables and claims; these, a CSV
    and PNG pictures lie in RESULTS/experiments/NAME. Killed and given again, it continues where it was.
    """
    found, text = experiment(**options)
    if as_json:
        import json

        from ganbench.results.findings import as_json as written

        text = json.dumps(written(found), indent=1, ensure_ascii=False)
    show(text)


def experiment(
    name: str,
    results: Path,
    data: Path,
    seeds: int | tuple[int, ...] | None,
    settings: tuple[str, ...],
    jobs: int | None,
    quiet: bool,
    no_page: bool,
    executor: str = "local",
    executor_settings: tuple[str, ...] = (),
    **options: Any,
) -> tuple[Found, str]:
    """Carry out the command; return what was found, and the same as Markdown."""
    asked = {key: options[key] for key in OF_RUNS if options[key] is not None}
    check_early(results, {**options, "settings": settings})
    from ganbench.results.findings import require_writable
    from ganbench.runs.experiments import Wanted

    wanted = Wanted(
        name,
        asked,
        settings,
        tuple(range(seeds)) if isinstance(seeds, int) else seeds or (),
        records=options["records"],
        results=results,
        plugins=options["plugins"],
        data_root=data,
        weights=options["weights"],
        device=options["device"],
    )
    _require_executor(executor, executor_settings, options["plugins"])
    requests = _requests(wanted)  # none where runs that are made already are looked at
    if not requests and executor != "local":
        tell(f"Note: --executor {executor} has nothing to make: what is looked at here needs no new runs")
    chosen = _chosen(wanted, wanted.records) if wanted.records else []
    require_writable(results)
    shared = {"device": options["device"], "data": data, "weights": options["weights"], "jobs": jobs, "quiet": quiet}
    shared |= {"executor": executor, "executor_set": list(executor_settings)}
    made = [record for request in requests for record in _made(request, wanted, shared)]
    outcome = _carried_out(wanted, *_looked_at([*chosen, *made]))
    line = _line(wanted, seeds)
    return _kept(wanted, replace(outcome, found=replace(outcome.found, command=line)), quiet=quiet, no_page=no_page)


def _require_executor(name: str, settings: tuple[str, ...], plugins: Sequence[Path]) -> None:
    """Raise `UserError` for an executor that cannot be used, before anything else is done."""
    from ganbench.runs.executors.choosing import choose

    choose(name, settings, plugins)


def _line(wanted: Wanted, seeds: int | tuple[int, ...] | None) -> str:
    """Write the command without where and how it was carried out: a finding may be published, and names no machine."""
    from ganbench.cli.keywords import line_of

    given = {**wanted.asked, "seeds": seeds, "set": wanted.settings}
    given |= {"plugin": [_shown(path) for path in wanted.plugins]}
    given |= {"runs": _shown(wanted.records)} if wanted.records else {}
    return line_of(command, "experiment", {"name": wanted.name, **given})


def _shown(path: Path) -> str:
    """Name a path from the current folder, one outside it by its last part."""
    from ganbench.files import printable

    here = current_folder()
    return printable(str(path.relative_to(here)) if path.is_relative_to(here) else path.name)


def _requests(wanted: Wanted) -> list[dict[str, Any]]:
    """Return the runs that the experiment asks for."""
    from ganbench.runs.executors.apart import survive
    from ganbench.runs.experiments import requests

    return survive(requests, wanted)[0]


def _chosen(wanted: Wanted, folder: Path) -> list[RunRecord]:
    """Return the records of a folder that the user asks for: of these variants, data, seeds, budget and options."""
    from ganbench.files import path_name
    from ganbench.reports.select import select
    from ganbench.results.store import ResultStore
    from ganbench.training.budget import Budget

    asked = wanted.asked
    for key in ("metrics", "marks"):
        if key in asked:
            raise UserError(f"--{key}: the runs in {folder} are made already; leave it out, or leave out --runs")
    records, problems = ResultStore(folder).records()
    for problem in problems:
        tell(f"Skipped: {problem}")
    facts = {key: asked[key] for key in ("backbone", "size", "batch") if key in asked}
    facts |= {"budget": Budget.parse(asked["budget"])} if "budget" in asked else {}
    datasets = [f"{name}{colon}{path_name(of) if of else ''}" for name, colon, of in
                (text.partition(":") for text in asked.get("dataset", ()))]  # fmt: skip
    variants = () if "all" in asked.get("variants", ()) else asked.get("variants", ())
    where = [f"{key}={value}" for key, value in facts.items()] + wanted.of_runs
    try:
        found = select(records, datasets, variants, where)
    except UserError as error:
        raise UserError(f"--runs {folder}: {str(error).removeprefix('--where ')}") from error
    if wanted.seeds and not any(record.spec.seed in wanted.seeds for record in found):
        there = ", ".join(map(str, sorted({record.spec.seed for record in found})))
        raise UserError(f"--runs {folder}: no run has one of the seeds asked for; there are {there}")
    found = [record for record in found if not wanted.seeds or record.spec.seed in wanted.seeds]
    return sorted(found, key=lambda record: (title_of(replace(record.spec, seed=0)), record.spec.seed))


def _looked_at(records: Sequence[RunRecord]) -> tuple[list[RunSpec], dict[str, str], list[RunSpec]]:
    """Return the specs of the runs to look at, by the name of a run why others are not among them, and their specs."""
    specs: list[RunSpec] = []
    lost: list[RunSpec] = []
    failed: dict[str, str] = {}
    for record in {record.spec.id: record for record in records}.values():
        spec = record.spec
        reason = "" if record.status == "done" else record.error or record.status
        if spec.is_stale:
            made_by = f"{'a newer' if spec.is_newer else 'an older'} ganbench made it, which gives other numbers"
            reason = f"{made_by} (harness {spec.numbers} instead of {NUMBERS})"
        title = title_of(spec)
        if not reason:
            specs.append(spec)
        else:
            failed[f"{title} ({spec.id[:8]})" if title in failed else title] = reason
            lost.append(spec)
    for title, reason in list(failed.items())[:MOST_FAILED]:
        tell(f"Note: {title} has no part: {reason}")
    if len(failed) > MOST_FAILED:
        tell(f"Note: {len(failed) - MOST_FAILED} more runs have no part")
    return specs, failed, lost


def _made(request: Mapping[str, Any], wanted: Wanted, shared: Mapping[str, Any]) -> list[RunRecord]:
    """Make the runs of one request as `ganbench run` does; those of an older harness again, as numbers are averaged."""
    from ganbench.cli.keywords import asked, settings_of
    from ganbench.cli.run import train
    from ganbench.runs.settings import key_of

    words = {"redo": "stale", **request, **{key: value for key, value in shared.items() if value not in (None, ())}}
    words |= {"seeds": wanted.seeds} if wanted.seeds else {}
    settings = [*settings_of(request.get("set")), *wanted.of_runs]  # of two values the later, the user's
    swept = set(map(key_of, settings_of(request.get("sweep"))))
    words["set"] = [text for key, text in {key_of(text): text for text in settings}.items() if key not in swept]
    words["plugin"] = list(wanted.plugins)
    with asked("run", {**words, "results": wanted.runs, "no_page": True}) as options:
        options.pop("as_json")
        return train(**options) or []


def _carried_out(
    wanted: Wanted, specs: Sequence[RunSpec], failed: Mapping[str, str], lost: Sequence[RunSpec]
) -> Outcome:
    from ganbench.cli.progress import steps_shown
    from ganbench.runs.executors.apart import survive
    from ganbench.runs.experiments import carry_out

    with steps_shown() as watch:
        outcome, _ = survive(partial(carry_out, lost=lost), wanted, list(specs), dict(failed), watch=watch)
    for name, reason in outcome.broken.items() if not specs else ():  # else told where runs were planned
        tell(f"Broken: {name}: {reason}")
    return outcome


def _kept(wanted: Wanted, outcome: Outcome, *, quiet: bool, no_page: bool) -> tuple[Found, str]:
    from ganbench.cli.page import keep_page
    from ganbench.reports.experiment import render
    from ganbench.results.findings import folder_of, keep

    found = replace(outcome.found, made=datetime.now(UTC).isoformat(timespec="seconds"))
    text = render(found)
    folder = folder_of(wanted.results, found.name, found.id, default=wanted.is_plain)
    keep(folder, found, outcome.pictures, outcome.measured, text + "\n")
    if not quiet:
        tell(f"Table, numbers and pictures: {folder}")
    if not no_page:
        keep_page(wanted.results, news=True, quiet=quiet)
    return found, text
