"""The making of one run: train, score at the marks, keep checkpoints, never lose what is computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from ganbench.contract.metrics import Metric
from ganbench.contract.types import Curve, Value
from ganbench.contract.variant import Control, Variant
from ganbench.results.record import NOT_TRAINED, UNFINISHED, Mark, RunRecord, Status
from ganbench.results.store import ResultStore
from ganbench.runs.checkpoint import FORMAT, load_state, save_state
from ganbench.runs.facts import provenance, variant_facts
from ganbench.runs.job import Job, unscored_metrics
from ganbench.runs.opening import open_bench, open_dataset
from ganbench.runs.options import resolve
from ganbench.runs.registry import Registry
from ganbench.scoring.evaluate import UNAVAILABLE, Evaluator, Scores
from ganbench.scoring.gradients import OWN, canonical_curves, log_spaced, own_curve
from ganbench.scoring.pictures import write_picture
from ganbench.scoring.samples import generate
from ganbench.seeds import derive, seeded
from ganbench.training.bench import Bench
from ganbench.training.devices import make_repeatable, resolve_device
from ganbench.training.trainer import Tick, Trainer

CHECKPOINT_SECONDS = 300.0
PICTURE_SAMPLES = 64
_CURVE = TypeAdapter(list[Mark])

Listener = Callable[[float, Tick | None, Mark | None], object]
"""Hears of progress: the share of the budget spent, and at a tick its state, at a mark its values."""


class Stopped(Exception):
    """The run was asked to stop; its checkpoint is written."""


class Run:
    """One run on its bench. `trainer`: None until it begins; `curve`, `unscored`: what has been scored so far.

    `bench`: opened here unless it is given; `threads`: those of the run's first start, where there was one.
    """

    def __init__(
        self, job: Job, store: ResultStore, registry: Registry, threads: int, bench: Bench | None = None
    ) -> None:
        self.job, self.store = job, store
        self.work = store.work(job.spec)
        self.device = resolve_device(job.device)
        self.saved = load_state(self.work / "checkpoint.pt")
        threads = int(self.saved["threads"]) if self.saved else threads
        make_repeatable(self.device, threads)
        self.bench = bench or open_bench(
            open_dataset(job.dataset, registry, job.settings["dataset"]),
            job.spec.backbone,
            registry,
            job.settings,
            root=job.data_root,
            size=job.spec.size,
            metrics=job.metrics,
            extractors=job.extractors,
        )
        self.evaluator = Evaluator(self.bench, samples=job.samples, device=self.device, weights=job.weights)
        cls: type[Variant] = registry.get("variant", job.spec.variant).item
        config = resolve(cls, cls.name, job.settings["variant"])
        self.build = partial(self.bench.build, cls, config, job.spec.seed)
        self.blank = RunRecord(
            job.spec,
            "killed",
            variant=variant_facts(job, registry),
            provenance=provenance(job, registry, threads),
        )
        self.trainer: Trainer | None = None
        self.curve: list[Mark] = []
        self.unscored: dict[str, str] = {}

    def begin(self) -> Trainer:
        """Make the trainer, at the last checkpoint where there is one."""
        spec = self.job.spec
        self.trainer = Trainer(
            self.build(),
            self.bench.data.train,
            spec.budget,
            seed=spec.seed,
            batch=spec.batch,
            device=self.device,
            precision=spec.precision,
        )
        if self.saved:
            self.trainer.load_state_dict(self.saved["trainer"])
            self.curve = _CURVE.validate_json(self.saved["curve"])
            self.unscored = dict(self.saved["unscored"])
        return self.trainer

    def make(self, listen: Listener, stopping: Callable[[], bool]) -> RunRecord:
        """Train to the end of the budget, from the last checkpoint where there is one, scoring at the marks."""
        spec, trainer = self.job.spec, self.begin()
        saved, snapshot = time.monotonic(), None
        for number in range(1, self.job.marks + 1):
            share = number / self.job.marks
            if self.curve and self.curve[-1].share >= share - 1e-9:
                continue  # evaluated before the run was stopped
            for tick in trainer.train(share):
                listen(spec.budget.spent(tick.meters) / spec.budget.amount, tick, None)
                if stopping():
                    self.checkpoint(trainer)
                    raise Stopped
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.checkpoint(trainer)
                    saved = time.monotonic()
            if trainer.diverged:
                (self.work / "checkpoint.pt").unlink(missing_ok=True)
                return self.keep("diverged", trainer.diverged)
            self.checkpoint(trainer)  # scoring may take long
            snapshot = trainer.snapshot()
            scores = self._score(snapshot, trainer.traces(), share)
            self.curve.append(Mark(share, tick.meters, scores.values))
            self.unscored = dict(scores.unscored)
            if isinstance(trainer.variant, Control):
                self.unscored |= {metric.name: NOT_TRAINED for metric in self.bench.metrics if not metric.samples}
            self.checkpoint(trainer)
            self.keep("killed", UNFINISHED)
            saved = time.monotonic()
            listen(share, None, self.curve[-1])  # what is told is kept already
        if snapshot is None:  # the last mark had been scored before the run was stopped
            snapshot = trainer.snapshot()
        save_state(self.work / "final.pt", {"variant": snapshot.state_dict()})
        record = self.keep("done", "")
        (self.work / "checkpoint.pt").unlink(missing_ok=True)
        return record

    def top_up(self, record: RunRecord) -> RunRecord:
        """Score the metrics that a finished run has no value for, from its kept weights."""
        names = unscored_metrics(record, self.job) if record.status == "done" else []
        weights = load_state(self.work / "final.pt") if names else None
        if not names:
            return record
        if weights is None:
            reason = f"{UNAVAILABLE}its weights are no longer in {self.work}; delete its record to train it again"
            record = replace(record, unscored={**record.unscored, **dict.fromkeys(names, reason)})
            self.store.add(record)
            return record
        variant = self.build().to(self.device)
        variant.load_state_dict(weights["variant"])
        missing = [metric for metric in self.bench.metrics if metric.name in names]
        scores = self._measure(variant.requires_grad_(False).eval(), missing, self.store.traces(record))
        values = {name: list(found) for name, found in record.values.items()}
        for name, value in scores.values.items():
            kept = [old for old in values.get(name, []) if old.protocol_hash != value.protocol_hash]
            values[name] = [*kept, value]
        unscored = {name: reason for name, reason in record.unscored.items() if name not in names}
        record = replace(record, values=values, unscored=unscored | dict(scores.unscored))
        self.store.add(record)
        return record

    def probe(self, variant: Variant, iterations: int) -> dict[str, Curve]:
        """Probe the gradients of a variant's generator, which stays as it is; its own loss where it has a player D."""
        spec, fresh, train = self.job.spec, self.build(), self.bench.data.train
        with seeded(derive(spec.seed, "probe")):
            D = self.bench.backbone(self.bench.spec).discriminator()
        chosen: dict[str, Any] = {"batch": spec.batch, "at": log_spaced(iterations), "seed": spec.seed}
        curves = canonical_curves(variant, D, train, **chosen)
        if {"G", "D"} <= fresh.optimizers().keys():
            curves[OWN] = own_curve(variant, fresh, train, **chosen)
        return curves

    def keep(self, status: Status, error: str) -> RunRecord:
        """Record what the run has come to, with its meters and traces up to now."""
        assert self.trainer is not None
        trainer, last = self.trainer, dict[str, list[Value]]()
        if status == "done":
            last = {name: [value] for name, value in self.curve[-1].values.items()}
        record = replace(
            self.blank,
            status=status,
            error=error,
            meters=replace(trainer.meters, updates=dict(trainer.meters.updates)),
            values=last,
            unscored=self.unscored,
            curve=self.curve,
        )
        self.store.add(record, trainer.traces())
        return record

    def checkpoint(self, trainer: Trainer) -> None:
        """Keep all that the run needs to continue."""
        state = {
            "format": FORMAT,
            "trainer": trainer.state_dict(),
            "curve": _CURVE.dump_json(self.curve).decode(),
            "unscored": self.unscored,
            "threads": self.blank.provenance["threads"],
        }
        save_state(self.work / "checkpoint.pt", state)

    def _score(self, variant: Variant, traces: Mapping[str, np.ndarray], share: float) -> Scores:
        data, last = self.bench.data, share > 1 - 1e-9
        due = [m for m in self.bench.metrics if last or not m.last_mark_only or m.name in self.job.marks_metrics]
        pictured = generate(variant, PICTURE_SAMPLES, data, seed=self.job.spec.seed, purpose="picture").images
        if data.domain is not None:  # above each translation what it was made from
            half = PICTURE_SAMPLES // 2
            pictured = torch.stack([data.domain.test[:half], pictured[:half]], 1).flatten(0, 1)
        write_picture(pictured, self.work / "samples" / f"{round(100 * share):03d}.png")
        return self._measure(variant, due, traces)

    def _measure(self, variant: Variant, metrics: Sequence[Metric], traces: Mapping[str, np.ndarray]) -> Scores:
        probe = partial(self.probe, variant)
        return self.evaluator.score(variant, metrics, traces=traces, seed=self.job.spec.seed, probe=probe)
