"""Planning: from what the user asked for to the jobs, the skips with their reasons, and the notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganbench.contract.types import Clock, Split
from ganbench.contract.variant import Control, Variant
from ganbench.errors import PluginError, UserError, brief
from ganbench.files import parted
from ganbench.results.record import RunSpec
from ganbench.runs.blame import reason_of
from ganbench.runs.code import HARNESS
from ganbench.runs.hints import dataset_hint
from ganbench.runs.job import Job
from ganbench.runs.measures import measure, plain_name, wanted
from ganbench.runs.opening import open_bench, open_dataset
from ganbench.runs.options import as_plain, resolve
from ganbench.runs.registry import Entry, Kind, Registry, needed
from ganbench.runs.request import Plan, Request, Skip
from ganbench.runs.settings import (
    AVERAGE,
    Settings,
    average_for,
    half_life,
    options_of,
    parse_settings,
    reject_unused,
    require_known,
    require_meant_for_all,
    settings_for,
    settings_for_metrics,
)
from ganbench.runs.steps import BUILD_SECONDS, TRIAL_SECONDS, Begin, Step, unwatched
from ganbench.runs.sweeps import combinations, joined, require_swept
from ganbench.scoring.evaluate import extractor_of, misfit
from ganbench.training.bench import Bench, Measure
from ganbench.training.budget import Budget
from ganbench.training.capture import require_graphs
from ganbench.training.compiled import require_compilable
from ganbench.training.connecting import require_several
from ganbench.training.devices import require_tf32, resolve_device
from ganbench.training.ranks import require_fit
from ganbench.training.trainer import Trainer

MOST_SAMPLES = 10_000
WEIGHTS = ("ema", "raw")
"""What of a variant can be sampled; its average comes first."""
SMALL = 8
"""A batch below it is tried out before it is trained with."""


Missing = dict[tuple[str, str], str]
"""By data set and metric, why it cannot be computed."""


class WrongBatch(UserError):
    """A step needs more images than there are."""


def plan(request: Request, registry: Registry, begin: Begin = unwatched) -> Plan:
    """Make the product of variants, data sets, swept options and seeds. Raises `UserError` where the request is wrong.

    `begin`: told of each stretch of a plugin's code; what it refuses is left out with its reason.
    """
    swept = combinations(request.sweeps, request.settings)
    require_swept(swept, registry)
    return joined(
        {
            options: _plan(replace(request, settings=(*request.settings, *options), sweeps=()), registry, begin)
            for options in swept
        }
    )


def _plan(request: Request, registry: Registry, begin: Begin) -> Plan:
    if not request.seed_numbers or min(request.seed_numbers) < 0:
        raise UserError(f"--seeds {request.seeds}: at least one seed is needed, and none below 0")
    if wrong := [share for share in request.keep if not 0 < share <= 1]:
        raise UserError(f"--keep {wrong[0]:g}: name shares of the budget above 0 and at most 1, as in 0.04,0.4")
    if strange := [each for each in request.score if each not in WEIGHTS]:
        raise UserError(f"--score {strange[0]}: write raw, ema or both, as raw,ema")
    if request.compiled is True:
        require_compilable(request.device, request.precision)
    if request.devices > 1:
        require_several(request.device, request.devices, request.batch, compiled=bool(request.compiled))
    if request.compiled == "graph" and not request.elsewhere:
        require_graphs(resolve_device(request.device))
    if request.precision == "tf32" and not request.elsewhere:
        require_tf32(resolve_device(request.device))
    variants, claimed = expand(request.variants, "variant", registry)
    settings = parse_settings(request.settings)
    require_known(settings, registry)
    used: set[str] = set()
    result = Plan()
    for text in _with_arguments(request.datasets, registry, request.data_root):
        result.skips.extend(Skip(name, text, reason) for name, reason in claimed.items())
        if reason := begin(Step(("dataset", text, *request.settings), "loading it")):
            result.skips.append(Skip("every variant", text, reason))
            continue
        try:
            _plan_dataset(text, request, registry, variants, settings, used, result, begin)
        except PluginError as error:
            result.skips.append(Skip("every variant", text, str(error)))
    reject_unused(settings, used, variants, registry)
    result.jobs.sort(key=lambda job: job.spec.seed)  # every variant's first seed comes before anybody's second
    return result


def _with_arguments(texts: Sequence[str], registry: Registry, root: Path) -> list[str]:
    """Join what a comma parted: a data set of several arguments takes as many of the texts that follow it."""
    rest, joined = list(texts), list[str]()
    while rest:
        name, colon, argument = (text := rest.pop(0)).partition(":")
        try:
            known = registry.get("dataset", name).item
        except UserError as error:
            if joined and ":" in joined[-1]:
                raise UserError(f"{error} (a comma that belongs to a path is written \\, in quotes)") from None
            if name not in registry.entries["dataset"] and (hint := dataset_hint([text, *rest], root)):
                raise UserError(f"there is no data set {text!r}: {hint}") from None
            raise
        while colon and argument and rest and len(parted(text)) < known.arguments:
            text = f"{text},{rest.pop(0)}"
        joined.append(text)
    return joined


def _plan_dataset(
    text: str,
    request: Request,
    registry: Registry,
    variants: Sequence[str],
    settings: Mapping[str, str],
    used: set[str],
    result: Plan,
    begin: Begin,
) -> None:
    dataset_entry = registry.get("dataset", text.partition(":")[0])
    with dataset_entry.blamed("it cannot be opened"):
        mine: dict[Kind, dict[str, str]] = {"dataset": settings_for(dataset_entry.item, settings, used)}
        dataset = open_dataset(text, registry, mine["dataset"])
    backbone = registry.get("backbone", request.backbone or dataset.backbone)
    with backbone.blamed(f"backbone {backbone.item.name!r} cannot be opened"):
        mine["backbone"] = settings_for(backbone.item, settings, used)
    entries = [registry.get("variant", name) for name in variants]
    require_meant_for_all(settings, [entry.item for entry in entries], [backbone.item, dataset_entry.item], registry)
    with dataset_entry.blamed("it cannot be loaded"):
        bench = open_bench(dataset, backbone.item.name, registry, mine, root=request.data_root, size=request.size)
    budget = Budget.parse(request.budget or dataset.budget, len(bench.data.train.images))
    result.notes.extend(f"{dataset.name}: {note}" for note in bench.data.notes)
    metrics = _choose_metrics(request, bench, registry, settings, used, result.notes)
    missing = _missing(text, metrics, bench, registry, request.weights, begin)
    if request.metrics is None:
        metrics, missing = _without(missing, metrics, bench, request.marks_metrics, result.notes)
    mine["metric"] = settings_for_metrics([each.metric for each in metrics], settings, used)
    samples = _choose_samples(request, bench)
    # One that nobody offers takes only its metrics down, which the evaluator says.
    found = {extractor_of(each.metric, bench.data.modes) or "" for each in metrics}
    extractors = sorted(found & registry.entries["extractor"].keys())
    result.benches[text] = replace(
        bench,
        metrics=tuple(metrics),
        extractors={name: registry.get("extractor", name).item for name in extractors},
    )
    scorers = [registry.get("metric", each.metric.name) for each in metrics]
    scorers += [registry.get("extractor", name) for name in extractors]
    named = [each.metric.name for each in metrics]
    taken = tuple(name for name in sorted(registry.entries["metric"]) if any(name.startswith(f"{m}-") for m in named))
    result.missing.update(missing)
    result.notes.extend(_few_samples(dataset.name, metrics, bench, registry, samples, request.reference))
    measured = {
        each.name: wanted(each, registry, samples=samples, reference=request.reference, repeats=request.repeats)
        for each in metrics
    }
    code = {"backbone": backbone.code}
    if dataset_entry.origin.distribution != HARNESS:
        code["dataset"] = dataset_entry.code
    for name, variant in zip(variants, entries, strict=True):
        key = ("variant", name, text, *request.settings)
        if reason := begin(Step(key, "building it", BUILD_SECONDS)):
            result.skips.append(Skip(name, dataset.name, reason))
            continue
        try:
            with variant.blamed("its options cannot be read"):
                own = settings_for(variant.item, settings, used, shared=True)
                config = resolve(variant.item, name, own)
                average = half_life(variant.item, average_for(variant.item, settings, used))
        except PluginError as error:
            result.skips.append(Skip(name, dataset.name, str(error)))
            continue
        try:
            score = _weights(request.score, variant.item, average)
            # Finds what does not fit before anything is spent; on options of its own, which a plugin may change.
            built = bench.fit(variant.item, resolve(variant.item, name, own))
            _require_images(built, bench, request.batch)
            if not isinstance(built, Control):  # which is not trained
                require_fit(built, budget, request.batch, built.images_per_step(request.batch), request.devices)
            begin(Step(key, f"trying a batch of {request.batch}", TRIAL_SECONDS))
            fault = _batch_fault(variant.item, resolve(variant.item, name, own), bench, request.batch)
            if request.compiled is True and not fault and not issubclass(variant.item, Control):
                begin(Step(key, "tracing its steps for --compile", TRIAL_SECONDS))
                fault = _compile_fault(variant.item, resolve(variant.item, name, own), bench, request.batch)
        except WrongBatch:
            raise
        except UserError as error:
            result.skips.append(Skip(name, dataset.name, str(error)))
            continue
        except BaseException as error:  # a plugin may fail in any way, and the others go on
            if isinstance(error, KeyboardInterrupt):
                raise
            result.skips.append(Skip(name, dataset.name, _told(error, variant, backbone, dataset_entry)))
            continue
        if fault:
            result.skips.append(Skip(name, dataset.name, fault))
            continue
        chosen: Settings = {**mine, "variant": own}
        options = options_of(chosen, config, bench)
        if average != variant.item.ema_half_life_images:
            options[AVERAGE] = average
        for seed in request.seed_numbers:
            spec = RunSpec(
                variant=name,
                dataset=dataset.name,
                backbone=bench.backbone.name,
                budget=budget,
                seed=seed,
                size=bench.size,
                batch=request.batch,
                precision=request.precision,
                options=dict(sorted(options.items())),
                config={
                    "variant": as_plain(config),
                    "backbone": as_plain(bench.backbone.config),
                    "dataset": as_plain(dataset.config),
                },
                data=bench.data.fingerprint,
                code={"variant": variant.code, **code},
                preset=request.preset,
                compiled=request.compiled is True,
            )
            origins, files = needed([variant, backbone, dataset_entry, *scorers], request.plugins)
            result.jobs.append(
                Job(
                    spec=spec,
                    dataset=text,
                    settings=chosen,
                    metrics=tuple(measured),
                    extractors=tuple(extractors),
                    marks=request.marks,
                    marks_metrics=tuple(request.marks_metrics),
                    samples=samples,
                    plugins=tuple(path.absolute() for path in files),
                    size=request.size,
                    origins=origins,
                    taken=taken,
                    data_root=request.data_root,
                    weights=request.weights,
                    device=request.device,
                    measured=measured,
                    reference=request.reference,
                    score=score,
                    half_life=average if AVERAGE in options else "paper",
                    averaged=average is not None,
                    graphs=request.compiled is not False,
                    repeats=request.repeats,
                    keep=tuple(sorted(set(request.keep))),
                    devices=1 if issubclass(variant.item, Control) else request.devices,
                    parameters={
                        part: sum(p.numel() for p in network.parameters()) for part, network in built.named_children()
                    },
                )
            )


def expand(patterns: Sequence[str], kind: Kind, registry: Registry) -> tuple[list[str], dict[str, str]]:
    """Return the names that patterns stand for, each once, in the order given; and apart from them, with the reason,
    those that two plugins claim. One that is named by itself raises `UserError`.
    """
    names = list(dict.fromkeys(name for pattern in patterns for name in registry.find(kind, pattern)))
    claimed = {name: reason for name in names if (reason := registry.clash(kind, name))}
    return [name for name in names if name not in claimed], claimed


def _weights(asked: Sequence[str], cls: type[Variant], average: float | None) -> tuple[str, ...]:
    """Return what of a variant is sampled: what was asked for, its average first."""
    kept = WEIGHTS if average is not None else WEIGHTS[1:]
    found = tuple(each for each in kept if each in asked) if asked else kept[:1]
    if not found:
        raise UserError(f"it keeps no average of its weights: --set {cls.name}.ema=500k gives it one, or --score raw")
    return found


def _few_samples(
    name: str, measures: Sequence[Measure], bench: Bench, registry: Registry, samples: int, reference: Split
) -> list[str]:
    """Return a note for each metric that has fewer samples than its extractor has features."""
    notes = []
    for each in measures:
        extractor, split = extractor_of(each.metric, bench.data.modes), each.reference or reference
        if not each.metric.covariance or extractor not in registry.entries["extractor"]:
            continue
        width = registry.get("extractor", extractor).item.width(bench.data)
        real = len((bench.data.test if split == "test" else bench.data.train).images)
        least = min(each.samples or samples, real)
        if width and least < width:
            notes.append(
                f"{name}: {each.name} compares covariances of {width} features on {least} images, too few for a "
                f"number that others can be held against; raise --samples, or take a narrower extractor"
            )
    return notes


def _choose_metrics(
    request: Request,
    bench: Bench,
    registry: Registry,
    settings: Mapping[str, str],
    used: set[str],
    notes: list[str],
) -> list[Measure]:
    chosen, dataset, domain = [], bench.dataset, bench.data.domain
    asked = dataset.metrics if request.metrics is None else request.metrics
    names = dict.fromkeys((*asked, *request.marks_metrics))
    items = [registry.get("metric", plain_name(name)).item for name in names]
    own = settings_for_metrics(items, settings, used)
    for name in names:
        found = measure(name, registry, own, dataset.name)
        metric = found.metric
        pairs = domain is not None and domain.paired
        reason = misfit(metric, bench.spec, modes=bench.data.modes is not None, pairs=pairs)
        if reason and request.metrics:
            raise UserError(f"metric {name!r} does not fit data set {dataset.name!r}: {reason}")
        if reason:
            notes.append(f"{dataset.name}: {name} is left out, because {reason}")
            continue
        chosen.append(found)
    return chosen


def _missing(
    text: str, measures: Sequence[Measure], bench: Bench, registry: Registry, weights: Path | None, begin: Begin
) -> Missing:
    """Return by data set and metric what is known to be missing for it, before anything is spent."""
    reasons: dict[str, str | None] = {}
    for name in {extractor_of(each.metric, bench.data.modes) for each in measures} - {None}:
        assert name is not None
        if name not in registry.entries["extractor"]:
            reasons[name] = f"there is no extractor {name!r}"
            continue
        if reason := begin(Step(("extractor", name, text), "looking for what it needs", BUILD_SECONDS)):
            reasons[name] = f"extractor {name!r}: {reason}"
            continue
        extractor = registry.get("extractor", name)
        try:
            reasons[name] = extractor.item.missing(bench.dataset.name, bench.data, weights)
        except Exception as error:  # a plugin may fail in any way
            reasons[name] = f"extractor {name!r} fails: {reason_of(error, extractor.files)}"
    found = {each.name: reasons.get(extractor_of(each.metric, bench.data.modes) or "") for each in measures}
    return {(text, name): reason for name, reason in found.items() if reason}


def _without(
    missing: Missing, measures: Sequence[Measure], bench: Bench, asked: Sequence[str], notes: list[str]
) -> tuple[list[Measure], Missing]:
    """Leave out metrics that nobody `asked` for and that cannot be computed, where another distance remains."""
    lacking = {name for _, name in missing}
    distances = [each.name for each in measures if extractor_of(each.metric, bench.data.modes)]
    if set(distances) <= lacking:
        return list(measures), missing
    left_out: dict[str, list[str]] = {}
    for (_, name), reason in missing.items():
        if name not in asked:
            left_out.setdefault(reason, []).append(name)
    for reason, names in left_out.items():
        notes.append(f"{bench.dataset.name}: {' and '.join(names)} left out: {reason}")
    gone = {name for names in left_out.values() for name in names}
    kept = {key: reason for key, reason in missing.items() if key[1] not in gone}
    return [each for each in measures if each.name not in gone], kept


def _choose_samples(request: Request, bench: Bench) -> int:
    data = bench.data
    tests = [len(data.test.images), *([len(data.domain.test)] if data.domain else [])]
    usual = data.samples or min(MOST_SAMPLES, *tests)
    if data.domain is not None and request.samples is not None and request.samples > min(tests):
        raise UserError(f"--samples {request.samples}: there are {min(tests)} test images to translate")
    if request.samples is None and usual < 2:
        raise UserError(f"{bench.dataset.name}: its test split has one image, but a metric compares with at least two")
    samples = usual if request.samples is None else request.samples
    if samples < 2:
        raise UserError(f"--samples {samples}: at least 2 generated samples are needed for a score")
    return samples


def _require_images(variant: Variant, bench: Bench, batch: int) -> None:
    needed, found = variant.images_per_step(batch), len(bench.data.train.images)
    if needed > found:
        where = f"{bench.dataset.name}: its training split has {found}"
        raise WrongBatch(f"{variant.name} needs {needed} images a step, but {where}; lower --batch")


def _told(error: BaseException, *entries: Entry) -> str:
    """Tell what a plugin raised when it was built, and where in its files."""
    files = frozenset[str]().union(*(entry.files for entry in entries))
    return f"it cannot be built: {reason_of(error, files)}"


def _batch_fault(cls: type[Variant], config: Any, bench: Bench, batch: int) -> str:
    """Return why a small batch is too small for a variant, tried out in one period, or nothing."""
    if batch >= SMALL or issubclass(cls, Control) or not (fault := _tried(cls, config, bench, batch)):
        return ""
    least = next((n for n in (2, 3, 4, SMALL) if n > batch and not _tried(cls, config, bench, n)), None)
    # Where no batch helps, it is not the batch: the run says what it is.
    return f"--batch {batch} is too small for it ({fault}); it needs at least {least}" if least else ""


def _compile_fault(cls: type[Variant], config: Any, bench: Bench, batch: int) -> str:
    """Return why the steps of a variant cannot be compiled, tried out in two periods, or nothing."""
    try:
        trainer = _trained(cls, config, bench, batch, compiled=True)
        for number in range(trainer.period, 2 * trainer.period):
            trainer.trace(trainer.stream[number], Clock(number, torch.zeros(())))
    except Exception as error:  # as of any plugin
        return f"it cannot be compiled: {brief(str(error), 250) or type(error).__name__}; leave out --compile"
    return ""


def _tried(cls: type[Variant], config: Any, bench: Bench, batch: int) -> str:
    try:
        trainer = _trained(cls, config, bench, batch)
    except Exception as error:  # as of any plugin
        return brief(str(error), 150) or type(error).__name__
    wrong = [name for name, trace in trainer.traces().items() if not np.isfinite(trace).all()]
    wrong = [name for name in wrong if not name.startswith("log/")]
    return f"its {wrong[0]} is not finite" if wrong else ""


def _trained(cls: type[Variant], config: Any, bench: Bench, batch: int, *, compiled: bool = False) -> Trainer:
    """Train a variant for one period, on the host."""
    variant, total, device = bench.build(cls, config, 0), Budget(1e9, "images"), torch.device("cpu")
    trainer = Trainer(variant, bench.data.train, total, seed=0, batch=batch, device=device, compiled=compiled)
    variant.train()
    for _ in range(trainer.period):
        trainer.step()
    return trainer
