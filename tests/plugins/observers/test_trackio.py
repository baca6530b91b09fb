"""Trackio's own database holds what was logged; a run that goes on has nothing twice."""

from __future__ import annotations

import io
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from ganbench_plugins.observers.trackio import Trackio
from PIL import Image

from ganbench import end_of, settings_of

trackio = pytest.importorskip("trackio", reason="trackio is not installed: pip install 'ganbench[trackio]'")

NAME = "wgan clip=0.1 tiny seed 3 0123456789abcdef"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let trackio keep what it is told in a folder of the test's own."""
    for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID", "TRACKIO_WEBHOOK_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    places = {"TRACKIO_DIR": tmp_path, "MEDIA_DIR": tmp_path / "media", "ARTIFACTS_DIR": tmp_path / "artifacts"}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "trackio":
            for variable, folder in places.items():
                if hasattr(module, variable):
                    monkeypatch.setattr(module, variable, folder)
    return tmp_path


def logged(place: Path, project: str = "ganbench") -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """Return what was logged by run, as it stands in the database."""
    with sqlite3.connect(place / f"{project}.db") as base:
        rows = base.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for name, step, metrics in rows:
        found.setdefault(name, []).append((step, json.loads(metrics)))
    return found


def series(place: Path, key: str) -> list[tuple[int, Any]]:
    return [(step, metrics[key]) for step, metrics in logged(place)[NAME] if key in metrics]


def test_everything_that_a_run_tells_is_kept(story, tell, place, capfd):
    tell(Trackio(), "", *story.whole())
    assert series(place, "loss/D") == [(64, -64), (256, -256), (512, -512)]
    assert [value for _, value in series(place, "loss/G")] == ["NaN"] * 3
    assert series(place, "metric/fid@64") == [(256, 512), (512, 1024)]
    assert series(place, "metric/fid@64/raw") == [(256, 1024), (512, 2048)]
    assert series(place, "final/fid@64/ab12cd34/ema") == [(513, 9)]
    assert series(place, "end") == [(513, {"_type": "trackio.markdown", "_value": end_of(story.end(512))})]
    for step, picture in series(place, "samples"):
        content = io.BytesIO((place / "media" / picture["file_path"]).read_bytes())
        assert Image.open(content).convert("L").getpixel((0, 0)) == step % 251
    config = trackio.Api().runs("ganbench")[0].config
    assert settings_of(story.run).items() <= config.items()
    assert config["NUMBERS"] == 3 and config["command"] == story.begin()[0].command
    assert capfd.readouterr() == ("", "")


def test_a_run_that_goes_on_is_the_same_run_and_has_nothing_twice(story, tell, place):
    first = [story.tick(64), story.tick(128), story.mark(128), story.tick(192), story.end(192, "killed")]
    tell(Trackio(), "mine", *story.begin(), *first)
    tell(Trackio(), "mine", *story.begin(), story.tick(192), story.tick(256), story.mark(256), story.end(256))
    (found,) = logged(place, "mine").values()
    assert [(step, m["loss/D"]) for step, m in found if "loss/D" in m] == [
        (64, -64),
        (128, -128),
        (192, -192),
        (256, -256),
    ]
    assert [(step, m["metric/fid@64"]) for step, m in found if "metric/fid@64" in m] == [(128, 256), (256, 512)]
    assert [m["end"]["_value"].split("\n")[0] for _, m in found if "end" in m] == ["killed: it | broke", "done"]
    assert len({run.id for run in trackio.Api().runs("mine")}) == 1


def test_runs_at_once_are_kept_apart(story, other, tell, place):
    ends = [story.end(128), other.end(64)]
    ticks = [story.tick(64), other.tick(64, 3.0), story.tick(128)]
    tell(Trackio(), "", *story.begin(), *other.begin(), *ticks, *ends)
    losses = {name: [m["loss/D"] for _, m in found if "loss/D" in m] for name, found in logged(place).items()}
    assert losses == {NAME: [-64, -128], "vae tiny seed 0 fedcba9876543210": [3]}
