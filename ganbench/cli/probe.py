"""`ganbench probe`: how the gradient of a fixed generator vanishes or grows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ganbench.cli.complete import one_of
from ganbench.cli.group import Command
from ganbench.cli.options import Names, check_early, data_option, folder_kept, plugin_option, results_option
from ganbench.errors import UserError, brief
from ganbench.streams import show, tell


@click.command(cls=Command)
@click.option(
    "--variant", required=True, shell_complete=one_of("variant"), help="The variant whose generator is probed."
)
@click.option("--dataset", required=True, shell_complete=one_of("dataset"), help="For instance mnist.")
@click.option("--at", type=Names(), default="1,10,25", show_default=True, help="Epochs of training before each probe.")
@click.option(
    "--iterations", type=click.IntRange(1), default=4000, show_default=True, help="Updates of each fresh discriminator."
)
@click.option("--backbone", shell_complete=one_of("backbone"), help="Architecture family.  [default: the data set's]")
@click.option("--size", type=click.IntRange(1, 16_384), help="Side of the images in pixels.  [default: the data set's]")
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Real images in a batch.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@results_option
@data_option
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option: lr=2e-4, dcgan.width=32.")
@plugin_option
def command(
    variant: str, dataset: str, at: tuple[str, ...], iterations: int, seed: int, results: Path, **request: Any
) -> None:
    """Measure how G's gradient vanishes or grows while a fresh D is trained against it (Arjovsky & Bottou 2017).

    Trains the variant, fixes its generator after so many epochs, trains a discriminator from scratch and prints the
    norm of G's gradient under log(1-D), under -log D and under the variant's own loss; CSV and PNG lie in
    RESULTS/probe. Killed and given again, it continues.
    """
    try:
        epochs = [float(text) for text in at]
    except ValueError:
        raise UserError(f"--at {brief(','.join(at))}: name epochs, as in 1,10,25") from None
    check_early(results, {**request, "variant": variant, "dataset": dataset})
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported: see executors.local
    from ganbench.reports.probe import draw, table
    from ganbench.runs.executors.planner import plan_apart
    from ganbench.runs.probe import plan_probe, request_of_run, run_probe
    from ganbench.runs.registry import discover
    from ganbench.runs.request import Request
    from ganbench.runs.steps import Step
    from ganbench.training.devices import cores, resolve_device

    request |= {"variants": [variant], "datasets": [dataset], "data_root": request.pop("data")}
    request |= {"device": str(resolve_device(request["device"])), "size": request["size"] or 0}
    asked = Request(**request)
    fallen = plan_apart(request_of_run(asked)).fallen  # what would end this process is left out here

    def begin(step: Step) -> str:
        return fallen.get(step.key, "")

    with folder_kept():
        registry = discover(asked.plugins, begin=begin)
    made = plan_probe(asked, registry, epochs=epochs, iterations=iterations, seed=seed, results=results, begin=begin)
    curves = run_probe(made, registry, threads=cores(), tell=tell)
    draw(made, curves)
    show(table(made, curves))
    tell(f"\n{made.path('.csv')}\n{made.path('.png')}")
