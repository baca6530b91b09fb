"""`ganbench score`: metrics of two sets of samples, whoever made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ganbench.cli.complete import one_of, some_of
from ganbench.cli.group import Command
from ganbench.cli.options import FullPath, Names, data_option, plugin_option, require_plugins, results_option
from ganbench.streams import show

if TYPE_CHECKING:
    from ganbench.contract.types import Value
    from ganbench.runs.steps import Begin


class Scored(NamedTuple):
    """What a comparison came to: what the sides `a` and `b` are, and the values by name."""

    sides: dict[str, dict[str, Any]]
    values: dict[str, Value]


@click.command(cls=Command)
@click.argument("a", shell_complete=one_of("dataset"))
@click.argument("b", shell_complete=one_of("dataset"))
@click.option(
    "--metrics",
    type=Names(),
    required=True,
    shell_complete=some_of("metric"),
    help="For instance fid,kid,copies; precision@classifier.",
)
@click.option("-n", "n", type=click.IntRange(1), default=10_000, show_default=True, help="Samples drawn of a run.")
@click.option("--size", type=click.IntRange(1, 16_384), help="Side to which folders and data sets are resized.")
@click.option("--seed", type=click.IntRange(0), help="Of the samples of a run.  [default: the run's]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--weights", type=FullPath(), envvar="GANBENCH_WEIGHTS", help="Folder of metric weights.")
@results_option
@data_option
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of a metric: prdc.k=3.")
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the whole protocols.")
def command(as_json: bool, **request: Any) -> None:
    """Score the samples A, in a generator's place, against the reference B.

    Each is a folder of images, an .npy or .npz file (uint8, pixels last as in `arr_0`), a data set (digits,
    mnist@train, folder:PATH@test; its test split unless @train follows), or a finished run (run:gan, run:ID, a record's
    file; @raw or @ema names its weights). Images are compared as they are: give --size to resize folders and data sets.
    """
    scored = score(**request)
    if as_json:
        import json

        values = {name: _facts(value) for name, value in scored.values.items()}
        show(json.dumps({**scored.sides, "values": values}, indent=1, ensure_ascii=False))
    else:
        show(_table(scored))


def score(**request: Any) -> Scored:
    """Carry out the command, in a process of its own for the plugins."""
    from ganbench.cli.progress import steps_shown
    from ganbench.runs.executors.apart import survive
    from ganbench.training.devices import require_name

    require_name(request["device"])
    require_plugins(request["plugins"])
    with steps_shown() as watch:
        scored, _ = survive(_scored, request, watch=watch)
    return scored


def _scored(request: dict[str, Any], begin: Begin) -> Scored:
    from ganbench.runs.compare import about, choose, compare
    from ganbench.runs.registry import discover
    from ganbench.runs.sides import Places, open_side
    from ganbench.training.devices import cores, make_repeatable, resolve_device

    device, plugins = resolve_device(request["device"]), request["plugins"]
    registry = discover(plugins, begin=begin)
    make_repeatable(device, cores())
    metrics = choose(request["metrics"], registry, request["settings"])
    places = Places(
        request["data"],
        request["results"],
        request["size"] or 0,
        request["n"],
        request["seed"],
        str(device),
        plugins,
    )
    fake, real = (open_side(request[side], registry, places, begin) for side in "ab")
    values = compare(fake, real, metrics, registry, device=device, weights=request["weights"], begin=begin)
    return Scored({"a": about(fake), "b": about(real)}, values)


def _facts(value: Value) -> dict[str, Any]:
    facts = {"value": value.value, "spread": value.spread, "higher_is_better": value.higher_is_better}
    return {**facts, "protocol_hash": value.protocol_hash, "protocol": value.protocol}


def _table(scored: Scored) -> str:
    from ganbench.reports.words import aligned
    from ganbench.results.rows import plain_text

    lines, legend = [], []
    for name, value in scored.values.items():
        arrow = {True: " ↑", False: " ↓", None: ""}[value.higher_is_better]
        spread = "" if value.spread is None else f"{value.spread:.2g}"
        lines.append((f"{name}{arrow}", f"{value.value:.6g}", spread, value.protocol_hash))
        legend.append(f"- {name}, protocol {value.protocol_hash}: {plain_text(value.protocol)}")
    sides = [f"{side.upper()}: {plain_text(facts)}" for side, facts in scored.sides.items()]
    table = aligned(("metric", "value", "standard error", "protocol"), lines)
    return "\n".join([*sides, "", table, "", *legend])
