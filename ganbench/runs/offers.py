"""Whether what a plugin's hook returns is what it may be."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ganbench.contract.types import CONTROL
from ganbench.errors import brief

Kind = Literal["variant", "dataset", "backbone", "metric", "extractor", "preset", "observer", "experiment", "executor"]


def no_list(kind: Kind, items: Any) -> str | None:
    """Return what a hook returns that is no list of things, and what would be right, or None."""
    thing = "classes" if kind == "variant" else "instances"
    if items is None:
        return f"None instead of a list of {thing}: it lacks its `return`"
    if isinstance(items, type):
        call = "" if kind == "variant" else "()"
        return f"the class {items.__name__} instead of a list of {thing}: write [{items.__name__}{call}]"
    if isinstance(items, Mapping):
        return f"a {type(items).__name__} instead of a list of {thing}"
    if isinstance(items, str) or not isinstance(items, Iterable):
        return f"{brief(repr(items), 100)} instead of a list of {thing}: put it into [ ]"
    return None


def fault_of(kind: Kind, item: Any) -> str | None:
    """Return what is wrong with one thing that a hook offers, or None. Of an observer it imports no torch."""
    fault = _no_helper(kind, item) if kind in ("observer", "executor") else _not_of_its_kind(kind, item)
    if fault is not None:
        return fault
    name = getattr(item, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) or name == "all":
        return f"has the name {name!r}; write letters, digits and hyphens, but not 'all'"
    return None


def _no_helper(kind: Kind, item: Any) -> str | None:
    from ganbench.contract.executors import Executor
    from ganbench.contract.observers import Observer

    contract = Observer if kind == "observer" else Executor
    return None if isinstance(item, contract) else _no_instance(item, contract)


def _no_instance(item: Any, contract: type) -> str:
    call = f": write {item.__name__}()" if isinstance(item, type) else ""
    return f"is not an instance of ganbench.{contract.__name__}{call}"


def _not_of_its_kind(kind: Kind, item: Any) -> str | None:
    from ganbench.contract.backbone import Backbone
    from ganbench.contract.data import Dataset
    from ganbench.contract.experiments import Experiment
    from ganbench.contract.metrics import Extractor, Metric
    from ganbench.contract.preset import Preset
    from ganbench.contract.variant import Control, Variant

    contracts = {
        "dataset": Dataset,
        "backbone": Backbone,
        "metric": Metric,
        "extractor": Extractor,
        "preset": Preset,
        "experiment": Experiment,
    }
    if kind != "variant":
        if not isinstance(item, contracts[kind]):
            return _no_instance(item, contracts[kind])
    elif not isinstance(item, type) or not issubclass(item, Variant):
        return "is not a subclass of ganbench.Variant"
    elif inspect.isabstract(item):
        return f"does not define {', '.join(sorted(item.__abstractmethods__))}"
    elif issubclass(item, Control) != (item.family == CONTROL):
        if issubclass(item, Control):
            return f"is a Control and calls its family {item.family!r}: it is not trained, leave `family` out"
        return f"is of the family {CONTROL!r}, but no subclass of ganbench.Control"
    return None
