"""MLflow reads back, from its own database, what was logged; a run that goes on has nothing twice."""

from __future__ import annotations

import io
import json
import math
import sqlite3
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from ganbench_plugins.observers.mlflow import MLflow
from PIL import Image

from ganbench import plain, settings_of

if any(find_spec(name) is None for name in MLflow.needs):  # without importing it, as the observer does in its own way
    pytest.skip("MLflow is not installed: pip install 'ganbench[mlflow]'", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore:::(mlflow|sqlalchemy|alembic)")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables, which takes seconds to make."""
    place = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MLflow().open(f"sqlite:///{place}")
    with sqlite3.connect(place) as base:
        base.execute("DELETE FROM experiments WHERE name = 'ganbench'")
    return place


@pytest.fixture
def uri(empty: Path, tmp_path: Path) -> Iterator[str]:
    place = tmp_path / "mlflow.db"
    place.write_bytes(empty.read_bytes())
    yield f"sqlite:///{place}"


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def only_run(uri: str) -> Any:
    (experiment,) = (e for e in client(uri).search_experiments() if e.name in ("ganbench", "mine"))
    (run,) = client(uri).search_runs([experiment.experiment_id])
    return run


def history(uri: str, name: str) -> list[tuple[int, float]]:
    found = client(uri).get_metric_history(only_run(uri).info.run_id, name)
    return sorted((metric.step, metric.value) for metric in found)


def test_everything_that_a_run_tells_is_read_back(story, tell, uri, tmp_path):
    tell(MLflow(), uri, *story.whole())
    assert history(uri, "loss/D") == [(64, -64), (256, -256), (512, -512)]
    assert [math.isnan(value) for _, value in history(uri, "loss/G")] == [True] * 3
    assert history(uri, "metric/fid 64") == [(256, 512), (512, 1024)]
    assert history(uri, "metric/fid 64/raw") == [(256, 1024), (512, 2048)]
    assert history(uri, "meters/updates/G") == [(64, 0), (256, 0), (512, 1)]
    assert history(uri, "final/fid 64/ab12cd34/ema") == [(512, 9)]
    run = only_run(uri)
    assert run.info.status == "FINISHED" and run.info.run_name == "wgan clip=0.1 tiny seed 3 01234567"
    assert run.data.params == {name: str(value) for name, value in settings_of(story.run).items()}
    told = {"dataset": "folder:/data/my images", "variant": "wgan", "seed": "3", "NUMBERS": "3", "status": "done"}
    told |= {
        "protocol/grad-norm": "ab12cd34",
        "ganbench.run": story.run.id,
        "ganbench.command": story.begin()[0].command,
    }
    assert told.items() <= run.data.tags.items()
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    assert folder.is_relative_to(tmp_path)
    assert json.loads((folder / "record.json").read_text()) == plain(story.end(512).record)
    pictures = sorted(folder.glob("images/samples*step*.png"))
    levels = {Image.open(io.BytesIO(picture.read_bytes())).convert("L").getpixel((0, 0)) for picture in pictures}
    assert levels == {256 % 251, 512 % 251} and len(pictures) == 2


@pytest.mark.parametrize(("status", "kept"), [("diverged", "FINISHED"), ("error", "FAILED"), ("killed", "KILLED")])
def test_each_end_is_told(status, kept, story, tell, uri):
    tell(MLflow(), uri, *story.begin(), story.end(64, status))
    run = only_run(uri)
    assert run.info.status == kept
    assert (run.data.tags["status"], run.data.tags["error"]) == (status, "it | broke")


def test_a_run_that_goes_on_is_the_same_run_and_has_nothing_twice(story, tell, uri):
    first = [story.tick(64), story.tick(128), story.mark(128), story.tick(192), story.end(192, "killed")]
    tell(MLflow(), uri, *story.begin(), *first)
    # It goes on from a checkpoint before its last tick.
    tell(
        MLflow(),
        uri,
        *story.begin(),
        story.tick(128),
        story.mark(128),
        story.tick(192),
        story.tick(256),
        story.mark(256),
    )
    assert only_run(uri).info.status == "RUNNING"
    assert history(uri, "loss/D") == [(64, -64), (128, -128), (192, -192), (256, -256)]
    assert history(uri, "metric/fid 64") == [(128, 256), (256, 512)]


def test_a_run_that_is_scored_again_logs_what_is_new(story, tell, uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    tell(MLflow(), uri, *story.whole())
    tell(MLflow(), uri, *story.begin(), story.end(512, fid=8.25), story.last())
    assert history(uri, "final/fid 64/ab12cd34/ema") == [(512, 8.25), (512, 9)]
    assert history(uri, "final/grad-norm") == [(512, 0.5)]
    assert only_run(uri).info.status == "FINISHED"


def test_runs_at_once_are_kept_apart(story, other, tell, uri):
    tell(
        MLflow(), uri, *story.begin(), *other.begin(), story.tick(64), other.tick(64, 3.0), story.end(64), other.end(64)
    )
    experiment = client(uri).get_experiment_by_name("ganbench")
    found = client(uri).search_runs([experiment.experiment_id])
    assert {(run.data.tags["ganbench.run"], run.data.metrics["loss/D"]) for run in found} == {
        (story.run.id, -64),
        (other.run.id, 3),
    }
