"""Event files of TensorBoard, a folder a run, written without TensorFlow and without torch."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ganbench import (
    Happening,
    Observer,
    RunEnded,
    RunMarked,
    RunStarted,
    RunTicked,
    UserError,
    by_run,
    end_of,
    hookimpl,
    scalars_of,
    settings_of,
    table_of,
)

FOLDER = "runs"
FLUSH_SECONDS = 10


class TensorBoard(Observer):
    """Writes below a folder, `runs` unless another is named: `<dataset>/<run>-<id>`.

    Steps are images. Scalars are stored as float32. A run has its options as text and as hyperparameters, numbers of
    ticks and marks, pictures, and at its end a table of values with their protocols, one step after its last. A run
    that goes on appends to its folder: a restart is noted there at its first step, whereupon TensorBoard drops what had
    been written from that step on. Should it be scored again, its values at the end take the place of the older so.
    """

    name = "tensorboard"
    summary = "event files for TensorBoard"
    form = "tensorboard[:DIR]"
    needs = ("tensorboard",)
    install = "ganbench[tensorboard]"

    def check(self, argument: str) -> None:
        if Path(argument or FOLDER).is_file():
            raise UserError(f"{argument or FOLDER} is a file: name a folder")

    def open(self, argument: str) -> Callable[[Happening], object]:
        return by_run(partial(_Folder, Path(argument or FOLDER).absolute()))


class _Folder:
    """The event files of one run."""

    def __init__(self, root: Path, event: RunStarted) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        run = event.run
        place = root / _safe(run.dataset) / f"{_safe(run.name)}-{run.id[:8]}"
        self._goes_on = any(place.glob("events.out.tfevents.*"))
        self._ticked = -1
        self._writer = EventFileWriter(str(place), flush_secs=FLUSH_SECONDS)
        if not self._goes_on:
            settings = settings_of(event.run)
            self._restart(0)  # the first is no restart; those that follow are
            self._add(0, _text("config", table_of(("option", "value"), settings.items())), _hparams(settings))
            self._add(0, _text("command", f"`{event.command}`"))

    def write(self, event: RunTicked | RunMarked) -> None:
        step = event.spent.images
        if self._goes_on:
            self._restart(step)
        self._goes_on = False
        if isinstance(event, RunTicked) and step <= self._ticked:
            return
        self._ticked = step
        self._add(step, *(_scalar(name, number) for name, number in scalars_of(event).items()))
        if isinstance(event, RunMarked):
            self._add(step, *(_image(name, png) for name, png in event.pictures.items()))
            self._writer.flush()

    tick = mark = write

    def end(self, event: RunEnded) -> None:
        step = event.spent.images + 1
        if self._goes_on:
            self._restart(step)
        self._add(step, _text("end", end_of(event)))
        self._writer.close()

    def _restart(self, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        log = SessionLog(status=SessionLog.START)
        self._writer.add_event(Event(wall_time=time.time(), step=step, session_log=log))

    def _add(self, step: int, *values: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        if values:
            self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))


def _scalar(name: str, number: float) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary.Value(tag=name, simple_value=number)


def _image(name: str, png: bytes) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = struct.unpack(">II", png[16:24])
    channels = {0: 1, 2: 3, 4: 2, 6: 4}.get(png[25], 3)  # by the colour type in the header
    image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png)
    return Summary.Value(tag=name, image=image)


def _text(name: str, markdown: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    tensor = TensorProto(dtype=DT_STRING, string_val=[markdown.encode("utf-8", "replace")])
    return Summary.Value(tag=name, metadata=metadata, tensor=tensor)


def _hparams(settings: Mapping[str, str | int | float | bool]) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

    info = SessionStartInfo(start_time_secs=time.time())
    for name, value in settings.items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, str):
            info.hparams[name].string_value = value
        else:
            info.hparams[name].number_value = value
    data = metadata.create_summary_metadata(HParamsPluginData(session_start_info=info))
    return Summary.Value(tag=metadata.SESSION_START_INFO_TAG, metadata=data, tensor=metadata.NULL_TENSOR)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._=,+@-]+", "-", name)[:100].strip(".-") or "unnamed"


@hookimpl
def ganbench_observers() -> list[Observer]:
    return [TensorBoard()]
