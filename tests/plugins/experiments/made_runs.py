"""Runs and a lab for tests of experiments that look at runs: nothing is trained, weights are those of another seed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ganbench import UserError
from ganbench.results.record import RunRecord, RunSpec
from ganbench.runs.lab import HarnessLab
from ganbench.runs.opening import configured
from ganbench.runs.options import resolve
from ganbench.runs.registry import Registry, discover, load_file
from ganbench.training.budget import Budget
from ganbench.training.networks import build_variant

REGISTRY = discover()
TINY = load_file(Path(__file__).parents[2] / "tiny_plugin.py")


@dataclass
class Run:
    record: RunRecord
    data: Any
    cls: type
    backbone: Any
    shares = (1.0,)
    device = torch.device("cpu")

    def fresh(self):
        return self._built(self.record.spec.seed)

    def at(self, share=1.0):
        if self.record.spec.seed == 99:
            raise UserError("the weights of this run were not kept")
        return self._built(self.record.spec.seed + 1000).requires_grad_(False).eval()

    def _built(self, seed):
        data, config = self.data.spec(self.cls.task), resolve(self.cls, self.cls.name, {})
        return build_variant(self.cls, self.backbone, data, seed=seed, config=config)


def run(cls, data, *, seed=0, dataset="digits", backbone="dcgan", **options):
    networks = configured(REGISTRY.get("backbone", backbone), {key: str(value) for key, value in options.items()})
    size = data.train.images.shape[-1]
    spec = RunSpec(cls.name, dataset, backbone, Budget(1000, "images"), seed, size, 16, data=data.fingerprint)
    return Run(RunRecord(spec, "done"), data, cls, networks)


def lab(experiment, runs, folder, registry: Registry = REGISTRY, root=Path("/nowhere"), **options):
    known = type(experiment.config)(**options)
    place = {"folder": folder, "root": root, "weights": None, "device": torch.device("cpu")}
    known_as = {"name": experiment.name, "code": ""}
    made = HarnessLab(known, [], [0], registry, **known_as, **place, begin=lambda step: "")
    made.runs = runs
    return made


def cells(finding, title):
    """Return a table by its first columns that are texts."""
    (table,) = (each for each in finding.tables if each.title == title)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]
