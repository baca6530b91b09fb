"""What tests of observers share: the events of a run, and a machine from which nothing gets out."""

from __future__ import annotations

import io
import math
import socket
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import pytest
from PIL import Image

from ganbench import (
    Happening,
    Measured,
    ObservedRun,
    RunEnded,
    RunMarked,
    RunStarted,
    RunTicked,
    Spent,
    SweepEnded,
    SweepStarted,
)

COMMAND = "ganbench run --variants wgan --dataset tiny"


class Story:
    """The events of one run, whose numbers are functions of the images served."""

    def __init__(self, name: str = "wgan clip=0.1 tiny seed 3", id_: str = "0123456789abcdef") -> None:
        spec = {
            "variant": "wgan",
            "dataset": "folder:/data/my images",
            "seed": 3,
            "budget": "512-images",
            "compiled": False,
            "config": {"variant": {"clip": 0.1, "betas": (0.5, 0.9), "schedule": None}},
        }
        asked = {"device": "cpu", "metrics": ("fid@64", "grad-norm"), "marks": 2}
        self.run = ObservedRun(id_, name, "wgan", "folder:/data/my images", 3, 3, _frozen(spec), _frozen(asked))

    def spent(self, images: int) -> Spent:
        return Spent(
            images // 64, images, MappingProxyType({"D": images // 64, "G": images // 320}), 1e9 * images, 0.1, 7
        )

    def begin(self) -> list[Happening]:
        return [SweepStarted((self.run,), COMMAND, "/results"), RunStarted(self.run, COMMAND, self.spent(0))]

    def tick(self, images: int, loss: float | None = None) -> RunTicked:
        losses = {"D": -float(images) if loss is None else loss, "G": math.nan}
        return RunTicked(self.run, images / 512, self.spent(images), MappingProxyType(losses))

    def mark(self, images: int) -> RunMarked:
        values, raw = ({"fid@64": self.measured(of * images, weights)} for of, weights in ((2.0, "ema"), (4.0, "raw")))
        pictures = MappingProxyType({"samples": png(images % 251)})
        return RunMarked(
            self.run, images / 512, self.spent(images), MappingProxyType(values), MappingProxyType(raw), pictures
        )

    def measured(self, value: float, weights: str) -> Measured:
        return Measured(value, "ab12cd34", MappingProxyType({"n_fake": 64}), 1.5, False, weights)

    def end(self, images: int, status: str = "done", fid: float = 9.0) -> RunEnded:
        values = {
            "fid@64": (self.measured(fid, "ema"), self.measured(18.0, "raw")),
            "grad-norm": (self.measured(0.5, ""),),
        }
        error = "" if status == "done" else "it | broke"
        record = {"id": self.run.id, "status": status, "curve": (), "values": {"fid@64": ({"value": fid},)}}
        return RunEnded(
            self.run,
            status,
            error,
            self.spent(images),
            MappingProxyType(values),
            MappingProxyType({"modes": "needs modes"}),
            _frozen(record),
        )

    def last(self) -> SweepEnded:
        return SweepEnded(MappingProxyType({"done": 1}), False)

    def whole(self) -> list[Happening]:
        marked = [event for images in (256, 512) for event in (self.tick(images), self.mark(images))]
        return [*self.begin(), self.tick(64), *marked, self.end(512), self.last()]


def png(level: int) -> bytes:
    """Return a picture, grey with one white pixel, as PNG."""
    image = Image.new("L", (6, 4), level)
    image.putpixel((1, 2), 255)
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def _frozen(content: Any) -> Any:
    if isinstance(content, dict):
        return MappingProxyType({key: _frozen(value) for key, value in content.items()})
    return content


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def other() -> Story:
    return Story("vae tiny seed 0", "fedcba9876543210")


@pytest.fixture
def tell() -> Callable[..., None]:
    """Hand events to an observer, whose parts may be those of several runs."""

    def tell(observer: Any, argument: str, *events: Happening) -> None:
        observer.check(argument)
        hear = observer.open(argument)
        for event in events:
            hear(event)

    return tell


@pytest.fixture(autouse=True)
def unheard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test in which something connects to another machine."""
    connect, tried = socket.socket.connect, []

    def local(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            tried.append(address)
            raise OSError("no network in tests")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield
    assert tried == []
