"""TensorBoard reads back what was written; a run that goes on has nothing twice."""

from __future__ import annotations

import math
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ganbench_plugins.observers.tensorboard import TensorBoard

from ganbench import UserError, end_of, settings_of

pytest.importorskip("tensorboard", reason="TensorBoard is not installed: pip install 'ganbench[tensorboard]'")
reading = "tensorboard.backend.event_processing"
EventAccumulator = import_module(f"{reading}.event_accumulator").EventAccumulator
Served = import_module(f"{reading}.plugin_event_accumulator").EventAccumulator  # what the server reads with
HParamsPluginData = import_module("tensorboard.plugins.hparams.plugin_data_pb2").HParamsPluginData

PLACE = ("folder-data-my-images", "wgan-clip=0.1-tiny-seed-3-01234567")


def read(root: Path) -> Any:
    found = EventAccumulator(str(root.joinpath(*PLACE)))
    found.Reload()
    return found


def steps(root: Path, tag: str) -> dict[int, float]:
    events = read(root).Scalars(tag)
    assert len({event.step for event in events}) == len(events)
    return {event.step: event.value for event in events}


def text(found: Any, tag: str) -> list[str]:
    return [event.tensor_proto.string_val[0].decode() for event in found.Tensors(tag)]


def test_everything_that_a_run_tells_is_read_back(story, tell, tmp_path):
    tell(TensorBoard(), str(tmp_path), *story.whole())
    assert steps(tmp_path, "loss/D") == {64: -64, 256: -256, 512: -512}
    assert all(math.isnan(value) for value in steps(tmp_path, "loss/G").values())
    assert steps(tmp_path, "metric/fid@64") == {256: 512, 512: 1024}
    assert steps(tmp_path, "metric/fid@64/raw") == {256: 1024, 512: 2048}
    assert steps(tmp_path, "meters/updates/G") == {64: 0, 256: 0, 512: 1}
    assert steps(tmp_path, "meters/flops") == {64: np.float32(64e9), 256: np.float32(256e9), 512: np.float32(512e9)}
    found = read(tmp_path)
    shown = {event.step: event for event in found.Images("samples")}
    assert {step: event.encoded_image_string for step, event in shown.items()} == {
        step: story.mark(step).pictures["samples"] for step in (256, 512)
    }
    assert (shown[256].width, shown[256].height) == (6, 4)
    assert text(found, "end") == [end_of(story.end(512))]
    assert "| fid@64/ab12cd34/ema | 9.0 | ema | ab12cd34 | 1.5 |" in text(found, "end")[0]
    assert "| config/variant/clip | 0.1 |" in text(found, "config")[0]


def test_options_are_hyperparameters(story, tell, tmp_path):
    tell(TensorBoard(), str(tmp_path), *story.whole())
    content = read(tmp_path).SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    told = HParamsPluginData.FromString(content).session_start_info.hparams
    found = {name: getattr(value, value.WhichOneof("kind")) for name, value in told.items()}
    assert found == settings_of(story.run)
    assert isinstance(found["compiled"], bool) and isinstance(found["seed"], float)


@pytest.mark.filterwarnings("default")
def test_what_is_made_again_after_a_kill_stands_once(story, tell, tmp_path, monkeypatch):
    times = iter(range(1000, 2000))  # its files are read in the order of their seconds
    monkeypatch.setattr("tensorboard.summary.writer.event_file_writer.time.time", lambda: next(times))
    board = TensorBoard()
    ticks = [story.tick(images) for images in (64, 128, 192)]
    tell(board, str(tmp_path), *story.begin(), *ticks[:1], story.mark(64), *ticks[1:], story.end(64, "killed"))
    again = [story.tick(128, 5.0), story.tick(256), story.mark(256), story.end(256)]
    tell(board, str(tmp_path), *story.begin(), *again)
    assert steps(tmp_path, "loss/D") == {64: -64, 128: 5, 256: -256}
    assert list(steps(tmp_path, "metric/fid@64")) == [64, 256]
    assert [told.split(":")[0].split("\n")[0] for told in text(read(tmp_path), "end")] == ["killed", "done"]
    assert len(text(read(tmp_path), "config")) == 1
    served = Served(str(tmp_path.joinpath(*PLACE)))
    served.Reload()
    assert [event.step for event in served.Tensors("loss/D")] == [64, 128, 256]


@pytest.mark.filterwarnings("default")
def test_values_of_a_run_that_is_scored_again_take_the_place_of_the_older(story, tell, tmp_path, monkeypatch):
    times = iter(range(1000, 2000))
    monkeypatch.setattr("tensorboard.summary.writer.event_file_writer.time.time", lambda: next(times))
    board = TensorBoard()
    tell(board, str(tmp_path), *story.whole())
    tell(board, str(tmp_path), *story.begin(), story.end(512, fid=8.25), story.last())
    served = Served(str(tmp_path.joinpath(*PLACE)))
    served.Reload()
    (told,) = text(served, "end")
    assert "8.25" in told
    assert list(steps(tmp_path, "metric/fid@64")) == [256, 512]


def test_runs_at_once_have_folders_of_their_own(story, other, tell, tmp_path):
    ends = [story.end(64), other.end(64), story.last()]
    tell(TensorBoard(), str(tmp_path), *story.begin(), *other.begin(), story.tick(64), other.tick(64, 3.0), *ends)
    assert steps(tmp_path, "loss/D") == {64: -64}
    assert len(list(tmp_path.rglob("events.out.tfevents.*"))) == 2


def test_it_writes_below_the_current_folder_unless_one_is_named(story, tell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tell(TensorBoard(), "", *story.whole())
    assert read(tmp_path / "runs").Tags()["scalars"]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file: name a folder"):
        TensorBoard().check("file")


def test_it_needs_no_torch(tmp_path):
    code = (
        "import sys; from ganbench_plugins.observers.tensorboard import TensorBoard;"
        f"TensorBoard().open({str(tmp_path)!r}); import tensorboard.summary.writer.event_file_writer;"
        "sys.exit('torch' in sys.modules or 'tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_its_entry_point_is_called_so_that_it_is_found_by_name():
    assert [point.value for point in entry_points(group="ganbench") if point.name == "observer-tensorboard"] == [
        "ganbench_plugins.observers.tensorboard"
    ]
