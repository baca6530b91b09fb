"""Opening what a run needs, plugins with their options and data, in the one way that all who need it share."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganbench.contract.data import Dataset, Splits
from ganbench.runs.measures import measure, plain_name
from ganbench.runs.options import resolve
from ganbench.runs.registry import Entry, Kind, Registry
from ganbench.runs.settings import Settings
from ganbench.training.bench import Bench
from ganbench.training.switches import kept


def open_bench(
    dataset: Dataset,
    backbone: str,
    registry: Registry,
    settings: Settings,
    *,
    root: Path,
    size: int = 0,
    metrics: Sequence[str] = (),
    extractors: Sequence[str] = (),
    data: Splits | None = None,
) -> Bench:
    """Load a data set from a data root, and lay a backbone, metrics and extractors beside it.

    `size`: in pixels, 0 is the data set's default; `data`: where they are loaded already. Raises `UserError` where one
    of them is not to be had.
    """
    if data is None:
        with kept():
            data = dataset.load(root, size or dataset.size)
    scored_by: dict[Kind, Sequence[str]] = {"metric": list(map(plain_name, metrics)), "extractor": extractors}
    return Bench(
        dataset,
        data,
        configured(registry.get("backbone", backbone), settings["backbone"]),
        tuple(measure(name, registry, settings.get("metric", {}), dataset.name) for name in metrics),
        {name: registry.get("extractor", name).item for name in extractors},
        {(kind, name): registry.get(kind, name).code for kind, names in scored_by.items() for name in names},
    )


def open_dataset(text: str, registry: Registry, settings: Mapping[str, str]) -> Dataset:
    """Return the data set that `NAME` or `NAME:argument` stands for, with its options, not yet loaded."""
    name, colon, argument = text.partition(":")
    dataset: Dataset = configured(registry.get("dataset", name), settings)
    return dataset.of(argument) if colon else dataset


def configured(entry: Entry, settings: Mapping[str, str]) -> Any:
    """Return a copy of a plugin's data set or backbone with its options set."""
    item = copy.copy(entry.item)
    item.config = resolve(type(item), item.name, settings)
    return item
