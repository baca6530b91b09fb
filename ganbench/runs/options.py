"""Options: `--set NAME.field=value` over the frozen dataclass that a plugin declares as `config`."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from ganbench.errors import UserError, quoted, suggestion

TEXTUAL = ("string_type", "path_type", "literal_error")
"""Faults of values that were taken for numbers, lists or nothing, although the option is a text."""
LONE = "tuple_type"
"""The fault of one value where several are possible."""


def config_class(owner: Any) -> type | None:
    """Return the dataclass that a variant, data set or backbone declares in `config: Config`, or None.

    Of a metric, which is an object, that of the options it holds. No other annotation is looked at: a plugin may name
    types there that exist for a type checker only.
    """
    if not isinstance(owner, type):
        return type(owner.config) if dataclasses.is_dataclass(owner.config) else None
    for cls in owner.__mro__:
        declared = inspect.get_annotations(cls).get("config")
        if declared is None:
            continue
        if isinstance(declared, str):
            try:
                declared = eval(declared, vars(sys.modules[cls.__module__]), dict(vars(cls)))
            except Exception as error:
                raise UserError(
                    f"{cls.__name__} declares `config: {declared}`, which cannot be read: {error}"
                ) from None
        return declared if isinstance(declared, type) and dataclasses.is_dataclass(declared) else None
    return None


def fields_of(owner: Any) -> tuple[str, ...]:
    """Return the names of the options of a plugin."""
    declared = config_class(owner)
    return tuple(field.name for field in dataclasses.fields(declared)) if declared else ()


def resolve(owner: Any, name: str, settings: Mapping[str, str]) -> Any:
    """Return the plugin's config with `settings` applied, or None if it has none.

    An option set to its default is the default, however it is written. Raises `UserError` that names the option, what
    was found and what would be right.
    """
    config = _validated(owner, name, settings)
    changed = differing(owner, name, settings, config)
    return config if len(changed) == len(settings) else _validated(owner, name, changed)


def differing(owner: Any, name: str, settings: Mapping[str, str], config: Any = None) -> dict[str, str]:
    """Return the settings that change an option of a plugin from its default. Raises as `resolve`."""
    config = _validated(owner, name, settings) if config is None else config
    defaults = {field.name: field for field in dataclasses.fields(config)} if config is not None else {}
    return {key: text for key, text in settings.items() if getattr(config, key) != _default_of(defaults[key])}


def _default_of(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if callable(field.default_factory) else field.default


def _validated(owner: Any, name: str, settings: Mapping[str, str]) -> Any:
    declared, known = config_class(owner), fields_of(owner)
    for key in settings:
        if key not in known:
            raise UserError(without(name, key, known))
    if declared is None:
        return None
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter[Any](declared)
    values = {key: _parse(text) for key, text in settings.items()}
    try:
        try:
            config = adapter.validate_python(values)
        except ValidationError as error:  # perhaps a text that looks like a number or a list, or a list of one
            faults = {str(fault["loc"][0]): fault["type"] for fault in error.errors() if fault["loc"]}
            values |= {key: settings[key] for key, fault in faults.items() if fault in TEXTUAL}
            lone = {key: [values[key]] for key, fault in faults.items() if fault == LONE}
            try:
                config = adapter.validate_python({**values, **lone})
            except ValidationError as other:
                if "missing" not in {fault["type"] for fault in other.errors()}:
                    raise
                config = adapter.validate_python(values)  # where two are needed, one is no list
    except ValidationError as error:
        raise UserError(_explain(error.errors()[0], name, settings)) from None
    for key, text in settings.items():
        try:
            json.dumps(getattr(config, key), allow_nan=False, default=str)
        except ValueError:
            raise UserError(f"{name}.{key}: must be finite, but {quoted(text)} was given") from None
    return config


def without(name: str, key: str, known: Iterable[str]) -> str:
    """Say that a plugin has no such option, with the one that may be meant and those that it has."""
    return f"{name} has no option {key!r}{suggestion(key, known)} (it has {', '.join(known) or 'none'})"


def _explain(fault: Mapping[str, Any], name: str, settings: Mapping[str, str]) -> str:
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message[:1].lower() + message[1:]
    if not fault["loc"]:  # a rule over several options
        return f"{name}: {message}"
    key = str(fault["loc"][0])
    given = f", but {quoted(settings[key])} was given" if key in settings else ""
    if key in settings and re.search(r",\s*[\w.-]+\s*=", settings[key]):
        given += "; give each option a --set of its own"
    return f"{name}.{'.'.join(map(str, fault['loc']))}: {message}{given}"


def _parse(text: str) -> Any:
    if text.lower() == "none":
        return None
    for candidate in (text, f"[{text.strip('(), ')}]") if "," in text else (text,):
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        return text if isinstance(value, bool) else value  # of a text, pydantic makes a truth value but no number
    return text


def as_plain(config: Any) -> dict[str, Any]:
    """Return a config as a dictionary of plain values."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str)) if config is not None else {}
