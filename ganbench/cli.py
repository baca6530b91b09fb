"""The command line. What needs torch is imported inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import click

from ganbench import __version__
from ganbench.errors import UserError

KINDS = ("variants", "datasets", "backbones", "metrics", "extractors", "presets")


class Names(click.ParamType):  # type: ignore[type-arg]
    """A comma-separated list of names."""

    name = "A,B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Split at commas, dropping blanks around names."""
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        if not names:
            self.fail("name at least one", param, ctx)
        return names


class Command(click.Group):
    """A group whose commands end with one sentence and exit code 2 where the request was wrong."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn a `UserError`, and warnings of ganbench's own, into their sentences."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.filterwarnings("always", module="ganbench")
                warnings.showwarning = lambda message, *_, **__: click.echo(f"Note: {message}", err=True)
                return super().invoke(ctx)
        except UserError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("Stopped; the same command continues where it was.", err=True)
            ctx.exit(130)


@click.group(cls=Command, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """Benchmark and evaluate GANs under identical, metered budgets."""


plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A plugin that is one Python file; may be given several times.",
)
results_option = click.option(
    "--results",
    default=Path("results"),
    type=click.Path(path_type=Path),
    show_default=True,
    help="Folder of records.",
)
data_option = click.option(
    "--data", type=click.Path(path_type=Path), envvar="GANBENCH_DATA", default=Path("data"), show_default=True,
    help="Root of the data sets; never written to.  [env: GANBENCH_DATA]",
)  # fmt: skip


@main.command()
@click.option("--variants", type=Names(), help="Names, globs ('wgan*'), family:NAME or all.")
@click.option("--dataset", "datasets", type=Names(), help="For instance digits, mnist, folder:PATH.")
@click.option("--preset", help="A comparison of the literature, see `ganbench list presets`.")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Share of the preset's budget.")
@click.option("--backbone", help="Architecture family.  [default: the data set's]")
@click.option("--budget", help="200k-images, 2000-updates, 3e15-flops or 90-seconds.  [default: the data set's]")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Seeds 0 to N-1.")
@click.option("--metrics", type=Names(), help="Metrics to compute.  [default: the data set's]")
@click.option("--size", type=click.IntRange(1), help="Side of the images in pixels.  [default: the data set's]")
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Real images in a batch.")
@click.option(
    "--samples",
    type=click.IntRange(2),
    help="Generated images an evaluation.  [default: the data set's, else its test split, ≤ 10000]",
)
@click.option("--marks", type=click.IntRange(1), default=5, show_default=True, help="Evaluation points of the budget.")
@click.option("--marks-metrics", type=Names(), help="Costly metrics to compute at every mark, not only the last.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Runs side by side, the cores shared out.  [default: on a CPU its cores, at most 8]",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@results_option
@data_option
@click.option("--weights", type=click.Path(path_type=Path), envvar="GANBENCH_WEIGHTS", help="Folder of metric weights.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option: lr=2e-4, wgan.clip=0.1.")
@plugin_option
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def run(
    jobs: int | None,
    results: Path,
    dry_run: bool,
    as_json: bool,
    preset: str | None,
    scale: float,
    **request: Any,
) -> None:
    """Train variants under identical budgets, score them, and print the table.

    Killed and given again, the command continues where it was; complete, it returns at once.
    """
    from ganbench.devices import default_jobs, resolve_device
    from ganbench.plan import Request, is_complete, plan
    from ganbench.plugins import discover
    from ganbench.presets import plan_preset
    from ganbench.progress import shown
    from ganbench.report import render
    from ganbench.runner import run_all
    from ganbench.store import ResultStore

    request["data_root"], request["size"] = request.pop("data"), request["size"] or 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's notice is heard like Ctrl-C
    device = resolve_device(request["device"])
    request["device"] = str(device)
    request["marks_metrics"] = request["marks_metrics"] or ()
    store = ResultStore(results)
    registry = discover(request["plugins"])
    if preset is None:
        for option, given in (("--variants", request["variants"]), ("--dataset", request["datasets"])):
            if not given:
                raise UserError(f"{option} is missing: name some, or a --preset")
        if scale != 1:
            raise UserError(f"--scale {scale:g} is of a preset's budget: name a --preset, or set --budget")
        made = plan(Request(**request), registry)
    else:
        asked = {name: value for name, value in request.items() if _was_given(name)}
        made = plan_preset(preset, scale, Request(**request), asked, registry)
    for note in made.notes:
        click.echo(f"Note: {note}", err=True)
    for skip in made.skips:
        click.echo(f"Skipped: {skip.variant} on {skip.dataset}: {skip.reason}", err=True)
    if not made.jobs:
        raise UserError("nothing to run: every variant was skipped")
    if dry_run:
        click.echo(_plan_table(made.jobs, store))
        return
    found, todo = {}, []
    for job in made.jobs:
        try:
            found[job.spec.id] = store.get(job.spec)
        except UserError as error:
            click.echo(f"Skipped: {error}", err=True)
            continue
        if not is_complete(found[job.spec.id], job):
            todo.append(job)
    if not found:
        raise UserError("nothing to run: no record of these runs can be used")
    with shown(len(todo)) as listener:
        for event in run_all(todo, results, parallel=jobs or default_jobs(device)):
            listener.hear(event)
            if event.record is not None:
                found[event.job.spec.id] = event.record
    records = [record for record in found.values() if record is not None]
    click.echo(render(records, [], "json" if as_json else "markdown", runs=False))
    if any(record.status in ("error", "killed") for record in records):
        sys.exit(1)


def _was_given(name: str) -> bool:
    """Return whether the user gave an option of the command that runs now, other than those that every run has."""
    given = {"data_root": "data"}.get(name, name)
    source = click.get_current_context().get_parameter_source(given)
    elsewhere = ("settings", "plugins", "data_root", "weights", "device")
    return name not in elsewhere and source is click.core.ParameterSource.COMMANDLINE


def _plan_table(jobs: Any, store: Any) -> str:
    from ganbench.markdown import aligned
    from ganbench.plan import is_complete
    from ganbench.rows import plain_text

    header = ("variant", "options", "dataset", "size", "backbone", "budget", "seed", "parameters", "state")
    lines = []
    for job in jobs:
        spec, record = job.spec, store.get(job.spec)
        state = "done" if is_complete(record, job) else (record.status if record else "to do")
        parameters = ", ".join(f"{name} {count:,}" for name, count in job.parameters.items())
        facts = (spec.dataset, str(spec.size), spec.backbone, str(spec.budget), str(spec.seed), parameters, state)
        lines.append((spec.variant, plain_text(spec.options), *facts))
    scoring = f"metrics: {', '.join(jobs[0].metrics)}; {jobs[0].samples} samples at each of {jobs[0].marks} marks"
    return f"{aligned(header, lines)}\n\n{len(jobs)} runs; {scoring}"


@main.command()
@click.option("--variant", required=True, help="The variant whose generator is probed.")
@click.option("--dataset", required=True, help="For instance mnist.")
@click.option("--at", type=Names(), default="1,10,25", show_default=True, help="Epochs of training before each probe.")
@click.option(
    "--iterations", type=click.IntRange(1), default=4000, show_default=True, help="Updates of each fresh discriminator."
)
@click.option("--backbone", help="Architecture family.  [default: the data set's]")
@click.option("--size", type=click.IntRange(1), help="Side of the images in pixels.  [default: the data set's]")
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Real images in a batch.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@results_option
@data_option
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option: lr=2e-4, dcgan.width=32.")
@plugin_option
def probe(
    variant: str, dataset: str, at: tuple[str, ...], iterations: int, seed: int, results: Path, **request: Any
) -> None:
    """Measure how G's gradient vanishes or grows while a fresh D is trained against it (Arjovsky & Bottou 2017).

    Trains the variant, fixes its generator after so many epochs, trains a discriminator from scratch and prints the
    norm of G's gradient under log(1-D), under -log D and under the variant's own loss; CSV and PNG lie in
    RESULTS/probe. Killed and given again, it continues.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported: see runner
    from ganbench.devices import cores, resolve_device
    from ganbench.plan import Request
    from ganbench.plugins import discover
    from ganbench.probe import draw, plan_probe, run_probe, table

    try:
        epochs = [float(text) for text in at]
    except ValueError:
        raise UserError(f"--at {','.join(at)}: name epochs, as in 1,10,25") from None
    request |= {"variants": [variant], "datasets": [dataset], "data_root": request.pop("data")}
    request |= {"device": str(resolve_device(request["device"])), "size": request["size"] or 0}
    registry = discover(request["plugins"])
    made = plan_probe(Request(**request), registry, epochs=epochs, iterations=iterations, seed=seed, results=results)
    curves = run_probe(made, registry, threads=cores(), tell=lambda line: click.echo(line, err=True))
    draw(made, curves)
    click.echo(table(made, curves))
    click.echo(f"\n{made.path('.csv')}\n{made.path('.png')}", err=True)


@main.command()
@results_option
@click.option("--format", "form", type=click.Choice(["markdown", "csv", "json"]), default="markdown", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Write to a file instead of standard output.")
@click.option("--runs", is_flag=True, help="One row a run instead of one a variant.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def report(results: Path, form: str, output: Path | None, runs: bool, as_json: bool) -> None:
    """Make comparison tables of the records in a results folder."""
    from ganbench.files import write_atomically
    from ganbench.report import render
    from ganbench.store import ResultStore

    records, problems = ResultStore(results).records()
    for problem in problems:
        click.echo(f"Skipped: {problem}", err=True)
    text = render(records, problems, "json" if as_json else form, runs=runs)
    if output is None:
        click.echo(text)
    else:
        write_atomically(output, lambda file: file.write(text.rstrip().encode() + b"\n"))


@main.command(name="list")
@click.argument(
    "what",
    default="all",
    type=click.Choice(["all", *KINDS]),
)
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(what: str, plugins: tuple[Path, ...], as_json: bool) -> None:
    """Show what is installed, from which distribution, and what is broken."""
    import json

    from ganbench.plugins import HOOKS, discover

    registry = discover(plugins)
    shown = {}
    for kind in HOOKS:
        if what in ("all", f"{kind}s"):
            shown[f"{kind}s"] = [
                _facts(entry) for _, owners in sorted(registry.entries[kind].items()) for entry in owners
            ]
    if as_json:
        click.echo(json.dumps({**shown, "broken": registry.broken}, indent=1))
        return
    for title, rows in shown.items():
        click.echo(f"{title}:")
        wide = max((len(row["name"]) for row in rows), default=0)
        for row in rows:
            extra = "; ".join(filter(None, (row.get("paper", ""), row.get("family", ""), row.get("architecture", ""))))
            about = f"{row['summary']} [{extra}]" if extra else row["summary"]
            click.echo(f"  {row['name']:{wide}}  {about}  ({row['from']})")
    claimed = [(kind, name) for kind in HOOKS for name, owners in registry.entries[kind].items() if len(owners) > 1]
    for kind, name in claimed:
        who = " and ".join(entry.owner for entry in registry.entries[kind][name])
        click.echo(f"Clash: two plugins claim the {kind} {name!r}: {who}", err=True)
    for name, error in registry.broken.items():
        click.echo(f"Broken: {name}: {error}", err=True)


def _facts(entry: Any) -> dict[str, str]:
    item, origin = entry.item, entry.origin
    facts = {"name": item.name, "summary": item.summary, "from": f"{origin.distribution} {origin.version}".strip()}
    if isinstance(item, type):
        own = "own architecture" if item.own_architecture else ""  # type: ignore[attr-defined]
        facts |= {"paper": item.paper, "family": item.family, "architecture": own}  # type: ignore[attr-defined]
    return facts


@main.command()
@click.argument("name")
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(name: str, plugins: tuple[Path, ...], as_json: bool) -> None:
    """Put a variant through the conformance checks."""
    import json
    from dataclasses import asdict

    from ganbench.plugins import discover
    from ganbench.testing import run_checks

    outcomes = run_checks(name, registry=discover(plugins))
    if as_json:
        click.echo(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    else:
        for outcome in outcomes:
            click.echo(f"{'passed' if outcome.passed else 'FAILED'}  {outcome.name}: {outcome.rule}")
            if not outcome.passed:
                click.echo(f"        {outcome.message}")
    if not all(outcome.passed for outcome in outcomes):
        sys.exit(1)
