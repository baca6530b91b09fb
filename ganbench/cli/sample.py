"""`ganbench sample`: images of a finished run, from its kept weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ganbench.cli.complete import one_of
from ganbench.cli.group import Command
from ganbench.cli.options import FullPath, data_option, plugin_option, require_plugins, results_option
from ganbench.errors import UserError
from ganbench.streams import show

NO_FOLDERS = (".npy", ".pt", ".png", ".jpg", ".jpeg", ".zip", ".gz", ".tar", ".csv")
"""Names that end so are meant for files."""


@click.command(cls=Command)
@click.argument("run", shell_complete=one_of("variant"))
@click.option("-n", "n", type=click.IntRange(1), default=50_000, show_default=True, help="How many.")
@click.option("--output", type=FullPath(), required=True, help="A new folder for PNG files, or FILE.npz for arrays.")
@click.option("--class", "label", type=click.IntRange(0), help="One class alone, by its number.")
@click.option("--seed", type=click.IntRange(0), help="Of the latents.  [default: the run's, as it was scored]")
@click.option("--weights", type=click.Choice(["raw", "ema"]), help="As trained, or averaged.  [default: as scored]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--dataset", help="The run's data set, where it does not lie where its name says: folder:PATH.")
@results_option
@data_option
@plugin_option
def command(output: Path, **request: Any) -> None:
    """Write images of a finished RUN, made with the weights that were kept of it.

    RUN is a record's file, the beginning of a run's id, or a variant where the results hold one run of it. An .npz file
    holds `arr_0`, uint8 (N, H, W, C), and `labels` where the run makes images by class; PNG files then lie in a folder
    a class. Equal seeds give equal images.
    """
    write(output, **request)
    show(f"{request['n']:,} samples in {output}")


def write(output: Path, **request: Any) -> None:
    """Carry out the command, in a process of its own for the plugins."""
    from ganbench.cli.progress import steps_shown
    from ganbench.runs.executors.apart import survive
    from ganbench.runs.export import export, new_folder

    asked = wanted(**request)
    with steps_shown() as watch:
        if output.suffix.lower() == ".npz":
            survive(export, asked, output, watch=watch)
            return
        if output.suffix.lower() in NO_FOLDERS:
            raise UserError(f"--output {output}: name a folder for PNG files, or a file that ends in .npz")
        with new_folder(output) as folder:
            survive(export, asked, folder, watch=watch)


def wanted(run: str, results: Path, data: Path, **request: Any) -> Any:
    """Turn the options of the command into what is to be drawn. Raises `UserError` where there is no such run."""
    from ganbench.runs.export import Wanted
    from ganbench.runs.kept import find_kept
    from ganbench.training.devices import require_name

    require_name(request["device"])
    require_plugins(request["plugins"])
    found = find_kept(run, results)
    request |= {"weights": request["weights"] or "", "dataset": request["dataset"] or ""}
    return Wanted(found, data_root=data, **request)
