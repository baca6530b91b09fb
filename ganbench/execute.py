"""One run from first step to record: train, score at the marks, keep checkpoints, never lose what is computed."""

from __future__ import annotations

import io
import platform
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from ganbench.backbone import Backbone
from ganbench.data import Splits
from ganbench.devices import cores, describe, make_repeatable, resolve_device
from ganbench.errors import DiskError
from ganbench.evaluate import UNAVAILABLE, Evaluator, NotFinite, Scores, generate
from ganbench.files import write_atomically
from ganbench.gradients import OWN, canonical_curves, log_spaced, own_curve
from ganbench.metrics import Metric
from ganbench.options import resolve
from ganbench.pairs import reverse
from ganbench.plan import Job, configured, open_dataset, unscored_metrics
from ganbench.plugins import Kind, Registry
from ganbench.record import FINAL, NOT_TRAINED, Mark, RunRecord, Status
from ganbench.samples import write_picture
from ganbench.seeds import derive, seeded
from ganbench.store import ResultStore
from ganbench.trainer import Tick, Trainer, build_variant
from ganbench.types import Curve, Value
from ganbench.variant import Control, Variant

CHECKPOINT_SECONDS = 300.0
CHECKPOINT_FORMAT = 1
"""Raise it when a checkpoint's content changes: one of another format is set aside, not half understood."""
PICTURE_SAMPLES = 64
UNFINISHED = "no end of this run was recorded: it is still running, or it was killed"
_CURVE = TypeAdapter(list[Mark])

Listener = Callable[[float, Tick | None, Mark | None], object]
"""Hears of progress: the share of the budget spent, and at a tick its state, at a mark its values."""


class Stopped(Exception):
    """The run was asked to stop; its checkpoint is written."""


def execute(
    job: Job,
    store: ResultStore,
    registry: Registry,
    *,
    threads: int,
    listen: Listener = lambda share, tick, mark: None,
    stopping: Callable[[], bool] = lambda: False,
) -> RunRecord:
    """Carry out one job, or what is left of it, and return its record, which is in the store by then.

    Whatever goes wrong in the run becomes a record with its status; only a disk that refuses writes raises `DiskError`.
    The caller holds the lock of the run.
    """
    found, run = store.get(job.spec), None
    try:
        if found is not None and found.status in FINAL:
            return Run(job, store, registry, threads).top_up(found)
        opened = found or RunRecord(job.spec, "killed", variant=_facts(job, registry))
        provenance = _provenance(job, registry, threads)
        store.add(replace(opened, status="killed", error=UNFINISHED, provenance=provenance))  # true until the end
        run = Run(job, store, registry, threads)
        return run.make(listen, stopping)
    except DiskError:
        raise
    except Stopped:
        return _close(job, store, run, "killed", "stopped on request; the same command continues it")
    except NotFinite as error:
        return _close(job, store, run, "diverged", str(error))
    except Exception as error:  # a plugin may fail in any way; it becomes a record and the other runs go on
        log = store.work(job.spec) / "error.txt"
        write_atomically(log, lambda file: file.write(traceback.format_exc().encode()))
        return _close(job, store, run, "error", f"{type(error).__name__}: {error}")


def _close(job: Job, store: ResultStore, run: Run | None, status: Status, error: str) -> RunRecord:
    if run is not None and run.trainer is not None:
        try:
            return run.keep(status, error)
        except DiskError:
            raise
        except Exception as also:  # a device that failed may not give the meters and traces back
            error = f"{error} (and what it had measured is lost: {type(also).__name__}: {also})"
    record = replace(store.get(job.spec) or RunRecord(job.spec, status), status=status, error=error)
    store.add(record)
    return record


class Run:
    """The parts of one run, loaded and built. `trainer`: None until it begins; `curve`, `unscored`: scored so far."""

    def __init__(self, job: Job, store: ResultStore, registry: Registry, threads: int) -> None:
        self.job, self.store, self.registry = job, store, registry
        self.work = store.work(job.spec)
        self.device = resolve_device(job.device)
        self.trainer: Trainer | None = None
        self.curve: list[Mark] = []
        self.unscored: dict[str, str] = {}
        self.saved = self._load("checkpoint.pt")
        if self.saved and self.saved.get("format") != CHECKPOINT_FORMAT:
            self._set_aside("checkpoint.pt", "was written by another version of ganbench")
            self.saved = None
        self.threads = int(self.saved["threads"]) if self.saved else threads
        make_repeatable(self.device, self.threads)
        self.dataset = open_dataset(job.dataset, registry, job.settings["dataset"])
        self.data = self.dataset.load(job.data_root, job.spec.size or self.dataset.size)
        self.backbone: Backbone = configured(registry.get("backbone", job.spec.backbone), job.settings["backbone"])
        self.metrics: list[Metric] = [registry.get("metric", name).item for name in job.metrics]
        self.evaluators = [self._evaluator(self.data)]  # one for each direction
        if self.data.domain is not None:
            self.evaluators.append(self._evaluator(reverse(self.data)))

    def _evaluator(self, data: Splits) -> Evaluator:
        job = self.job
        return Evaluator(
            self.dataset.name,
            data,
            {name: self.registry.get("extractor", name).item for name in job.extractors},
            samples=job.samples,
            device=self.device,
            weights=job.weights,
        )

    def build(self) -> Variant:
        """Build the variant at its first step."""
        job, data = self.job, self.data.spec(self.dataset.task)
        entry = self.registry.get("variant", job.spec.variant)
        config = resolve(entry.item, job.spec.variant, job.settings["variant"])
        return build_variant(entry.item, self.backbone, data, seed=job.spec.seed, config=config)

    def probe(self, variant: Variant, iterations: int) -> dict[str, Curve]:
        """Probe the gradients of a variant's generator, which stays as it is; its own loss where it has a player D."""
        spec, fresh = self.job.spec, self.build()
        with seeded(derive(spec.seed, "probe")):
            D = self.backbone(self.data.spec(self.dataset.task)).discriminator()
        chosen: dict[str, Any] = {"batch": spec.batch, "at": log_spaced(iterations), "seed": spec.seed}
        curves = canonical_curves(variant, D, self.data.train, **chosen)
        if {"G", "D"} <= fresh.optimizers().keys():
            curves[OWN] = own_curve(variant, fresh, self.data.train, **chosen)
        return curves

    def begin(self) -> Trainer:
        """Make the trainer, at the last checkpoint where there is one."""
        spec = self.job.spec
        self.trainer = Trainer(
            self.build(),
            self.data.train,
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
        saved = time.monotonic()
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
            scores = self._score(trainer, share)
            self.curve.append(Mark(share, tick.meters, scores.values))
            self.unscored = dict(scores.unscored)
            if isinstance(trainer.variant, Control):
                self.unscored |= {metric.name: NOT_TRAINED for metric in self.metrics if not metric.samples}
            self.checkpoint(trainer)
            self.keep("killed", UNFINISHED)
            saved = time.monotonic()
            listen(share, None, self.curve[-1])  # what is told is kept already
        self._save("final.pt", {"variant": trainer.snapshot().state_dict()})
        record = self.keep("done", "")
        (self.work / "checkpoint.pt").unlink(missing_ok=True)
        return record

    def top_up(self, record: RunRecord) -> RunRecord:
        """Score the metrics that a finished run has no value for, from its kept weights."""
        names = unscored_metrics(record, self.job) if record.status == "done" else []
        weights = self._load("final.pt") if names else None
        if not names:
            return record
        if weights is None:
            reason = f"{UNAVAILABLE}its weights are no longer in {self.work}; delete its record to train it again"
            record = replace(record, unscored={**record.unscored, **dict.fromkeys(names, reason)})
            self.store.add(record)
            return record
        variant = self.build().to(self.device)
        variant.load_state_dict(weights["variant"])
        missing = [metric for metric in self.metrics if metric.name in names]
        scores = self._measure(variant.requires_grad_(False).eval(), missing, self.store.traces(record))
        values = {name: list(found) for name, found in record.values.items()}
        for name, value in scores.values.items():
            kept = [old for old in values.get(name, []) if old.protocol_hash != value.protocol_hash]
            values[name] = [*kept, value]
        unscored = {name: reason for name, reason in record.unscored.items() if name not in names} | dict(
            scores.unscored
        )
        record = replace(record, values=values, unscored=unscored)
        self.store.add(record)
        return record

    def _score(self, trainer: Trainer, share: float) -> Scores:
        variant = trainer.snapshot()
        last = share > 1 - 1e-9
        due = [m for m in self.metrics if last or not m.last_mark_only or m.name in self.job.marks_metrics]
        pictured = generate(variant, PICTURE_SAMPLES, self.data, seed=self.job.spec.seed, purpose="picture").images
        if self.data.domain is not None:  # above each translation what it was made from
            half = PICTURE_SAMPLES // 2
            pictured = torch.stack([self.data.domain.test[:half], pictured[:half]], 1).flatten(0, 1)
        write_picture(pictured, self.work / "samples" / f"{round(100 * share):03d}.png")
        return self._measure(variant, due, trainer.traces())

    def _measure(self, variant: Variant, metrics: Sequence[Metric], traces: Mapping[str, np.ndarray]) -> Scores:
        """Score each direction; what a translation back scores has a name that ends in `-back`."""
        seed, forth, *other = self.job.spec.seed, *self.evaluators
        scores = forth.score(variant, metrics, traces=traces, seed=seed, probe=partial(self.probe, variant))
        for evaluator in other:
            sampled = [metric for metric in metrics if metric.samples]
            back = evaluator.score(variant, sampled, traces={}, seed=seed, back=True)
            values = {f"{name}-back": value for name, value in back.values.items()}
            reasons = {f"{name}-back": reason for name, reason in back.unscored.items()}
            scores = Scores({**scores.values, **values}, {**scores.unscored, **reasons})
        return scores

    def keep(self, status: Status, error: str) -> RunRecord:
        """Record what the run has come to, with its meters and traces up to now."""
        assert self.trainer is not None
        trainer, last = self.trainer, dict[str, list[Value]]()
        if status == "done":
            last = {name: [value] for name, value in self.curve[-1].values.items()}
        record = RunRecord(
            spec=self.job.spec,
            status=status,
            error=error,
            meters=replace(trainer.meters, updates=dict(trainer.meters.updates)),
            values=last,
            unscored=self.unscored,
            curve=self.curve,
            variant=_facts(self.job, self.registry),
            provenance=_provenance(self.job, self.registry, self.threads),
        )
        self.store.add(record, trainer.traces())
        return record

    def checkpoint(self, trainer: Trainer) -> None:
        """Keep all that the run needs to continue."""
        state = {
            "format": CHECKPOINT_FORMAT,
            "trainer": trainer.state_dict(),
            "curve": _CURVE.dump_json(self.curve).decode(),
            "unscored": self.unscored,
            "threads": self.threads,
        }
        self._save("checkpoint.pt", state)

    def _save(self, name: str, state: dict[str, Any]) -> None:
        # In memory first: of a disk that is full, torch.save would say "enforce fail" instead of what is wrong.
        whole = io.BytesIO()
        torch.save(state, whole)
        write_atomically(self.work / name, lambda file: file.write(whole.getbuffer()))

    def _load(self, name: str) -> dict[str, Any] | None:
        path = self.work / name
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file fails in many ways; it is set aside and the run starts anew
            self._set_aside(name, f"is damaged ({type(error).__name__})")
            return None
        return state

    def _set_aside(self, name: str, why: str) -> None:
        path = self.work / name
        path.replace(path.with_suffix(".damaged"))
        warnings.warn(f"{path} {why} and was set aside; the run starts anew", stacklevel=3)


def _facts(job: Job, registry: Registry) -> dict[str, Any]:
    cls: type[Variant] = registry.get("variant", job.spec.variant).item
    return {
        "paper": cls.paper,
        "family": cls.family,
        "task": cls.task,
        "own_architecture": cls.own_architecture,
        "parameters": dict(job.parameters),
        **({"published": dict(job.published)} if job.published else {}),
    }


def _provenance(job: Job, registry: Registry, threads: int) -> dict[str, Any]:
    versions = {name: version(name) for name in ("ganbench", "torch", "torchvision", "numpy", "scipy")}
    return {
        "plugins": _origins(job, registry),
        "versions": {"python": platform.python_version(), **versions},
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": cores(),
            "device": describe(resolve_device(job.device)),
        },
        "threads": threads,
    }


def _origins(job: Job, registry: Registry) -> dict[str, Any]:
    spec = job.spec
    used: list[tuple[Kind, str]] = [
        ("variant", spec.variant),
        ("dataset", job.dataset.partition(":")[0]),
        ("backbone", spec.backbone),
        *(("metric", name) for name in job.metrics),
    ]
    used += [("extractor", name) for name in job.extractors]
    return {f"{kind}:{name}": asdict(registry.get(kind, name).origin) for kind, name in used}
