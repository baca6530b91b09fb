"""The file that W&B keeps of a run without a network holds what was logged."""

from __future__ import annotations

import io
import json
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ganbench_plugins.observers.wandb import WandB
from PIL import Image

from ganbench import UserError, settings_of

wandb = pytest.importorskip("wandb", reason="W&B is not installed: pip install 'ganbench[wandb]'")

BLOCK, HEADER = 32_768, 7


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep W&B off the network, and all that it writes in a folder of the test's own."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    wandb.teardown()


def blocks(file: Path) -> Iterator[bytes]:
    """Yield the records of W&B's log, which is LevelDB's: blocks of 32 KiB, of records in parts."""
    content, place, whole = file.read_bytes(), HEADER, b""
    assert content[:4] == b":W&B"
    while place + HEADER <= len(content):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        _, size, kind = struct.unpack("<IHB", content[place : place + HEADER])
        whole += content[place + HEADER : place + HEADER + size]
        place += HEADER + size
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


class Kept:
    """What the file of one run holds."""

    def __init__(self, folder: Path) -> None:
        from wandb.proto.wandb_internal_pb2 import Record

        (file,) = folder.glob("*.wandb")
        self.folder = folder
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.exit: int | None = None
        for record in map(Record.FromString, blocks(file)):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run, self.config = record.run, _items(record.run.config.update)
            elif kind == "history":
                self.history.append(_items(record.history.item))
            elif kind == "summary":
                self.summary |= _items(record.summary.update)
            elif kind == "exit":
                self.exit = record.exit.exit_code

    def series(self, key: str) -> list[tuple[int, Any]]:
        return [(line["images"], line[key]) for line in self.history if key in line]


def _items(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def kept(place: Path) -> list[Kept]:
    wandb.teardown()  # its process has written all when it ends
    return [Kept(folder) for folder in sorted(place.glob("wandb/offline-run-*"))]


def test_everything_that_a_run_tells_is_kept(story, tell, place, capfd):
    tell(WandB(), "team/mine", *story.whole())
    (found,) = kept(place)
    assert found.series("loss/D") == [(64, -64), (256, -256), (512, -512)]
    assert [math.isnan(float(value)) for _, value in found.series("loss/G")] == [True] * 3
    assert found.series("metric/fid@64") == [(256, 512), (512, 1024)]
    assert found.series("metric/fid@64/raw") == [(256, 1024), (512, 2048)]
    for images, picture in found.series("samples"):
        shown = Image.open(io.BytesIO((found.folder / "files" / picture["path"]).read_bytes()))
        assert shown.convert("L").getpixel((0, 0)) == images % 251
    assert found.summary["final/fid@64/ab12cd34/ema"] == 9
    assert found.summary["protocol/grad-norm"] == "ab12cd34" and found.summary["status"] == "done"
    assert found.exit == 0
    assert found.config == {**settings_of(story.run), "command": story.begin()[0].command} | {
        key: value for key, value in found.config.items() if key == "_wandb"
    }
    run = found.run
    assert (run.run_id, run.entity, run.project, run.display_name) == (
        *(story.run.id, "team", "mine", "wgan clip=0.1 tiny seed 3 01234567"),
    )
    assert list(run.tags) == ["folder:/data/my images", "wgan", "seed 3", "NUMBERS 3"]
    assert capfd.readouterr() == ("", "")
    assert "WANDB_SERVICE" not in os.environ


def test_runs_at_once_are_kept_apart_and_one_that_failed_says_so(story, other, tell, place):
    ticks = [story.tick(64), other.tick(64, 3.0), story.tick(128)]
    tell(WandB(), "", *story.begin(), *other.begin(), *ticks, story.end(128), other.end(64, "error"))
    found = {each.run.run_id: each for each in kept(place)}
    assert found[story.run.id].series("loss/D") == [(64, -64), (128, -128)]
    assert found[other.run.id].series("loss/D") == [(64, 3)]
    assert (found[story.run.id].exit, found[other.run.id].exit) == (0, 1)
    assert found[other.run.id].summary["error"] == "it | broke"
    assert found[other.run.id].run.project == "ganbench"


def test_a_run_that_goes_on_keeps_its_id(story, tell, place):
    tell(WandB(), "", *story.begin(), story.tick(64), story.end(64, "killed"))
    tell(WandB(), "", *story.begin(), story.tick(128), story.end(128))
    assert [(each.run.run_id, each.series("loss/D")) for each in kept(place)] == [
        (story.run.id, [(64, -64)]),
        (story.run.id, [(128, -128)]),
    ]


def test_without_a_key_it_says_so_before_anything_is_trained(place, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    wandb.teardown()
    with pytest.raises(UserError, match=r"no API key for wandb\.example: run `wandb login`, set WANDB_API_KEY, or"):
        WandB().check("")
    netrc = place / ".netrc"
    netrc.write_text(f"machine wandb.example login user password {'a' * 40}\n")
    netrc.chmod(0o600)
    WandB().check("")
    netrc.unlink()
    monkeypatch.setenv("WANDB_API_KEY", "b" * 40)
    WandB().check("")
