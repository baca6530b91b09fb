"""A plugin of one file for the tests: what ends the process, hangs it or raises what it should not, at every place."""

import ctypes
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from torch.optim import SGD

from ganbench import Backbone, Dataset, Extractor, Metric, Variant, hookimpl


def ends():
    os._exit(0)


def crashes():
    ctypes.string_at(0)


def aborts():
    os.abort()


def hangs():
    while True:
        pass


def ignores():
    """Hang, and hear of nothing."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(60)


def exits():
    raise SystemExit(0)


def interrupts():
    raise KeyboardInterrupt


FAULTS = (ends, crashes, aborts, hangs, ignores, exits, interrupts)


class Fair(Variant):
    summary = "fair but for one thing"

    def build(self, parts):
        self.G = parts.generator()

    def optimizers(self):
        return {"G": SGD(self.G.parameters(), 0.01)}

    def step(self, batch, clock):
        yield from ()


def in_build(fault):
    return type(fault.__name__, (Fair,), {"name": f"build-{fault.__name__}", "build": lambda self, parts: fault()})


class Misfit(Fair):
    name = "misfit-ends"

    @classmethod
    def misfit(cls, data):
        ends()


class Images(Fair):
    name = "images-crashes"

    def images_per_step(self, batch):
        crashes()


class Optimizers(Fair):
    name = "small-batch-aborts"

    def step(self, batch, clock):
        aborts()
        yield


class Resumes(Fair):
    name = "resume-aborts"

    def load_state_dict(self, *arguments, **named):
        aborts()


class Options(Fair):
    name = "options-end"

    @dataclass(frozen=True)
    class Config:
        depth: int = 1

        def __post_init__(self):
            ends()

    config: Config


class Data(Dataset):
    name = "data-crashes"
    summary = "no data"

    def load(self, root: Path, size: int):
        crashes()


class Odd(Data):
    name = "data-raises"

    def load(self, root: Path, size: int):
        raise ZeroDivisionError("no data")


class Networks(Backbone):
    name = "networks-end"
    summary = "no networks"

    def misfit(self, data):
        ends()

    def __call__(self, data):
        raise NotImplementedError


class Features(Extractor):
    name = "features-end"
    summary = "no features"

    def missing(self, dataset, data, weights):
        ends()

    def prepare(self, dataset, data, weights, device):
        raise NotImplementedError


@hookimpl
def ganbench_variants():
    return [*map(in_build, FAULTS), Misfit, Images, Optimizers, Resumes, Options]


@hookimpl
def ganbench_datasets():
    return [Data(), Odd()]


@hookimpl
def ganbench_backbones():
    return [Networks()]


@hookimpl
def ganbench_metrics():
    return [Metric("of-features", lambda scene: {}, extractor="features-end")]


@hookimpl
def ganbench_extractors():
    return [Features()]
