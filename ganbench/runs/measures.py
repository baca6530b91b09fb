"""Metrics as they are asked for: `precision@classifier`, `fid@10k-test`, with options of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from ganbench.contract.types import Split
from ganbench.errors import UserError, quoted, suggestion
from ganbench.runs.options import as_plain, resolve
from ganbench.runs.registry import Registry
from ganbench.scoring.evaluate import SPLITS
from ganbench.training.bench import Measure

PROTOCOL = re.compile(r"(?:(?P<dataset>[\w-]+)-)?(?P<number>\d+)(?P<thousands>k?)-(?P<split>train|test)")
"""How many samples are compared with which split, and of which data set that is usual: `cifar10-50k-train`."""


def plain_name(asked: str) -> str:
    """Return the name of the metric that is asked for."""
    return asked.partition("@")[0]


def measure(asked: str, registry: Registry, settings: Mapping[str, str], dataset: str) -> Measure:
    """Return the metric that a name stands for: with the extractor, the number of samples and the split behind its @s.

    `settings`: options of metrics, as `prdc.k`. Raises `UserError` where one of them is not to be had.
    """
    name, *parts = asked.split("@")
    metric = registry.get("metric", name).item
    own = options_for(metric, settings)
    found = Measure(metric, "@".join(parts), resolve(metric, metric.owner or name, own))
    for part in parts:
        if part in registry.entries["extractor"]:
            if not metric.any_extractor:
                raise UserError(f"metric {quoted(asked)}: {name} is measured by {_own(metric)} alone, write {name!r}")
            if found.metric.extractor != metric.extractor:
                raise UserError(f"metric {quoted(asked)} names two extractors: keep one")
            found = replace(found, metric=replace(metric, extractor=registry.get("extractor", part).item.name))
        elif match := PROTOCOL.fullmatch(part):
            found = _compared(found, asked, match, dataset)
        else:
            known = sorted(registry.entries["extractor"]) if metric.any_extractor else []
            hint = suggestion(part, known) or f"; extractors are {', '.join(known)}" * bool(known)
            raise UserError(
                f"metric {quoted(asked)}: {quoted(part)} is no extractor that it can have, and no number of samples "
                f"and split such as 10k-test or 50k-train{hint}"
            )
    return found


def _own(metric: Any) -> str:
    return f"the extractor {metric.extractor!r}" if metric.extractor else "what it needs and no extractor"


def _compared(found: Measure, asked: str, match: re.Match[str], dataset: str) -> Measure:
    usual, split = match["dataset"], cast(Split, match["split"])
    if not found.metric.samples:
        raise UserError(f"metric {quoted(asked)}: {found.metric.name} looks at training alone, not at samples")
    if usual and usual != dataset.partition(":")[0]:
        raise UserError(f"metric {quoted(asked)} is the protocol of {usual}, but the data set is {dataset}")
    samples = int(match["number"]) * (1000 if match["thousands"] else 1)
    if samples < 2:
        raise UserError(f"metric {quoted(asked)}: at least 2 samples are needed for a score")
    return replace(found, samples=samples, reference=split)


def options_for(metric: Any, settings: Mapping[str, str]) -> dict[str, str]:
    """Return a metric's own options among those of all metrics; its own name beats one that it shares with others."""
    mine: dict[str, str] = {}
    for owner in filter(None, (metric.owner, metric.name)):
        mine |= {key.rpartition(".")[2]: text for key, text in settings.items() if key.rpartition(".")[0] == owner}
    return mine


def wanted(measure: Measure, registry: Registry, *, samples: int, reference: Split, repeats: int) -> dict[str, Any]:
    """Return what the protocol of a value must say so that it is the one that is asked for now."""
    metric = measure.metric
    code = {"metric": registry.get("metric", metric.name).code[:8]}
    found: dict[str, Any] = {"code": code, "options": as_plain(measure.options)}
    if metric.samples:
        compared = SPLITS[measure.reference or reference]
        found |= {"n_fake": measure.samples or samples, "reference": compared, "repeats": repeats}
    return found
