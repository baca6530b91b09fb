"""Which of the options that a user set concern whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ganbench.errors import UserError, suggestion
from ganbench.runs.options import as_plain, differing, fields_of, resolve
from ganbench.runs.registry import Kind, Registry

if TYPE_CHECKING:  # they import torch, and a wrong option is told before that
    from ganbench.training.bench import Bench

Settings = Mapping[Kind, Mapping[str, str]]
"""Options as they were written, by the kind of the plugin that has them."""


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """Part `KEY=VALUE` texts. Raises `UserError` for one that is no such text."""
    parsed: dict[str, str] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise UserError(f"--set {text!r} is not an option and a value: write lr=2e-4 or wgan.clip=0.1")
        if parsed.get(key.strip(), value.strip()) != value.strip():
            raise UserError(
                f"--set {key.strip()} is given twice, as {parsed[key.strip()]} and {value.strip()}: keep one"
            )
        parsed[key.strip()] = value.strip()
    return parsed


def settings_for(item: Any, settings: Mapping[str, str], used: set[str], *, shared: bool = False) -> dict[str, str]:
    """Return the options of one plugin that are set to something else than their defaults, and note them as used.

    An option named for its owner beats one that is meant for all variants.
    """
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
    return differing(owner, item.name, mine)


def reject_unused(settings: Mapping[str, str], used: set[str], variants: Sequence[str], registry: Registry) -> None:
    """Raise `UserError` for an option that concerns nobody in this run, with the reason."""
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


def options_of(settings: Settings, config: Any, bench: Bench) -> dict[str, Any]:
    """Return the options that were set, by name; those of another owner than the variant begin with its name."""
    plain = as_plain(config)
    options = {key: plain[key] for key in settings["variant"]}
    owners: tuple[tuple[Kind, Any], ...] = (("backbone", bench.backbone), ("dataset", bench.dataset))
    for kind, item in owners:
        plain = as_plain(item.config)
        options |= {f"{item.name.partition(':')[0]}.{key}": plain[key] for key in settings[kind]}
    return dict(sorted(options.items()))
