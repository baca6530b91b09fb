"""Runs of MLflow: on its server, in a database, or where `MLFLOW_TRACKING_URI` says."""

from __future__ import annotations

import io
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ganbench import (
    Happening,
    Observer,
    RunEnded,
    RunMarked,
    RunStarted,
    RunTicked,
    by_run,
    finals_of,
    hookimpl,
    plain,
    scalars_of,
    settings_of,
)

EXPERIMENT = "ganbench"
"""The name of the experiment, unless `MLFLOW_EXPERIMENT_NAME` says another."""
RUN, TICKED, MARKED = "ganbench.run", "ganbench.ticked", "ganbench.marked"
"""Tags: the id of the run, and the images at its last tick and mark that were logged."""
LONGEST = 6000
"""Characters of a parameter."""
PIECE = 100
"""Parameters, numbers or tags in a request."""
STATUSES = {"done": "FINISHED", "diverged": "FINISHED", "killed": "KILLED"}


class MLflow(Observer):
    """Logs to a tracking server or a database (`mlflow:http://HOST:PORT`, `mlflow:sqlite:////PATH/mlflow.db`).

    Options are parameters; steps are images. Data set, variant, seed, NUMBERS, status and the protocol of each value
    are tags. The record of the run is its artifact `record.json`. A run that goes on is found by the tag `ganbench.run`
    and continued: ticks and marks up to the last that were logged are not logged again. Where the address is a file of
    SQLite, pictures lie beside it. MLflow's own telemetry is off unless `MLFLOW_DISABLE_TELEMETRY` says otherwise.
    """

    name = "mlflow"
    summary = "runs of MLflow"
    form = "mlflow[:URI]"
    needs = ("mlflow", "sqlalchemy", "alembic")
    install = "ganbench[mlflow]"

    def open(self, argument: str) -> Callable[[Happening], object]:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):  # which it sets itself when it is imported
            logging.getLogger(name).setLevel(logging.WARNING)
        client = MlflowClient(tracking_uri=argument or None)
        return by_run(partial(_Run, client, _experiment(client)))


class _Run:
    def __init__(self, client: Any, experiment: str, event: RunStarted) -> None:
        self._client, run = client, event.run
        found = client.search_runs([experiment], f"tags.`{RUN}` = '{run.id}'", max_results=1)
        tags = {
            "dataset": run.dataset,
            "variant": run.variant,
            "seed": str(run.seed),
            "NUMBERS": str(run.numbers),
            "ganbench.command": event.command,
            RUN: run.id,
        }
        if found:
            self._id = found[0].info.run_id
            client.update_run(self._id, status="RUNNING")
        else:
            self._id = client.create_run(experiment, run_name=f"{run.name} {run.id[:8]}", tags=tags).info.run_id
            self._log_settings(settings_of(run))
        known = found[0].data if found else None
        self._ticked, self._marked = (float(known.tags.get(tag, -1)) if known else -1.0 for tag in (TICKED, MARKED))
        self._finals: Mapping[str, float] = known.metrics if known else {}

    def tick(self, event: RunTicked) -> None:
        if event.spent.images > self._ticked:
            self._log(scalars_of(event), event.spent.images, {TICKED: event.spent.images})

    def mark(self, event: RunMarked) -> None:
        if event.spent.images <= self._marked:
            return
        from PIL import Image

        for name, png in event.pictures.items():
            with Image.open(io.BytesIO(png)) as image:
                self._client.log_image(self._id, image, key=name, step=event.spent.images)
        self._log(scalars_of(event), event.spent.images, {MARKED: event.spent.images})

    def end(self, event: RunEnded) -> None:
        finals = finals_of(event)
        new = {name: found.value for name, found in finals.items() if self._finals.get(_key(name)) != found.value}
        tags = {f"protocol/{name.removeprefix('final/')}": found.protocol_hash for name, found in finals.items()}
        self._log(new, event.spent.images, tags | {"status": event.status, "error": event.error[:LONGEST]})
        self._client.log_dict(self._id, plain(event.record), "record.json")
        self._client.set_terminated(self._id, STATUSES.get(event.status, "FAILED"))

    def _log_settings(self, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(_key(name), str(value)[:LONGEST]) for name, value in settings.items()]
        for piece in _pieces(params):
            self._client.log_batch(self._id, params=piece)

    def _log(self, numbers: Mapping[str, float], step: int, tags: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric, RunTag

        now = int(1000 * time.time())
        metrics = [Metric(_key(name), number, now, step) for name, number in numbers.items()]
        told = [RunTag(_key(name), str(value)) for name, value in tags.items()]
        for some, others in zip_longest(_pieces(metrics), _pieces(told), fillvalue=()):
            self._client.log_batch(self._id, metrics=some, tags=others)


def _experiment(client: Any) -> str:
    """Return the id of the experiment, made where there is none."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    if (found := client.get_experiment_by_name(name)) is not None:
        return found.experiment_id
    beside = re.fullmatch(r"sqlite:///(.+)", client.tracking_uri)
    place = Path(beside[1]).absolute().parent / "mlartifacts" if beside else None
    return client.create_experiment(name, artifact_location=place.as_uri() if place else None)


def _key(name: str) -> str:
    """Spell a name with what MLflow takes: letters, digits and `_-. /`; an `@` becomes a space."""
    return re.sub(r"[^\w\-. /]", " ", name)


def _pieces(things: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (things[start : start + PIECE] for start in range(0, len(things), PIECE))


@hookimpl
def ganbench_observers() -> list[Observer]:
    return [MLflow()]
