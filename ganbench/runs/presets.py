"""Planning the runs of a preset: a published comparison at a share of its budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ganbench.contract.preset import Preset
from ganbench.errors import UserError
from ganbench.runs.job import Job
from ganbench.runs.options import fields_of
from ganbench.runs.plan import expand, plan
from ganbench.runs.registry import Kind, Registry
from ganbench.runs.request import Plan, Request, Skip
from ganbench.runs.settings import key_of
from ganbench.runs.steps import Begin, unwatched
from ganbench.training.budget import Budget


def plan_preset(
    name: str, scale: float, request: Request, asked: Mapping[str, Any], registry: Registry, begin: Begin = unwatched
) -> Plan:
    """Plan the runs of a preset, its budget times `scale`. `asked`: what the user set instead, by field of `Request`.

    `asked` may choose among its variants and data sets, and change seeds, marks and what else is no part of the budget.
    """
    chosen = registry.get("preset", name)
    with chosen.blamed(f"preset {name!r} cannot be planned"):
        return _planned(chosen.item, scale, request, asked, registry, begin)


def _planned(
    preset: Preset, scale: float, request: Request, asked: Mapping[str, Any], registry: Registry, begin: Begin
) -> Plan:
    name = preset.name
    if not 0 < scale <= 1:
        raise UserError(f"--scale {scale:g}: name a share of the preset's budget, above 0 and at most 1")
    if fixed := sorted(asked.keys() & preset.request.keys() - {"seeds", "marks", "metrics"}):
        raise UserError(f"--{fixed[0]}: the preset {name!r} fixes it; leave it out, or run without the preset")
    if request.sweeps:
        raise UserError(f"--sweep: the preset {name!r} has rows of its own; leave it out, or run without the preset")
    wanted = claimed = None
    if asked.get("variants"):
        names, claimed = expand(asked["variants"], "variant", registry)
        wanted = {*names, *claimed}
    datasets = asked.get("datasets") or preset.datasets
    if strange := sorted(set(datasets) - set(preset.datasets)):
        raise UserError(f"--dataset {strange[0]}: the preset {name!r} has {', '.join(preset.datasets)}")
    whole = Budget.parse(preset.request["budget"])
    budget = Budget(max(1.0, round(whole.amount * scale)), whole.unit)
    title = preset.name if scale == 1 else f"{preset.name} × {scale:g}"
    result = Plan(notes=[f"{title}: {preset.source}. {preset.departures}".strip()])
    jobs: dict[str, Job] = {}
    variants = {entry.variant for entry in preset.entries}
    shared = _options_of("backbone", preset.request.get("backbone"), registry)  # it may have the name of a variant
    for entry in preset.entries:
        if wanted is not None and entry.variant not in wanted:
            continue
        if claimed and entry.variant in claimed:
            result.skips.extend(Skip(entry.variant, dataset, claimed[entry.variant]) for dataset in datasets)
            continue
        others = variants - {entry.variant}
        keys = {text: key_of(text) for text in request.settings}
        users = [text for text, key in keys.items() if key in shared or key.partition(".")[0] not in others]
        presets_own = (*preset.settings, *(f"{entry.variant}.{option}" for option in entry.settings))
        settings = (*(text for text in presets_own if key_of(text) not in set(map(key_of, users))), *users)
        fields = {**preset.request, **asked, "variants": [entry.variant], "datasets": datasets, "settings": settings}
        row = replace(request, **{**fields, "budget": str(budget), "preset": title})
        part = plan(row, registry, begin)
        # What the user changed has no published number.
        as_published = plan(replace(row, settings=presets_own), registry, begin) if users else part
        same, label = {job.spec.id for job in as_published.jobs}, entry.label or entry.variant
        for job in part.jobs:
            found = _published(preset, job.spec.dataset, label) if job.spec.id in same else {}
            if job.spec.id not in jobs or found:  # the user's options may make one row of several
                jobs[job.spec.id] = replace(job, published=found)
        result.skips.extend(part.skips)
        result.missing.update(part.missing)
        result.notes.extend(note for note in part.notes if note not in result.notes)
    if wanted is not None and not jobs and not result.skips:
        raise UserError(
            f"--variants {','.join(asked['variants'])}: the preset {name!r} has {', '.join(sorted(variants))}"
        )
    result.jobs.extend(sorted(jobs.values(), key=lambda job: job.spec.seed))
    return result


def _options_of(kind: Kind, name: str | None, registry: Registry) -> set[str]:
    return {f"{name}.{option}" for option in fields_of(type(registry.get(kind, name).item))} if name else set()


def _published(preset: Preset, dataset: str, label: str) -> dict[str, Any]:
    found = {
        p.metric: [p.value, p.error, *((p.runs, p.kind) if p.runs or p.kind else ())]
        for p in preset.published
        if (p.dataset, p.label) == (dataset, label)
    }
    return {"values": found, "source": preset.source, "departures": preset.departures} if found else {}
