"""`ganbench experiment`: one of the small studies that the field began with, from its runs to its page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganbench.cli.complete import one_of, some_of
from ganbench.cli.group import Command, command_line
from ganbench.cli.options import (
    FullPath,
    Names,
    Seeds,
    check_early,
    data_option,
    plugin_option,
    results_option,
)
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
@click.option("--metrics", type=Names(), shell_complete=some_of("metric"), help="Metrics of its runs.")
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
        from dataclasses import asdict

        show(json.dumps(asdict(found), indent=1, ensure_ascii=False, default=str))
    else:
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
    **options: Any,
) -> tuple[Found, str]:
    """Carry out the command; return what was found, and the same as Markdown."""
    asked = {key: options[key] for key in OF_RUNS if options[key] is not None}
    check_early(results, {**options, "settings": settings})
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
        command=command_line(click.get_current_context()),
    )
    shared = {"device": options["device"], "data": data, "weights": options["weights"], "plugin": options["plugins"]}
    specs, failed = _looked_at(wanted, {**shared, "jobs": jobs, "quiet": quiet})
    outcome = _carried_out(wanted, specs, failed)
    return _kept(wanted, outcome, quiet=quiet, no_page=no_page)


def _looked_at(wanted: Wanted, shared: Mapping[str, Any]) -> tuple[list[RunSpec], dict[str, str]]:
    """Return the specs of the runs to look at, made here where that is asked for, and why others are not among them."""
    from ganbench.results.rows import title_of
    from ganbench.runs.executors.apart import survive
    from ganbench.runs.experiments import requests

    asked, _ = survive(requests, wanted)
    records: list[RunRecord] = []
    if wanted.records is not None:
        from ganbench.reports.select import select
        from ganbench.results.store import ResultStore

        every, problems = ResultStore(wanted.records).records()
        for problem in problems:
            tell(f"Skipped: {problem}")
        records = select(every, wanted.asked.get("dataset", ()), wanted.asked.get("variants", ()))
    if asked:
        from ganbench.results.findings import mark_apart

        mark_apart(wanted.results)
    for request in asked:
        records += _made({**request, **_seeds(wanted.seeds)}, wanted, shared)
    kept = list({record.spec.id: record for record in records}.values())
    failed = {title_of(r.spec): r.error or r.status for r in kept if r.status != "done"}
    for title, reason in list(failed.items())[:MOST_FAILED]:
        tell(f"Note: {title} has no part: {reason}")
    return [record.spec for record in kept if record.status == "done"], failed


def _seeds(seeds: Sequence[int]) -> dict[str, str]:
    """Name seeds as `--seeds` does, where the user named some; 3 alone would be three of them."""
    return {"seeds": ",".join(f"{seed}-{seed}" for seed in seeds)} if seeds else {}


def _made(request: Mapping[str, Any], wanted: Wanted, shared: Mapping[str, Any]) -> list[RunRecord]:
    """Make the runs of one request as `ganbench run` does."""
    from ganbench.cli.keywords import asked
    from ganbench.cli.run import train

    words = {**request, **{key: value for key, value in shared.items() if value not in (None, ())}}
    words = {key: list(v) if key in ("set", "sweep", "plugin") else v for key, v in words.items()}
    with asked("run", {**words, "results": wanted.runs, "no_page": True}) as options:
        options.pop("as_json")
        return train(**options) or []


def _carried_out(wanted: Wanted, specs: Sequence[RunSpec], failed: Mapping[str, str]) -> Outcome:
    from ganbench.cli.progress import steps_shown
    from ganbench.runs.executors.apart import survive
    from ganbench.runs.experiments import carry_out

    with steps_shown() as watch:
        outcome, _ = survive(carry_out, wanted, list(specs), dict(failed), watch=watch)
    return outcome


def _kept(wanted: Wanted, outcome: Outcome, *, quiet: bool, no_page: bool) -> tuple[Found, str]:
    from ganbench.cli.page import keep_page
    from ganbench.reports.experiment import render
    from ganbench.results.findings import folder_of, keep, mark_apart

    found = replace(outcome.found, made=datetime.now(UTC).isoformat(timespec="seconds"))
    text = render(found)
    mark_apart(wanted.results)
    folder = folder_of(wanted.results, found.name, found.id, default=wanted.is_plain)
    keep(folder, found, outcome.pictures, outcome.measured, text + "\n")
    if not quiet:
        tell(f"Table, numbers and pictures: {folder}")
    if not no_page:
        keep_page(wanted.results, news=True, quiet=quiet)
    return found, text
