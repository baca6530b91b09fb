"""`ganbench probe`: how the gradient of a fixed generator vanishes or grows, the experiment `vanishing` by its name."""

from __future__ import annotations

from typing import Any

import click

from ganbench.cli.complete import one_of
from ganbench.cli.group import Command
from ganbench.cli.options import Names, data_option, plugin_option, results_option
from ganbench.errors import UserError, brief
from ganbench.runs.hints import require_no_file
from ganbench.streams import show

EXPERIMENT = "vanishing"


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
    variant: str,
    at: tuple[str, ...],
    iterations: int,
    seed: int,
    settings: tuple[str, ...],
    plugins: tuple[Any, ...],
    **request: Any,
) -> None:
    """Measure how G's gradient vanishes or grows while a fresh D is trained against it (Arjovsky & Bottou 2017).

    Trains the variant, fixes its generator after so many epochs, trains a discriminator from scratch and prints the
    norm of G's gradient under log(1-D), under -log D and under the variant's own loss. It is the experiment vanishing,
    of one variant and one seed; CSV and PNG lie in RESULTS/experiments. Killed and given again, it continues.
    """
    try:
        epochs = [float(text) for text in at]
    except ValueError:
        raise UserError(f"--at {brief(','.join(at))}: name epochs, as in 1,10,25") from None
    require_no_file("--variant", [variant])
    from ganbench.cli.experiment import experiment
    from ganbench.cli.keywords import asked

    own = [f"{EXPERIMENT}.at={','.join(map(repr, epochs))}", f"{EXPERIMENT}.iterations={iterations}"]
    words = {"name": EXPERIMENT, "variants": variant, "seeds": f"{seed}-{seed}", "no_page": True, **request}
    with asked("experiment", {**words, "set": [*settings, *own], "plugin": list(plugins)}) as options:
        options.pop("as_json")
        _, text = experiment(**options)
    show(text)
