"""Runs of Weights & Biases, on its servers or offline."""

from __future__ import annotations

import io
import netrc
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ganbench import (
    Happening,
    Observer,
    RunEnded,
    RunMarked,
    RunStarted,
    RunTicked,
    UserError,
    by_run,
    finals_of,
    hookimpl,
    scalars_of,
    settings_of,
)

PROJECT = "ganbench"
STEP = "images"
"""The axis of all charts."""
OFFLINE = ("offline", "dryrun", "disabled")
LONGEST_TAG = 64
CREDENTIALS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")


class WandB(Observer):
    """Logs to a project, `ganbench` unless `WANDB_PROJECT` or the argument says another; `ENTITY/PROJECT` names a team.

    Options are the config; data set, variant, seed and NUMBERS are tags; values at the end, their protocols and the
    status stand in the summary. The run's id is that of ganbench, so a run that goes on is resumed: ticks and marks up
    to the last that were logged are not logged again. With `WANDB_MODE=offline` each part of it is a folder of its own
    below `./wandb`, with one id, for `wandb sync`. Neither code, git nor the machine is collected.
    """

    name = "wandb"
    summary = "runs of Weights & Biases"
    form = "wandb[:PROJECT]"
    needs = ("wandb",)
    install = "ganbench[wandb]"

    def check(self, argument: str) -> None:
        import wandb

        settings = wandb.setup().settings
        host = urlsplit(settings.base_url).netloc
        if settings.mode in OFFLINE or settings.api_key or any(map(os.environ.get, CREDENTIALS)) or _in_netrc(host):
            return
        raise UserError(f"no API key for {host}: run `wandb login`, set WANDB_API_KEY, or set WANDB_MODE=offline")

    def open(self, argument: str) -> Callable[[Happening], object]:
        import wandb

        entity, _, project = argument.rpartition("/")
        quiet = wandb.Settings(
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        project = project or os.environ.get("WANDB_PROJECT") or PROJECT
        place = {"project": project, "entity": entity or None, "settings": quiet}
        return by_run(partial(_Run, place))


class _Run:
    def __init__(self, place: dict[str, Any], event: RunStarted) -> None:
        import wandb

        run, service = event.run, os.environ.get("WANDB_SERVICE")
        tags = (run.dataset, run.variant, f"seed {run.seed}", f"NUMBERS {run.numbers}")
        self._run = wandb.init(
            id=run.id,
            name=f"{run.name} {run.id[:8]}",
            group=f"{run.variant} {run.dataset}",
            tags=[tag[:LONGEST_TAG] for tag in tags],
            config={**settings_of(run), "command": event.command},
            resume="allow",
            reinit="create_new",
            **place,
        )
        if service is None:
            os.environ.pop("WANDB_SERVICE", None)  # meant for processes of its own, and runs are none
        self._run.define_metric(STEP, hidden=True)
        self._run.define_metric("*", step_metric=STEP)
        known: Any = self._run.summary if self._run.resumed else {}
        self._ticked, self._marked = (float(known.get(name, -1)) for name in ("meters/images", "marked"))

    def tick(self, event: RunTicked) -> None:
        if event.spent.images > self._ticked:
            self._ticked = event.spent.images
            self._run.log({STEP: event.spent.images, **scalars_of(event)})

    def mark(self, event: RunMarked) -> None:
        if event.spent.images <= self._marked:
            return
        import wandb
        from PIL import Image

        pictures = {name: wandb.Image(Image.open(io.BytesIO(png))) for name, png in event.pictures.items()}
        self._run.log({STEP: event.spent.images, **scalars_of(event), **pictures})
        self._run.summary["marked"] = event.spent.images

    def end(self, event: RunEnded) -> None:
        finals = finals_of(event)
        self._run.summary.update(
            {name: found.value for name, found in finals.items()}
            | {f"protocol/{name.removeprefix('final/')}": found.protocol_hash for name, found in finals.items()}
            | {"status": event.status, "error": event.error}
        )
        self._run.finish(exit_code=0 if event.status in ("done", "diverged") else 1)


def _in_netrc(host: str) -> bool:
    """Whether a key for a host was kept by `wandb login`."""
    home = Path.home()
    files = (os.environ.get("NETRC"), home / ".netrc", home / "_netrc")
    file = next((each for each in files if each and Path(each).is_file()), None)
    try:
        return file is not None and netrc.netrc(file).authenticators(host) is not None
    except (netrc.NetrcParseError, OSError):
        return False


@hookimpl
def ganbench_observers() -> list[Observer]:
    return [WandB()]
