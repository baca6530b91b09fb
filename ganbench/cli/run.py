"""`ganbench run`: train, score, store, and print the table."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganbench.cli.complete import one_of, some_of
from ganbench.cli.executor import events_of, executor_options, placed, where_planned
from ganbench.cli.group import Command
from ganbench.cli.observe import asked_for, observe_option
from ganbench.cli.options import (
    Compiling,
    FullPath,
    Metrics,
    Names,
    Seeds,
    Shares,
    check_early,
    data_option,
    plugin_option,
    results_option,
)
from ganbench.errors import DiskError, UserError
from ganbench.streams import show, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ganbench.results.record import RunRecord, RunSpec
    from ganbench.results.store import ResultStore
    from ganbench.runs.job import Job


@click.command(cls=Command)
@click.option(
    "--variants",
    type=Names(),
    shell_complete=some_of("variant", more=("all", "family:")),
    help="Names, globs ('wgan*'), family:NAME or all.",
)
@click.option(
    "--dataset",
    "datasets",
    type=Names(),
    shell_complete=some_of("dataset"),
    help="For instance digits, mnist, folder:PATH.",
)
@click.option(
    "--preset", shell_complete=one_of("preset"), help="A comparison of the literature, see `ganbench list presets`."
)
@click.option("--scale", type=float, default=1.0, show_default=True, help="Share of the preset's budget.")
@click.option("--backbone", shell_complete=one_of("backbone"), help="Architecture family.  [default: the data set's]")
@click.option(
    "--budget",
    help="200k-images, 25-epochs, 2000-updates, 3e15-flops or 90-seconds.  [default: the data set's]",
)
@click.option("--seeds", type=Seeds(), default=3, show_default=True, help="Seeds 0 to N-1, or which: 3-5 or 0,7.")
@click.option(
    "--metrics",
    type=Metrics(),
    shell_complete=some_of("metric"),
    help="Metrics to compute, or none.  [default: the data set's]",
)
@click.option("--size", type=click.IntRange(1, 16_384), help="Side of the images in pixels.  [default: the data set's]")
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Real images in a batch.")
@click.option(
    "--samples",
    type=click.IntRange(2),
    help="Generated images an evaluation.  [default: the data set's, else its test split, ≤ 10000]",
)
@click.option(
    "--reference",
    type=click.Choice(["test", "train"]),
    default="test",
    show_default=True,
    help="The real images that samples are compared with.",
)
@click.option("--score", type=Names(), help="raw, ema or raw,ema.  [default: the average where a variant keeps one]")
@click.option(
    "--repeats",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Times that each trained variant is sampled and scored.",
)
@click.option(
    "--marks", type=click.IntRange(1, 10_000), default=5, show_default=True, help="Evaluation points of the budget."
)
@click.option(
    "--marks-metrics",
    type=Names(),
    shell_complete=some_of("metric"),
    help="Costly metrics to compute at every mark, not only the last.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Of steps: tf32 is that of products on CUDA devices, bf16 autocast. Scores are of fp32.",
)
@click.option(
    "--compile",
    "compiled",
    type=Compiling(),
    is_flag=False,
    flag_value="on",
    metavar="[graph|off]",
    help="Alone, compile steps, on a CPU: pays for long runs on points. graph: replay them as CUDA graphs, as runs on "
    "CUDA do unasked where that gives the same bits; off: do not.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Runs side by side on each device, the cores shared out.  [default: on a CPU its cores, at most 8; else 1]",
)
@click.option("--timeout-per-run", metavar="DURATION", help="Longest time of a run: 90 (seconds), 30m or 2h.")
@click.option("--memory-per-run", metavar="SIZE", help="Most memory of a run's processes together: 500M or 4G.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option(
    "--devices",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="CUDA devices of each run, or processes on a CPU, which share its batches.",
)
@results_option
@data_option
@click.option("--weights", type=FullPath(), envvar="GANBENCH_WEIGHTS", help="Folder of metric weights.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option: lr=2e-4, wgan.clip=0.1.")
@click.option(
    "--sweep",
    "sweeps",
    multiple=True,
    metavar="KEY=VALUES",
    help="An option's values, a row each: lr=1e-4,2e-4. Several make every combination.",
)
@executor_options
@plugin_option
@observe_option
@click.option(
    "--redo", type=click.Choice(["stale"]), help="Make again the runs of an older ganbench that gave other numbers."
)
@click.option("--keep", type=Shares(), default=(), help="Shares of the budget at which weights are kept too: 0.1,0.5.")
@click.option("--allow-missing", is_flag=True, help="Train although a metric cannot be computed (weights missing).")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--quiet", is_flag=True, help="Tell of failures and notes alone, and print the table.")
@click.option("--no-page", is_flag=True, help="Write no report.html into the folder of results.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def command(as_json: bool, **options: Any) -> None:
    """Train variants under identical budgets, score them, and print the table.

    Killed and given again, the command continues where it was; complete, it returns at once.
    """
    records = train(**options)
    if records is None:
        return
    from ganbench.reports.render import render

    table = render(records, [], "json" if as_json else "markdown", runs=False)
    try:
        show(table)
    except DiskError as error:
        tell(table)
        raise DiskError(f"{error}; the runs are kept, and `ganbench report` prints their table") from error
    if any(record.status in ("error", "killed") for record in records):
        sys.exit(1)


def train(
    jobs: int | None,
    timeout_per_run: str | None,
    memory_per_run: str | None,
    results: Path,
    redo: str | None,
    allow_missing: bool,
    dry_run: bool,
    quiet: bool,
    no_page: bool,
    preset: str | None,
    scale: float,
    observe: tuple[str, ...] = (),
    executor: str = "local",
    executor_settings: tuple[str, ...] = (),
    **request: Any,
) -> list[RunRecord] | None:
    """Carry out the command and return the records of its runs; of a dry run print the plan and return None."""
    if preset is None:
        for option, given in (("--variants", request["variants"]), ("--dataset", request["datasets"])):
            if not given:
                data = (
                    " (--data is the folder where data sets lie)"
                    if option == "--dataset" and _was_given("data")
                    else ""
                )
                raise UserError(f"{option} is missing: name some, or a --preset{data}")
        if scale != 1:
            raise UserError(f"--scale {scale:g} is of a preset's budget: name a --preset, or set --budget")
    check_early(results, request)

    from ganbench.runs.executors.limits import Limits

    limits = Limits.parse(timeout_per_run, memory_per_run)  # like the above, before torch is imported
    observing = asked_for(observe, request["plugins"])

    from ganbench.runs.executors.choosing import choose

    chosen = choose(executor, executor_settings, request["plugins"])

    from ganbench.cli.page import keep_page
    from ganbench.cli.progress import watched
    from ganbench.reports.notes import STALE
    from ganbench.results.store import ResultStore
    from ganbench.runs.executors.local import GRACE_SECONDS
    from ganbench.runs.executors.planner import plan_apart
    from ganbench.runs.former import lookup_in
    from ganbench.runs.job import is_complete
    from ganbench.runs.looks import lacks_looks
    from ganbench.runs.request import Request

    request["data_root"], request["size"] = request.pop("data"), request["size"] or 0
    request["marks_metrics"], request["score"] = request["marks_metrics"] or (), request["score"] or ()
    asked = {name: value for name, value in request.items() if _was_given(name)}
    device, request["device"] = request["device"], where_planned(chosen, request["device"])
    request["elsewhere"] = not chosen.is_local
    planned = plan_apart(Request(**request), preset=preset, scale=scale, asked=asked)
    chosen, planned, parallel, side_by_side = placed(chosen, planned, jobs, device)
    made, store = planned.plan, ResultStore(results, lookup_in(planned.known))
    for name, reason in planned.broken.items():
        tell(f"Broken: {name}: {reason}")
    for note in made.notes:
        tell(f"Note: {note}")
    for skip in made.skips:
        tell(f"Skipped: {skip.variant} on {skip.dataset}: {skip.reason}")
    if not made.jobs:
        raise UserError("nothing to run: every variant was skipped")
    look = store.get if redo == "stale" else store.find
    if dry_run:
        show(_plan_table(made.jobs, look))
        _tell_missing(made.missing, made.jobs, allowed=allow_missing)
        return None
    found, todo, stale = {}, [], 0
    for job in made.jobs:
        try:
            record = look(job.spec)
        except UserError as error:
            tell(f"Skipped: {error}")
            continue
        if not is_complete(record, job) or lacks_looks(job, record, store):
            todo.append(job)
        elif record is not None and record.spec.is_stale:
            record, stale = _as_shown(record, job), stale + 1
        found[job.spec.id] = record
    if stale:
        made_by = f"{'was' if stale == 1 else 'were'} made by an older ganbench"
        tell(f"Note: {stale} of {len(made.jobs)} runs {made_by}; {STALE}")
    if not found:
        raise UserError("nothing to run: no record of these runs can be used")
    _tell_missing(made.missing, todo, allowed=allow_missing)
    for job in todo:
        if found[job.spec.id] is not None:
            _adopt(store, job.spec)
    running = events_of(chosen, todo, results, planned, limits, parallel)
    with (
        watched(todo, found, store, parallel=side_by_side, command=observing.command, quiet=quiet) as listener,
        observing.of(todo, store) as heard,
        closing(running) as events,
    ):
        try:
            for event in events:
                listener.hear(event)
                heard(event)
                if event.record is not None:
                    found[event.job.spec.id] = event.record
        except KeyboardInterrupt:
            listener.stopping()
            tell(f"Stopping: runs keep what they have, which takes {GRACE_SECONDS:.0f} seconds at most.")
            raise
    if not no_page:
        keep_page(results, news=bool(todo), quiet=quiet)
    return [record for record in found.values() if record is not None]


def _tell_missing(missing: Mapping[tuple[str, str], str], jobs: Sequence[Job], *, allowed: bool) -> None:
    """Say which metrics of the jobs cannot be computed. Raises `UserError` unless that is allowed."""
    asked = {(job.dataset, name) for job in jobs for name in job.metrics}
    by_reason: dict[str, list[str]] = {}
    for (dataset, name), reason in missing.items():
        if (dataset, name) in asked:
            by_reason.setdefault(reason, []).append(name)
    if not by_reason:
        return
    told = "; ".join(f"{', '.join(dict.fromkeys(names))}: {reason}" for reason, names in by_reason.items())
    if not allowed:
        raise UserError(f"cannot be computed: {told}. Leave out with --metrics, or train anyway with --allow-missing")
    tell(f"Note: cannot be computed: {told}")


def _adopt(store: ResultStore, spec: RunSpec) -> None:
    """Let a run continue from what an older schema kept of it, unless another command is at work on it."""
    with store.lock(spec, blocking=False) as free:
        if free:
            store.adopt(spec)


def _as_shown(record: RunRecord, job: Job) -> RunRecord:
    """Say of a run of an older ganbench why it has no value of what is asked for now."""
    from dataclasses import replace

    from ganbench.runs.job import unscored_metrics

    reason = "asked for after the run, which an older ganbench made"
    return replace(record, unscored={**record.unscored, **dict.fromkeys(unscored_metrics(record, job), reason)})


def _was_given(name: str) -> bool:
    """Return whether the user gave an option of the command that runs now, other than those that every run has."""
    given = {"data_root": "data"}.get(name, name)
    source = click.get_current_context().get_parameter_source(given)
    elsewhere = ("settings", "plugins", "data_root", "weights", "device", "devices")
    return name not in elsewhere and source is click.core.ParameterSource.COMMANDLINE


def _plan_table(jobs: Sequence[Job], look: Callable[[RunSpec], RunRecord | None]) -> str:
    from ganbench.reports.words import aligned
    from ganbench.results.rows import plain_text
    from ganbench.runs.job import is_complete

    header = ("variant", "options", "dataset", "size", "backbone", "budget", "seed", "parameters", "state")
    lines = []
    for job in jobs:
        spec, record = job.spec, look(job.spec)
        state: str = "done" if is_complete(record, job) else (record.status if record else "to do")
        state += " (stale)" if record is not None and record.spec.is_stale else ""
        parameters = ", ".join(f"{name} {count:,}" for name, count in job.parameters.items())
        facts = (spec.dataset, str(spec.size), spec.backbone, str(spec.budget), str(spec.seed), parameters, state)
        lines.append((spec.variant, plain_text(spec.shown_options), *facts))
    scoring = (
        f"metrics: {', '.join(jobs[0].metrics) or 'none'}; {jobs[0].samples} samples at each of {jobs[0].marks} marks"
    )
    return f"{aligned(header, lines)}\n\n{len(jobs)} runs; {scoring}"
