"""A plugin of one file for the tests: variants that never end, take all memory, or print without end, once in a run.

They do so where a file `on` lies beside a copy of this one, so that they can be planned.
"""

import collections
import ctypes
import faulthandler
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import torch
from torch.optim import SGD

from ganbench import (
    Dataset,
    Extractor,
    ImageSet,
    Metric,
    Splits,
    Update,
    Value,
    Variant,
    discriminator_loss,
    hookimpl,
    nonsaturating_loss,
)

HERE = Path(__file__).parent
HOLD = "import time; held = bytearray(b'1') * (600 * 2**20); time.sleep(300)"


def is_on() -> bool:
    return (HERE / "on").exists()


def drag() -> None:
    """Take long where that is on: a tenth of a second a piece."""
    if is_on():
        (HERE / "dragging").touch()
        for _ in range(3_000):
            time.sleep(0.1)


class Good(Variant):
    name = "good"
    summary = "a non-saturating GAN"

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")

    def optimizers(self):
        return {"G": SGD(self.G.parameters(), 0.01), "D": SGD(self.D.parameters(), 0.01)}

    def step(self, batch, clock):
        if clock.step == 3 and is_on():
            self.misbehave()
        fake = self.sample(len(batch.real))
        yield Update("D", discriminator_loss(self.D(batch.real), self.D(fake.detach())))
        yield Update("G", nonsaturating_loss(self.D(self.sample(len(batch.real)))))

    def misbehave(self):
        pass


class LoopsInBuild(Good):
    name = "loops-in-build"

    def build(self, parts):
        while is_on():
            pass
        super().build(parts)


class LoopsInStep(Good):
    name = "loops-in-step"

    def misbehave(self):
        while True:
            pass


class LoopsInC(Good):
    name = "loops-in-c"

    def misbehave(self):
        collections.deque(itertools.repeat(None), maxlen=0)  # no handler of a signal gets a turn


class SleepsInSample(Good):
    name = "sleeps-in-sample"

    def sample(self, n, cond=None):
        if not self.training:
            drag()
        return super().sample(n, cond)


class DragsInBuild(Good):
    name = "drags-in-build"

    def build(self, parts):
        drag()
        super().build(parts)


class Deadlocks(Good):
    name = "deadlocks"

    def misbehave(self):
        lock = threading.Lock()
        with lock:
            lock.acquire()


class IgnoresRequests(Good):
    name = "ignores-requests"

    def misbehave(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(300)


class Halts(Good):
    name = "halts"

    def misbehave(self):
        os.kill(os.getpid(), signal.SIGSTOP)


class Crawls(Good):
    name = "crawls"

    def misbehave(self):
        pass

    def step(self, batch, clock):
        if is_on():
            time.sleep(0.3)
        yield from super().step(batch, clock)


class Grows(Good):
    name = "grows"

    def misbehave(self):
        held = []
        while True:
            held.append(bytearray(b"1") * 2**24)
            time.sleep(0.02)


class Jumps(Good):
    name = "jumps"

    def misbehave(self):
        held = bytearray(b"1") * (900 * 2**20)
        time.sleep(300 + len(held) % 2)


class FeedsChildren(Good):
    name = "feeds-children"

    def misbehave(self):  # none of the two alone takes too much
        for child in [subprocess.Popen([sys.executable, "-c", HOLD]) for _ in range(2)]:
            child.wait()


class Floods(Good):
    """Prints 90 MB: by Python, past it, by a child, to both streams."""

    name = "floods"

    def misbehave(self):
        print("first words")
        line = "x" * 999 + "\n"
        for _ in range(15_000):
            print(line, end="")
            sys.stderr.write(line)
        for _ in range(15):
            os.write(1, line.encode() * 1000)
            os.write(2, line.encode() * 1000)
        subprocess.run(
            f"yes | head -c 15000000; yes | head -c 15000000 >&2; echo last {'words'} >&2", shell=True, check=True
        )


class Crashes(Good):
    name = "crashes"

    def misbehave(self):
        os.write(1, b"y" * 2_000_000 + b"\nbefore the crash\n")
        faulthandler._sigsegv() if hasattr(faulthandler, "_sigsegv") else ctypes.string_at(0)


class LeavesPrinter(Good):
    """Leaves a process in a session of its own that prints on, which is not ended with the run."""

    name = "leaves-printer"

    def misbehave(self):
        subprocess.Popen(
            ["sh", "-c", "for i in $(seq 100); do echo on and on; sleep 0.2; done"], start_new_session=True
        )


def endless(scene):
    drag()
    return {"endless": Value(1.0)}


def stubborn(scene):
    for _ in range(3_000):
        try:
            drag()
            break
        except Exception:
            continue
    return {"stubborn": Value(1.0)}


def of_features(name):
    def compute(scene):
        return {name: Value(scene.fake.embedding.double().mean().item())}

    return compute


class Pixels:
    protocol: ClassVar = {"extractor": "pixels"}

    def __init__(self, before):
        self.before = before

    def __call__(self, images):
        self.before()
        return images.flatten(1).float(), None


class Dragging(Extractor):
    name = "dragging"

    def prepare(self, dataset, data, weights, device):
        return Pixels(drag)


class Unready(Extractor):
    name = "unready"

    def prepare(self, dataset, data, weights, device):
        drag()
        return Pixels(lambda: None)


class Late(Dataset):
    name = "late"
    summary = "noise, 8×8"
    size = 8
    backbone = "mlp"
    budget = "640-images"
    metrics = ("endless",)

    def load(self, root, size):
        drag()
        images = torch.randint(0, 256, (320, 1, 8, 8), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)
        return Splits(ImageSet(images[:256]), ImageSet(images[256:]), "8" * 64, {"kind": "noise"})


@hookimpl
def ganbench_variants():
    return [
        Good, LoopsInBuild, LoopsInStep, LoopsInC, SleepsInSample, DragsInBuild, Deadlocks, IgnoresRequests, Halts,
        Crawls, Grows, Jumps, FeedsChildren, Floods, Crashes, LeavesPrinter,
    ]  # fmt: skip


@hookimpl
def ganbench_metrics():
    return [
        Metric("endless", endless, "ends when it may", higher_is_better=False),
        Metric("stubborn", stubborn, "tries again whatever happens", higher_is_better=False),
        Metric("of-dragging", of_features("of-dragging"), "of slow features", "dragging", higher_is_better=False),
        Metric("of-unready", of_features("of-unready"), "of late features", "unready", higher_is_better=False),
    ]


@hookimpl
def ganbench_extractors():
    return [Dragging(), Unready()]


@hookimpl
def ganbench_datasets():
    return [Late()]


if (HERE / "on-import").exists():
    (HERE / "dragging").touch()
    for _ in range(3_000):
        time.sleep(0.1)
