"""The making of one run: train, score at the marks, keep checkpoints, never lose what is computed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from ganbench.contract.metrics import Past
from ganbench.contract.types import UNAVAILABLE, Curve, Value
from ganbench.contract.variant import Control, Variant
from ganbench.errors import UserError
from ganbench.results.record import NOT_TRAINED, UNFINISHED, Mark, RunRecord, Status, unscored_key
from ganbench.results.store import ResultStore
from ganbench.runs.blame import keep_traceback
from ganbench.runs.checkpoint import Checkpoints, Unusable, load_state, save_state
from ganbench.runs.crew import Crew, share_of
from ganbench.runs.facts import SEVERAL, files_of, provenance, several, variant_facts
from ganbench.runs.further import trainer_of
from ganbench.runs.gallery import draw_last, draw_mark, shown_of
from ganbench.runs.job import Job, unscored_metrics
from ganbench.runs.looks import Looks
from ganbench.runs.opening import open_bench, open_dataset
from ganbench.runs.options import as_plain, resolve
from ganbench.runs.registry import Registry
from ganbench.runs.stopping import Stopped
from ganbench.scoring.evaluate import Evaluator, Scores, Subject, Unavailable
from ganbench.scoring.gradients import OWN, canonical_curves, log_spaced, own_curve
from ganbench.scoring.samples import generate, require_asked
from ganbench.seeds import derive, seeded
from ganbench.training.arithmetic import placed
from ganbench.training.bench import Bench, Measure
from ganbench.training.budget import Tick
from ganbench.training.compiled import require_compilable
from ganbench.training.devices import describe, make_repeatable, require_tf32, resolve_device
from ganbench.training.graphs import Graphs
from ganbench.training.guard import Unfair
from ganbench.training.loose import LooseKernels
from ganbench.training.meter import FlopCounter
from ganbench.training.trainer import EMA_RAMP, Trainer

CHECKPOINT_SECONDS = 300.0
REACH = 1.01
"""In magnitude, what is taken for an image in [-1, 1] that was rounded."""
ALIKE = 0.5
"""By so many grey levels on average may samples of one set of weights differ, where a device rounds otherwise."""
PATIENCE = 10
"""After so many periods without an update of G a run ends, since it would be scored on its initial weights."""
_CURVE = TypeAdapter(list[Mark])

Listener = Callable[[float, Tick | None, Mark | None], object]
"""Hears of progress: the share of the budget spent, and at a tick its state, at a mark its values."""


class Run:
    """One run on its bench. `trainer`: None until it begins; `curve`, `unscored`: what has been scored so far.

    `bench`: opened here unless it is given; `threads`: those of the run's first start, where there was one; `at_once`:
    the block in which a request to stop may raise `Stopped`, because what it does is kept or can be done again.
    """

    def __init__(
        self,
        job: Job,
        store: ResultStore,
        registry: Registry,
        threads: int,
        bench: Bench | None = None,
        at_once: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.job, self.store, self.at_once = job, store, at_once
        self.work = store.work(job.spec)
        self.device = resolve_device(job.device)
        self.checkpoints = Checkpoints(self.work, job.spec.id)
        self.saved = self.checkpoints.load()
        self.looks = Looks(job, self.work)
        threads = int(self.saved["threads"]) if self.saved else threads
        self.devices = _places(None, self.device, job.devices)
        self.loose = LooseKernels(map(str, self.saved.get("not_deterministic", ())) if self.saved else ())
        make_repeatable(self.device, share_of(threads, job.devices))
        self.crew = Crew(job, threads)
        self.bench = bench or open_bench(
            open_dataset(job.dataset, registry, job.settings["dataset"]),
            job.spec.backbone,
            registry,
            job.settings,
            root=job.data_root,
            size=job.size,
            metrics=job.metrics,
            extractors=job.extractors,
        )
        self.evaluator = Evaluator(
            self.bench,
            samples=job.samples,
            reference=job.reference,
            device=self.device,
            weights=job.weights,
            taken=job.taken,
            told=lambda name, error: keep_traceback(error, files_of(job, registry), self.work / f"error-{name}.txt"),
        )
        cls: type[Variant] = registry.get("variant", job.spec.variant).item
        config = resolve(cls, cls.name, job.settings["variant"])
        self._make = partial(self.bench.build, cls, config, job.spec.seed)
        self.blank = RunRecord(
            job.spec,
            "killed",
            variant=variant_facts(job, registry),
            provenance=provenance(job, registry, threads),
        )
        self.trainer: Trainer | None = None
        self.curve: list[Mark] = []
        self.unscored: dict[str, str] = {}
        self.built = 0.0
        self._told_of: Graphs | None = None

    def build(self) -> Variant:
        """Build the variant at its first step. Raises `Unfair` where its options are not those of the run."""
        variant, planned = self._make(), self.job.spec.config.get("variant")
        if planned is not None and (found := as_plain(variant.config)) != planned:
            changed = ", ".join(
                f"{key}={found.get(key)}" for key in {**planned, **found} if found.get(key) != planned.get(key)
            )
            raise Unfair(f"{variant.name} changes its options in build: {changed}, which are not those of its record")
        return variant

    def begin(self) -> Trainer:
        """Make the trainer, at the last checkpoint that it can continue from, where there is one."""
        with self.at_once():
            self.crew.start()
            fresh = self._fresh_trainer()
        self.trainer = fresh
        while self.saved:
            try:
                if (share := self.looks.passed(self.saved)) is not None:
                    warnings.warn(
                        f"weights are to be kept at {share:g} of the budget, which a checkpoint is beyond: "
                        f"training starts anew",
                        stacklevel=2,
                    )
                    self.saved = None
                    break
                self.trainer.load_state_dict(self.saved["trainer"])
                self.curve = _CURVE.validate_json(self.saved["curve"])
                self.unscored = {str(name): str(reason) for name, reason in self.saved["unscored"].items()}
                break
            except (MemoryError, torch.OutOfMemoryError):
                raise  # the checkpoint is not to blame
            except Exception as error:  # a state that does not fit fails in many ways
                self.checkpoints.refuse(f"is damaged (it cannot be continued from: {_first_line(error)})")
                self.saved = self.checkpoints.load()
                self.trainer = self._fresh_trainer()  # the other may be half filled
                self.curve, self.unscored = [], {}
        with self.at_once():
            self.crew.connect(self.trainer.state_dict() if self.saved else None)
        self.checkpoints.tell(self.trainer.meters.steps)
        self.devices = _places(self.saved, self.device, self.job.devices)
        if self.saved is None:
            self.loose.forget()
        elif len(self.devices) > 1:
            before, now_on = self.devices[-2:]
            otherwise = "draws and rounds" if SEVERAL in before + now_on else "rounds"
            warnings.warn(
                f"it was begun on {before} and goes on {now_on}, which {otherwise} otherwise: its numbers are of both, "
                f"and its time is not averaged with that of others",
                stacklevel=2,
            )
        return self.trainer

    def _fresh_trainer(self) -> Trainer:
        spec = self.job.spec
        if spec.precision == "tf32":
            require_tf32(self.device)
        if spec.compiled:  # planned on another machine, maybe
            require_compilable(self.device.type, spec.precision)
        with FlopCounter() as spent:
            variant = self.build()
        self.built = float(spent.flops)
        return trainer_of(self.job, variant, self.bench.data.train, self.device, self.crew.ranks)

    def make(self, listen: Listener, stopping: Callable[[], bool]) -> RunRecord:
        """Train to the end of the budget, from the last checkpoint where there is one, scoring at the marks."""
        with self.loose.heard(), self.crew.together():
            return self._make_all(partial(self._tell, listen), stopping)

    def _make_all(self, listen: Listener, stopping: Callable[[], bool]) -> RunRecord:
        spec, trainer = self.job.spec, self.begin()
        saved, kept = time.monotonic(), dict[str, Variant]()
        for number in range(1, self.job.marks + 1):
            share = number / self.job.marks
            if self.curve and self.curve[-1].share >= share - 1e-9:
                continue  # evaluated before the run was stopped
            for until in self.looks.stops(trainer, (number - 1) / self.job.marks, share):
                for tick in trainer.train(until):
                    self._require_fair(trainer, tick)
                    listen(spec.budget.spent(tick.meters) / spec.budget.amount, tick, None)
                    self.looks.keep(trainer, until)
                    if stopping():
                        self.checkpoint(trainer)
                        raise Stopped
                    if time.monotonic() - saved > CHECKPOINT_SECONDS:
                        self.checkpoint(trainer)
                        saved = time.monotonic()
            if trainer.diverged:
                record = self.keep("diverged", trainer.diverged)
                self.checkpoints.remove()
                return record
            self.checkpoint(trainer)  # scoring may take long
            if share > 1 - 1e-9:
                self._require_trained(trainer)
            spent, traces = trainer.tally(), trainer.traces()
            with self.at_once():
                rebuilt = {each: self._rebuilt(trainer.snapshot(each)) for each in self.job.score}
                kept = {each: variant for each, (variant, _) in rebuilt.items()}
                shown = rebuilt[self.job.score[0]]
                draw_mark(self.store.make_samples(spec), share, shown[1], self.bench.data)
                mark = Mark(share, tick.meters, {})
                scores = {each: self._score(each, variant, traces, mark) for each, variant in kept.items()}
                if share > 1 - 1e-9:
                    self._draw_last(trainer, *shown)
            first, *others = scores
            raw = scores[others[0]].values if others else {}
            self.curve.append(replace(mark, values=scores[first].values, raw=raw))
            self.unscored = _reasons(scores, averaged=self.job.averaged)
            if trainer.tally() != spent:
                raise Unfair(f"the meters of {spec.variant} changed while it was sampled: only the harness counts")
            if isinstance(trainer.variant, Control):
                self.unscored |= {m.name: NOT_TRAINED for m in self.bench.metrics if not m.metric.samples}
            self.checkpoint(trainer)
            self.keep("killed", UNFINISHED)
            saved = time.monotonic()
            listen(share, None, self.curve[-1])  # what is told is kept already
        missing = [each for each in trainer.averages if each not in kept]  # of a run stopped after its last mark, all
        kept |= {each: trainer.snapshot(each) for each in missing}
        states = {each: variant.state_dict() for each, variant in kept.items()}
        checksum = save_state(self.work / "final.pt", states, spec.id)
        record = self.keep("done", "", {"weights": checksum})
        self.checkpoints.remove()
        return record

    def _tell(self, listen: Listener, share: float, tick: Tick | None, mark: Mark | None) -> None:
        if names := self.loose.fresh():
            warnings.warn(
                f"not deterministic on {self.devices[-1]}: {', '.join(names)}; made again, this run gives other bits",
                stacklevel=2,
            )
        graphs = self.trainer.graphs if self.trainer is not None else None
        if graphs is not None and graphs.refused and graphs is not self._told_of:
            warnings.warn(f"its steps are made one by one, without CUDA graphs: {graphs.refused}", stacklevel=2)
            self._told_of = graphs
        listen(share, tick, mark)
        self.loose.listen()  # a listener may have sent warnings elsewhere

    def _made_by(self, provenance: Mapping[str, Any]) -> dict[str, Any]:
        """Return a provenance with the kernels that were heard of: not of this run alone where it was scored later."""
        names = dict.fromkeys([*provenance.get("not_deterministic", ()), *self.loose.names])
        return {**provenance, **({"not_deterministic": list(names)} if names else {})}

    def top_up(self, record: RunRecord) -> RunRecord:
        """Score the metrics that a finished run has no value for, from its kept weights."""
        with self.loose.heard():
            return self._top_up(record)

    def _top_up(self, record: RunRecord) -> RunRecord:
        names = {each: unscored_metrics(record, self.job, each) for each in self.job.score}
        if record.status != "done" or not any(names.values()):
            return record
        values = {name: list(found) for name, found in record.values.items()}
        unscored, sampling = dict(record.unscored), dict(record.sampling)
        for weights, lacking in names.items():
            if not lacking:
                continue
            keys = {name: unscored_key(name, weights, averaged=self.job.averaged) for name in lacking}
            try:
                variant = self._kept_variant(record, weights)
            except Unusable as error:
                reason = f"{UNAVAILABLE}{error}; delete its record to train it again"
                unscored |= dict.fromkeys(keys.values(), reason)
                continue
            missing = [measure for measure in self.bench.metrics if measure.name in lacking]
            past = _past(record.curve)
            scores = self._measure(weights, variant, missing, _KeptTraces(self.store, record), past, last=True)
            for name, value in scores.values.items():
                values[name] = [*(old for old in values.get(name, []) if not _is_same(old, value)), value]
            unscored = {name: reason for name, reason in unscored.items() if name not in keys.values()}
            unscored |= _reasons({weights: scores}, averaged=self.job.averaged)
            sampling.setdefault(weights, self._sampling(weights, variant))
        headline = [*record.variant.get("headline", ()), *self.job.metrics]
        facts = {**record.variant, "headline": list(dict.fromkeys(headline))}
        return self.store.add(
            replace(
                record,
                values=values,
                unscored=unscored,
                sampling=sampling,
                variant=facts,
                provenance=self._made_by(record.provenance),
                made=now(),
            )
        )

    def _kept_variant(self, record: RunRecord, weights: str) -> Variant:
        """Build the variant with its final weights. Raises `Unusable` where these cannot be had."""
        path = self.work / "final.pt"
        try:
            states = load_state(path, record.spec.id, record.checksums.get("weights"))
        except Unusable as error:
            raise Unusable(f"{path} {error}") from error
        if states is None:
            raise Unusable(f"its weights are no longer in {self.work}")
        if (state := states.get(weights)) is None:
            raise Unusable(f"its {'averaged' if weights == 'ema' else weights} weights were not kept")
        variant = placed(self.build(), self.device)
        try:
            variant.load_state_dict(state)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # weights that do not fit fail in many ways
            raise Unusable(f"{path} does not fit {variant.name}: {_first_line(error)}") from error
        return variant.requires_grad_(False).eval()

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

    def keep(self, status: Status, error: str, checksums: Mapping[str, str] = MappingProxyType({})) -> RunRecord:
        """Record what the run has come to, with its meters and traces up to now, and return what is kept of it."""
        assert self.trainer is not None
        trainer, last = self.trainer, dict[str, list[Value]]()
        if status == "done":
            for values in (self.curve[-1].values, self.curve[-1].raw):
                for name, value in values.items():
                    if value.weights or name not in last:  # of training alone there is one
                        last.setdefault(name, []).append(value)
        record = replace(
            self.blank,
            status=status,
            error=error,
            provenance={**self._made_by(self.blank.provenance), **_moved(self.devices), **_replayed(trainer)},
            meters=replace(trainer.meters, updates=dict(trainer.meters.updates)),
            values=last,
            unscored=self.unscored,
            curve=self.curve,
            checksums=checksums,
            made=now(),
            sampling={each: self._sampling(each, trainer.variant) for each in self.job.score},
        )
        return self.store.add(record, trainer.traces())

    def checkpoint(self, trainer: Trainer) -> None:
        """Keep all that the run needs to continue."""
        state = {
            "trainer": trainer.state_dict(),
            "curve": _CURVE.dump_json(self.curve).decode(),
            "unscored": self.unscored,
            "threads": self.blank.provenance["threads"],
            "devices": self.devices,
            "not_deterministic": self.loose.names,
        }
        self.checkpoints.save(state)

    def _require_fair(self, trainer: Trainer, tick: Tick) -> None:
        steps, name = tick.meters.steps, self.job.spec.variant
        if steps and self.built > tick.meters.flops / steps:
            raise Unfair(
                f"{name} spends {self.built:,.0f} FLOPs in build, more than a step of its training, which is metered: "
                f"build only makes networks"
            )
        if steps >= PATIENCE * trainer.period:
            trainer.require_generator()

    def _require_trained(self, trainer: Trainer) -> None:
        """Raise where the generator ends as it began."""
        trainer.require_generator()
        if isinstance(trainer.variant, Control) or not trainer.meters.steps:
            return
        first, last = (
            (v.G if isinstance(getattr(v, "G", None), nn.Module) else v) for v in (self.build(), trainer.variant)
        )
        weights = [
            (one, other.detach().cpu()) for one, other in zip(first.parameters(), last.parameters(), strict=True)
        ]
        largest = max((float(one.detach().abs().max()) for one, _ in weights if one.numel()), default=0.0)
        if all(torch.allclose(one, other, rtol=0, atol=1e-9 * largest) for one, other in weights):
            raise ValueError(f"{trainer.variant.name} has updated G, but its weights are those it began with")

    def _rebuilt(self, snapshot: Variant) -> tuple[Variant, Tensor]:
        """Return the variant built anew with the weights that are kept, since nothing else is scored, and its samples.

        Raises `Unfair` where samples of the two differ, which then come from something that no weights hold.
        """
        built = placed(self.build(), self.device)
        built.load_state_dict(snapshot.state_dict())
        built.requires_grad_(False).eval()
        one, other = (self._picture(variant) for variant in (snapshot, built))
        if bool((one.float() - other.float()).abs().mean() > (ALIKE if one.ndim == 4 else ALIKE / 127.5)):
            raise Unfair(
                f"samples of {snapshot.name} come from more than its weights: built anew and given those, it makes "
                f"others; keep all that sampling needs in parameters and buffers"
            )
        return built, other

    def _picture(self, variant: Variant) -> Tensor:
        """Draw the samples to be shown. Raises `UserError` where they are not images as they were asked for."""
        data = self.bench.data
        count = shown_of(data)
        drawn = generate(variant, count, data, seed=self.job.spec.seed, purpose="picture", reach=REACH).images
        asked = min(count, len(data.domain.test)) if data.domain else count
        if not isinstance(variant, Control):
            require_asked(variant.name, drawn, asked, data.test.images)
        return drawn

    def _sampling(self, weights: str, variant: Variant) -> dict[str, Any]:
        """Return how samples are made that are of the method, not of the measure."""
        facts = dict[str, Any]()
        if isinstance(variant, Control):
            return facts
        if weights == "ema":
            declared = variant.ema_half_life_images if self.job.half_life == "paper" else self.job.half_life
            half_life = self.trainer.half_life if self.trainer is not None else declared
            facts |= {"half_life_images": half_life, "at_most": f"{EMA_RAMP:.0%} of the images served"}
        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in variant.modules()):
            facts["batch_norm"] = "statistics of 4096 samples" if weights == "ema" else "running statistics"
        if variant.task == "label":
            facts["labels"] = "drawn from the training split"
        return facts

    def _score(self, weights: str, variant: Variant, traces: Mapping[str, np.ndarray], mark: Mark) -> Scores:
        metrics, last = self.bench.metrics, mark.share > 1 - 1e-9
        due = [m for m in metrics if last or not m.metric.last_mark_only or m.name in self.job.marks_metrics]
        return self._measure(weights, variant, due, traces, _past([*self.curve, mark]), last=last)

    def _draw_last(self, trainer: Trainer, variant: Variant, drawn: Tensor) -> None:
        data, spec = self.bench.data, self.job.spec
        # Pairs are drawn with replacement; a short run was shown fewer of the domain than stand for all of it here.
        every = isinstance(variant, Control) or data.domain is not None
        count = len(data.train.images)
        draw_last(
            self.store.make_samples(spec),
            variant,
            drawn,
            data,
            served=torch.arange(count) if every else trainer.stream.served(trainer.meters.images),
            classify=self.evaluator.classes,
            seed=spec.seed,
        )

    def _measure(
        self,
        weights: str,
        variant: Variant,
        metrics: Sequence[Measure],
        traces: Mapping[str, np.ndarray],
        past: Sequence[Past],
        *,
        last: bool,
    ) -> Scores:
        probe = partial(self.probe, variant)
        subject = Subject(variant, traces, self.job.spec.seed, weights, past, self._fresh, probe)
        return self.evaluator.score(subject, metrics, repeats=self.job.repeats if last else 1)

    def _fresh(self) -> Variant:
        return placed(self.build(), self.device)


def _past(curve: Sequence[Mark]) -> list[Past]:
    return [
        Past(mark.share, mark.meters.updates, {name: value.value for name, value in mark.values.items()})
        for mark in curve
    ]


def _reasons(scores: Mapping[str, Scores], *, averaged: bool) -> dict[str, str]:
    """Return by metric why it has no value, of second weights under a name of their own."""
    return {
        unscored_key(name, weights, averaged=averaged): reason
        for weights, found in scores.items()
        for name, reason in found.unscored.items()
    }


def _places(saved: Mapping[str, Any] | None, device: torch.device, devices: int) -> list[str]:
    """Return the devices that a run has been on, one after the other, the one of now as last.

    One of several equal cards is as good as another, and of processors as many threads are used as at the beginning.
    """
    before = [str(name) for name in saved.get("devices", [])] if saved else []
    now = several("cpu" if device.type == "cpu" else describe(device), devices)
    return before if before[-1:] == [now] else [*before, now]


def _replayed(trainer: Trainer) -> dict[str, Any]:
    """Return what provenance says of steps that were replayed, or why none was, where that could be."""
    if trainer.graphs is None or not (trainer.graphs.refused or trainer.graphs.replays):
        return {}
    return {"graphs": trainer.graphs.refused or "replayed"}


def _moved(devices: Sequence[str]) -> dict[str, Any]:
    """Return what provenance says of a run that has been on several devices."""
    return {"devices": list(devices)} if len(devices) > 1 else {}


def _is_same(old: Value, new: Value) -> bool:
    """Whether a value takes the place of another one."""
    return old.protocol_hash == new.protocol_hash and old.weights == new.weights


def now() -> str:
    """Return the time, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class _KeptTraces(Mapping[str, np.ndarray]):
    """The traces of a finished run, read when a metric asks for them: where they are damaged, it alone has no value."""

    def __init__(self, store: ResultStore, record: RunRecord) -> None:
        self._store, self._record = store, record

    @cached_property
    def _traces(self) -> Mapping[str, np.ndarray]:
        try:
            return self._store.traces(self._record)
        except UserError as error:
            raise Unavailable(str(error)) from error

    def __getitem__(self, name: str) -> np.ndarray:
        return self._traces[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._traces)

    def __len__(self) -> int:
        return len(self._traces)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip(':')}" if lines else type(error).__name__
