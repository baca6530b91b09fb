"""Planning: from what the user asked for to the jobs, the skips with their reasons, and the notes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganbench.backbone import Backbone
from ganbench.budget import Budget
from ganbench.data import Dataset, Splits
from ganbench.errors import UserError
from ganbench.evaluate import UNAVAILABLE, extractor_of, misfit
from ganbench.metrics import Metric
from ganbench.options import as_plain, fields_of, resolve, suggestion
from ganbench.plugins import Entry, Kind, Registry
from ganbench.record import FINAL, RunRecord, RunSpec
from ganbench.trainer import build_variant
from ganbench.variant import Variant

MOST_SAMPLES = 10_000
Settings = Mapping[Kind, Mapping[str, str]]


@dataclass(frozen=True)
class Request:
    """What the user asked for; None means the data set's default."""

    variants: Sequence[str]
    datasets: Sequence[str]
    backbone: str | None = None
    budget: str | None = None
    seeds: int = 3
    size: int = 0
    batch: int = 64
    precision: str = "fp32"
    metrics: Sequence[str] | None = None
    marks: int = 5
    marks_metrics: Sequence[str] = ()
    samples: int | None = None
    settings: Sequence[str] = ()
    preset: str = ""
    plugins: Sequence[Path] = ()
    data_root: Path = Path("data")
    weights: Path | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Job:
    """One run to be made, in plain values, so that another process or machine can make it."""

    spec: RunSpec
    dataset: str
    settings: Settings
    metrics: tuple[str, ...]
    extractors: tuple[str, ...]
    marks: int
    marks_metrics: tuple[str, ...]
    samples: int
    plugins: tuple[Path, ...]
    data_root: Path
    weights: Path | None
    device: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Skip:
    """A variant that does not fit a data set, and why."""

    variant: str
    dataset: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """Jobs in the order in which they run, what is left out with its reason, and notes for the user."""

    jobs: list[Job]
    skips: list[Skip]
    notes: list[str]


def plan(request: Request, registry: Registry) -> Plan:
    """Make the product of variants, data sets and seeds. Raises `UserError` where the request is wrong."""
    if request.seeds < 1:
        raise UserError(f"--seeds {request.seeds}: at least one seed is needed")
    variants = expand(request.variants, "variant", registry)
    settings = _parse_settings(request.settings)
    used: set[str] = set()
    result = Plan([], [], [])
    for text in _with_arguments(request.datasets, registry):
        _plan_dataset(text, request, registry, variants, settings, used, result)
    _reject_unused(settings, used, variants, registry)
    result.jobs.sort(key=lambda job: job.spec.seed)  # every variant's first seed comes before anybody's second
    return result


def _with_arguments(texts: Sequence[str], registry: Registry) -> list[str]:
    """Join what a comma parted: a data set of several arguments takes as many of the texts that follow it."""
    rest, joined = list(texts), list[str]()
    while rest:
        name, colon, argument = (text := rest.pop(0)).partition(":")
        wanted = registry.get("dataset", name).item.arguments if colon else 1
        while argument and rest and text.count(",") < wanted - 1:
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
) -> None:
    entry = registry.get("dataset", text.partition(":")[0])
    mine: dict[Kind, dict[str, str]] = {"dataset": _settings_for(entry.item, settings, used)}
    dataset = open_dataset(text, registry, mine["dataset"])
    backbone_entry = registry.get("backbone", request.backbone or dataset.backbone)
    mine["backbone"] = _settings_for(backbone_entry.item, settings, used)
    backbone = configured(backbone_entry, mine["backbone"])
    budget = Budget.parse(request.budget or dataset.budget)
    data = dataset.load(request.data_root, request.size or dataset.size)
    metrics = _choose_metrics(request, dataset, data, registry, result.notes)
    samples = _choose_samples(request, data)
    # One that nobody offers takes only its metrics down, which the evaluator says.
    extractors = sorted(
        {extractor_of(metric, data.modes) or "" for metric in metrics} & registry.entries["extractor"].keys()
    )
    for name in variants:
        variant = registry.get("variant", name)
        own = _settings_for(variant.item, settings, used, shared=True)
        reason, parameters = _try(variant.item, backbone, data, dataset, own, request.batch)
        if reason:
            result.skips.append(Skip(name, dataset.name, reason))
            continue
        chosen: Settings = {**mine, "variant": own}
        for seed in range(request.seeds):
            spec = RunSpec(
                variant=name,
                dataset=dataset.name,
                backbone=backbone.name,
                budget=budget,
                seed=seed,
                size=data.train.images.shape[-1] if data.train.images.ndim == 4 else 0,
                batch=request.batch,
                precision=request.precision,
                options=_options(chosen, variant.item, backbone, dataset),
                config={
                    "variant": as_plain(resolve(variant.item, name, own)),
                    "backbone": as_plain(backbone.config),
                    "dataset": as_plain(dataset.config),
                },
                data=data.fingerprint,
                code={"variant": variant.origin.sha256, "backbone": backbone_entry.origin.sha256},
                preset=request.preset,
            )
            result.jobs.append(
                Job(
                    spec=spec,
                    dataset=text,
                    settings=chosen,
                    metrics=tuple(metric.name for metric in metrics),
                    extractors=tuple(extractors),
                    marks=request.marks,
                    marks_metrics=tuple(request.marks_metrics),
                    samples=samples,
                    plugins=tuple(path.absolute() for path in request.plugins),
                    data_root=request.data_root,
                    weights=request.weights,
                    device=request.device,
                    parameters=parameters,
                )
            )


def open_dataset(text: str, registry: Registry, settings: Mapping[str, str]) -> Dataset:
    """Return the data set that `NAME` or `NAME:argument` stands for, with its options."""
    name, colon, argument = text.partition(":")
    entry = registry.get("dataset", name)
    dataset = configured(entry, settings)
    return dataset.of(argument) if colon else dataset


def configured(entry: Entry, settings: Mapping[str, str]) -> Any:
    """Return a copy of a plugin's data set or backbone with its options set."""
    item = copy.copy(entry.item)
    item.config = resolve(type(item), item.name, settings)
    return item


def is_complete(record: RunRecord | None, job: Job) -> bool:
    """Return whether nothing is left to do for a job."""
    if record is None or record.status not in FINAL:
        return False
    return record.status == "diverged" or not unscored_metrics(record, job)


def unscored_metrics(record: RunRecord, job: Job) -> list[str]:
    """Return the metrics of a job that a finished record has no value for, under as many samples as are asked for."""

    def scored(name: str) -> bool:
        if name in record.unscored and not record.unscored[name].startswith(UNAVAILABLE):
            return True
        return any(value.protocol.get("n_fake", job.samples) == job.samples for value in record.values.get(name, []))

    return [name for name in job.metrics if not scored(name)]


def expand(patterns: Sequence[str], kind: Kind, registry: Registry) -> list[str]:
    """Return the names that patterns stand for, each once, in the order given."""
    names = [name for pattern in patterns for name in registry.find(kind, pattern)]
    for name in names:
        registry.get(kind, name)
    return list(dict.fromkeys(names))


def _choose_metrics(
    request: Request, dataset: Dataset, data: Splits, registry: Registry, notes: list[str]
) -> list[Metric]:
    chosen = []
    for name in dict.fromkeys((*(request.metrics or dataset.metrics), *request.marks_metrics)):
        metric: Metric = registry.get("metric", name).item
        pairs = data.domain is not None and data.domain.paired
        reason = misfit(metric, data.spec(dataset.task), modes=data.modes is not None, pairs=pairs)
        if reason and request.metrics:
            raise UserError(f"metric {name!r} does not fit data set {dataset.name!r}: {reason}")
        if reason:
            notes.append(f"{dataset.name}: {name} is left out, because {reason}")
            continue
        chosen.append(metric)
    return chosen


def _choose_samples(request: Request, data: Splits) -> int:
    tests = [len(data.test.images), *([len(data.domain.test)] if data.domain else [])]
    usual = data.samples or min(MOST_SAMPLES, *tests)
    if data.domain is not None and request.samples is not None and request.samples > min(tests):
        raise UserError(f"--samples {request.samples}: there are {min(tests)} test images to translate")
    samples = usual if request.samples is None else request.samples
    if samples < 2:
        raise UserError(f"--samples {samples}: at least 2 generated samples are needed for a score")
    return samples


def _try(
    cls: type[Variant], backbone: Backbone, data: Splits, dataset: Dataset, settings: Mapping[str, str], batch: int
) -> tuple[str | None, dict[str, int]]:
    # Building once in the plan finds what does not fit before anything is spent.
    spec = data.spec(dataset.task)
    config = resolve(cls, cls.name, settings)
    reason = cls.misfit(spec) or (None if cls.own_architecture else backbone.misfit(spec))
    if reason:
        return reason, {}
    try:
        variant = build_variant(cls, backbone, spec, seed=0, config=config)
    except UserError as error:
        return str(error), {}
    needed = variant.images_per_step(batch)
    if needed > len(data.train.images):
        found = f"its training split has {len(data.train.images)}"
        raise UserError(f"{cls.name} needs {needed} images a step, but {dataset.name}: {found}; lower --batch")
    return None, {name: sum(p.numel() for p in part.parameters()) for name, part in variant.named_children()}


def _parse_settings(settings: Sequence[str]) -> dict[str, str]:
    parsed = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise UserError(f"--set {text!r} is not an option and a value: write lr=2e-4 or wgan.clip=0.1")
        parsed[key.strip()] = value.strip()
    return parsed


def _settings_for(item: Any, settings: Mapping[str, str], used: set[str], *, shared: bool = False) -> dict[str, str]:
    # An option named for its owner beats one that is meant for all variants.
    owner = item if isinstance(item, type) else type(item)
    mine: dict[str, str] = {}
    for key, value in settings.items():
        name, dot, option = key.rpartition(".")
        if not dot and shared:
            if option not in fields_of(owner):
                hint = suggestion(option, fields_of(owner))
                raise UserError(
                    f"--set {key}={value} is meant for all variants, but {item.name} has no option {option!r}"
                    f"{hint or '; name the variant that has it, as in wgan.clip=0.1'}"
                )
            mine.setdefault(option, value)
            used.add(key)
        elif dot and name == item.name and (option in fields_of(owner)):
            mine[option] = value
            used.add(key)
    return mine


def _reject_unused(settings: Mapping[str, str], used: set[str], variants: Sequence[str], registry: Registry) -> None:
    for key in settings:
        if key in used:
            continue
        name, _, option = key.rpartition(".")
        kinds: tuple[Kind, ...] = ("variant", "backbone", "dataset")
        owners = [entry.item for kind in kinds for entry in registry.entries[kind].get(name, [])]
        for item in owners:
            owner = item if isinstance(item, type) else type(item)
            if option not in fields_of(owner):
                resolve(owner, name, {option: settings[key]})
        if owners:
            raise UserError(f"--set {key}: {name!r} takes no part in this run, which has {', '.join(variants)}")
        known = [name for kind in kinds for name in registry.entries[kind]]
        raise UserError(f"--set {key}: there is no variant, backbone or data set {name!r}{suggestion(name, known)}")


def _options(settings: Settings, variant: type[Variant], backbone: Backbone, dataset: Dataset) -> dict[str, Any]:
    resolved = as_plain(resolve(variant, variant.name, settings["variant"]))
    options = {key: resolved[key] for key in settings["variant"]}
    for kind, item in (("backbone", backbone), ("dataset", dataset)):
        plain = as_plain(item.config)
        options |= {f"{item.name.partition(':')[0]}.{key}": plain[key] for key in settings[kind]}  # type: ignore[index]
    return dict(sorted(options.items()))
