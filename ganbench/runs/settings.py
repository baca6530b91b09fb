"""Which of the options that a user set concern whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ganbench.errors import UserError, nearest, quoted, suggestion
from ganbench.runs.options import as_plain, differing, fields_of, without
from ganbench.runs.registry import Kind, Registry
from ganbench.training.budget import Budget

if TYPE_CHECKING:  # they import torch, and a wrong option is told before that
    from ganbench.training.bench import Bench

Settings = Mapping[Kind, Mapping[str, str]]
"""Options as they were written, by the kind of the plugin that has them."""


OWNERS: tuple[Kind, ...] = ("variant", "backbone", "dataset", "metric")
"""What can have options."""
AVERAGE = "ema"
"""The option of every variant: the half-life of averaged weights in real images served, or none."""


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """Part `KEY=VALUE` texts. Raises `UserError` for one that is no such text."""
    parsed: dict[str, str] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        owner, dot, option = key.strip().rpartition(".")
        if not (equals and option.strip() and value.strip()) or (dot and not owner.strip()):
            raise UserError(f"--set {quoted(text)} is not an option and a value: write lr=2e-4 or wgan.clip=0.1")
        if parsed.get(key.strip(), value.strip()) != value.strip():
            raise UserError(
                f"--set {key.strip()} is given twice, as {parsed[key.strip()]} and {value.strip()}: keep one"
            )
        parsed[key.strip()] = value.strip()
    return parsed


def key_of(setting: str) -> str:
    """Return what a text sets, as in `wgan.clip` of `wgan.clip=0.1`, whatever stands behind it."""
    return setting.partition("=")[0].strip()


def settings_for(item: Any, settings: Mapping[str, str], used: set[str], *, shared: bool = False) -> dict[str, str]:
    """Return the options of one plugin that are set to something else than their defaults, and note them as used.

    An option named for its owner beats one that is meant for all variants (`shared`: the plugin is one).
    """
    owner = _class_of(item)
    mine: dict[str, str] = {}
    for key, value in settings.items():
        name, dot, option = key.rpartition(".")
        if not dot and shared and option in fields_of(owner):
            mine.setdefault(option, value)
            used.add(key)
        elif dot and name == item.name and option in fields_of(owner):
            mine[option] = value
            used.add(key)
    return differing(owner, item.name, mine)


def require_known(settings: Mapping[str, str], registry: Registry) -> None:
    """Raise `UserError` for an option named for an owner that is not there or does not have it."""
    for key in settings:
        name, dot, option = key.rpartition(".")
        owners = owners_of(name, registry)
        known = [field for item in owners for field in known_of(item)]  # a variant and a backbone may share
        if not dot or option in known:
            continue
        if not owners:
            raise UserError(f"--set {key}: {_no_owner(name, option, registry)}")
        others = "" if nearest(option, known) else _elsewhere(option, registry)
        raise UserError(f"--set {key}: {without(name, option, dict.fromkeys(known))}{others}")


def owners_of(name: str, registry: Registry) -> list[Any]:
    """Return the plugins that have the options of a name; metrics may share one."""
    found = [entry.item for kind in OWNERS for entry in registry.entries[kind].get(name, [])]
    metrics = [entry.item for entries in registry.entries["metric"].values() for entry in entries]
    return [*found, *(metric for metric in metrics if metric.owner == name != metric.name)]


def known_of(item: Any) -> tuple[str, ...]:
    """Return the options that a plugin can be given, the harness's own of variants among them."""
    fields = fields_of(_class_of(item))
    return tuple(dict.fromkeys((*fields, AVERAGE))) if isinstance(item, type) else fields


def settings_for_metrics(metrics: Sequence[Any], settings: Mapping[str, str], used: set[str]) -> dict[str, str]:
    """Return the options of metrics, by the name of their owner and their own, and note them as used."""
    names = {name: metric for metric in metrics for name in (metric.name, metric.owner) if name}
    mine = {}
    for key, value in settings.items():
        name, _, option = key.rpartition(".")
        if name in names and option in fields_of(names[name]):
            mine[key] = value
            used.add(key)
    return mine


def average_for(cls: Any, settings: Mapping[str, str], used: set[str]) -> str | None:
    """Return what `ema` of a variant is set to, None where it is left to its paper, and note it as used.

    A plugin that has an option of this name gets that one. Raises `UserError` for what is no number of images.
    """
    if AVERAGE in fields_of(cls):
        return None
    keys = [key for key in (AVERAGE, f"{cls.name}.{AVERAGE}") if key in settings]
    used.update(keys)
    return settings[keys[-1]] if keys else None


def half_life(cls: Any, text: str | None) -> float | None:
    """Return the half-life, in real images served, of the average that a variant is to have; None for no average.

    `text`: what it is set to, as 500k or none; None leaves it to the paper.
    """
    if text is None:
        declared: float | None = cls.ema_half_life_images
        return declared
    if text.lower() == "none":
        return None
    try:
        return Budget.parse(f"{text}-images").amount
    except UserError:
        raise UserError(
            f"{cls.name}.{AVERAGE}: {quoted(text)} is no half-life in real images: write 500k, or none for no average"
        ) from None


def _no_owner(name: str, option: str, registry: Registry) -> str:
    if ":" in name and name.partition(":")[0] in registry.entries["dataset"]:
        short = name.partition(":")[0]
        return f"options are of the data set {short!r}, whatever it is given: write {short}.{option}"
    others: tuple[Kind, ...] = ("extractor", "preset", "observer")
    for kind in others:
        if name in registry.entries[kind]:
            return f"{name!r} is a{'n' * (kind[0] in 'eo')} {kind}, which has no options"
    known = [name for kind in OWNERS for name in registry.entries[kind]]
    return f"there is no variant, backbone, data set or metric {name!r}{suggestion(name, known)}"


def require_meant_for_all(
    settings: Mapping[str, str], variants: Sequence[Any], others: Sequence[Any], registry: Registry
) -> None:
    """Raise `UserError` for an option that is meant for all variants and that one of them lacks, with who has it.

    `others`: backbone and data set of the run.
    """
    for key, value in settings.items():
        lacking = [item for item in variants if key not in known_of(item)]
        if "." not in key and lacking:
            hint = _who_has(key, value, lacking[0], [*variants, *others], registry)
            raise UserError(
                f"--set {key}={value} is meant for all variants, but {lacking[0].name} has no option {key!r}{hint}"
            )


def _who_has(key: str, value: str, lacking: Any, taking_part: Sequence[Any], registry: Registry) -> str:
    """Say who has an option, or one like it; else what options there are."""
    options: dict[str, tuple[str, ...]] = {}
    for item in taking_part:  # a variant and a backbone may share a name
        options[item.name] = (*options.get(item.name, ()), *known_of(item))
    if having := [name for name, known in options.items() if key in known]:
        write = " ".join(f"--set {name}.{key}={value}" for name in having[:3]) + " and so on" * (len(having) > 3)
        return f": {_listed(having)} {'has' if len(having) == 1 else 'have'} it, write {write}"
    close = {name: found for name, known in options.items() if (found := nearest(key, known))}
    near = close.get(lacking.name) or next((f"{name}.{found}" for name, found in close.items()), None)
    hint = f": did you mean {near!r}?" if near else _elsewhere(key, registry)
    told = "; ".join(f"{name} has {', '.join(known)}" for name, known in options.items() if known)
    return f"{hint} ({told or 'nobody in this run has any'})"


def _elsewhere(option: str, registry: Registry) -> str:
    """Say who else has an option, in a run or not."""
    every = [entry.item for kind in OWNERS for owners in registry.entries[kind].values() for entry in owners]
    having = sorted({item.name for item in every if option in known_of(item)})
    return f"; {_listed(having)} {'has' if len(having) == 1 else 'have'} one of that name" if having else ""


def _listed(names: Sequence[str]) -> str:
    """Join names, at most three of them in full."""
    shown = [*names[:3], f"{len(names) - 3} others"] if len(names) > 4 else list(names)
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _class_of(item: Any) -> Any:
    """Return what declares the options of a plugin: its class, or a metric itself."""
    return item if isinstance(item, type) or hasattr(item, "compute") else type(item)


def reject_unused(settings: Mapping[str, str], used: set[str], variants: Sequence[str], registry: Registry) -> None:
    """Raise `UserError` for an option that concerns nobody in this run, with the reason."""
    require_known(settings, registry)
    for key in settings:
        name, dot, _ = key.rpartition(".")
        if dot and key not in used:
            has = ", ".join(variants) or "no variants"
            raise UserError(f"--set {key}: {name!r} takes no part in this run, which has {has}")


def options_of(settings: Settings, config: Any, bench: Bench) -> dict[str, Any]:
    """Return the options that were set, by name; those of another owner than the variant begin with its name."""
    plain = as_plain(config)
    options = {key: plain[key] for key in settings["variant"]}
    owners: tuple[tuple[Kind, Any], ...] = (("backbone", bench.backbone), ("dataset", bench.dataset))
    for kind, item in owners:
        plain = as_plain(item.config)
        options |= {f"{item.name.partition(':')[0]}.{key}": plain[key] for key in settings[kind]}
    return dict(sorted(options.items()))
