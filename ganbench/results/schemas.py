"""Records of older schemas: what turns the content of one into that of the next."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ganbench.contract.types import digest
from ganbench.results.record import RunRecord, RunSpec

KINDS = ("variant", "backbone", "dataset")
NUMBERS_BEFORE = 1
"""The `ganbench.NUMBERS` of every harness that wrote schema 1."""


@dataclass(frozen=True)
class Known:
    """What is known of a plugin by the SHA-256 of its file: the hash of what it executes, and its defaults."""

    code: str
    defaults: Mapping[str, Any]


Lookup = Callable[[str, str, str], Known | None]
"""Finds a plugin by kind, name and the SHA-256 of its file."""


def shipped(kind: str, name: str, sha256: str) -> Known | None:
    """Find a plugin that came with ganbench when it wrote schema 1."""
    entry = _table().get(kind, {}).get(name)
    return Known(entry["code"], entry["defaults"]) if entry and entry["sha256"] == sha256 else None


@cache
def _table() -> dict[str, dict[str, dict[str, Any]]]:
    table: dict[str, dict[str, dict[str, Any]]] = json.loads(files(__package__).joinpath("schema1.json").read_text())
    return table


def id_before(spec: RunSpec) -> str | None:
    """Return the id that schema 1 gave a run, None where its plugins are not those that came with ganbench then."""
    content, table = asdict(spec), _table()
    for kind, code in spec.code.items():
        entry = table[kind].get(getattr(spec, kind).partition(":")[0])
        if entry is None or entry["code"] != code:
            return None
        content["code"][kind] = entry["sha256"]
    del content["numbers"]
    if not spec.preset:
        del content["preset"]
    if not spec.compiled:
        del content["compiled"]
    return digest(content)[:16]


def _from_1(content: Mapping[str, Any], lookup: Lookup) -> Mapping[str, Any]:
    """Schema 2: `numbers` is new, and `code`, `options` and the variant's `defaults` are what `complete` makes them."""
    spec = {**content["spec"], "numbers": NUMBERS_BEFORE}
    facts = {**content.get("variant", {}), "defaults": {}}
    return complete({**content, "schema": 2, "spec": spec, "variant": facts}, lookup)


_OF_SAMPLING = ("weights", "batch_norm", "labels", "latents")
"""What protocols of schema 2 said of how a variant makes its samples."""


def _from_2(content: Mapping[str, Any], lookup: Lookup) -> Mapping[str, Any]:
    """Schema 3: how samples are made leaves the protocols for `sampling`, and values tell what weights they are of.

    What the metric `ms-ssim` gave of one class at a time is `ms-ssim-class`.
    """
    sampling: dict[str, dict[str, Any]] = {}
    values: dict[str, list[Any]] = {}
    for name, of in content["values"].items():
        for value in of:
            values.setdefault(_name_now(name, value), []).append(_value_now(value, sampling))
    curve = [
        {**mark, "values": {_name_now(name, v): _value_now(v, sampling) for name, v in mark["values"].items()}}
        for mark in content["curve"]
    ]
    found = {**content, "schema": 3, "values": values, "curve": curve, "sampling": sampling}
    return complete(found, lookup) if is_dated(found) else found


def _name_now(name: str, value: Mapping[str, Any]) -> str:
    within = "within each of" in str(_mapping(value.get("protocol")).get("pairs"))
    return "ms-ssim-class" if name == "ms-ssim" and within else name


def _value_now(value: Mapping[str, Any], sampling: dict[str, dict[str, Any]]) -> Mapping[str, Any]:
    protocol = _mapping(value.get("protocol"))
    if "weights" not in protocol:
        return value
    weights = "raw" if protocol["weights"] == "raw" else "ema"
    sampling.setdefault(weights, {key: protocol[key] for key in _OF_SAMPLING if key in protocol})
    kept = {key: fact for key, fact in protocol.items() if key not in _OF_SAMPLING}
    return {**value, "protocol": kept, "weights": weights}


UPGRADES: dict[int, Callable[[Mapping[str, Any], Lookup], Mapping[str, Any]]] = {1: _from_1, 2: _from_2}
"""By schema: what makes the content of a record of that schema one of the next.

Raises any of `KeyError`, `TypeError`, `AttributeError` and `ValueError` where the content is not as that schema wants.
"""


def is_dated(content: Mapping[str, Any]) -> bool:
    """Whether the content of a record is of an older schema, or of plugins that were not known when it was upgraded."""
    return content["schema"] in UPGRADES or not set(KINDS) <= _defaults(content).keys()


def complete(content: Mapping[str, Any], lookup: Lookup) -> Mapping[str, Any]:
    """Let `code` hash what is executed, and `options` be those that differ from their defaults, which are kept.

    Where a plugin is not known, its code stays the hash of its file, and what was set stays an option.
    """
    spec, defaults, plugins = dict(content["spec"]), dict(_defaults(content)), _plugins(content)
    code, options, config = ({**spec.get(key, {})} for key in ("code", "options", "config"))
    for kind in KINDS:
        name = spec[kind].partition(":")[0]
        origin = _mapping(plugins.get(f"{kind}:{name}"))
        known = None if kind in defaults else lookup(kind, name, code.get(kind) or str(origin.get("sha256")))
        if known is None:
            continue
        if kind != "dataset" or origin.get("distribution") != "ganbench":
            code[kind] = known.code
        defaults[kind], own = known.defaults, _mapping(config.get(kind))
        for option in known.defaults.keys() & own.keys():
            if own[option] == known.defaults[option]:
                own = {**own, option: known.defaults[option]}  # 10.0 is the default 10
                options.pop(option if kind == "variant" else f"{name}.{option}", None)
        config |= {kind: own} if own else {}
    if defaults.keys() == _defaults(content).keys():
        return content
    spec |= {"code": code, "options": options, "config": config}
    return {**content, "spec": spec, "variant": {**content.get("variant", {}), "defaults": defaults}}


def unknown_plugins(record: RunRecord) -> list[str]:
    """Return the plugins that nothing was known of when a record was upgraded: no command takes it for its runs."""
    spec, provenance = record.spec, record.provenance
    names = {"variant": spec.variant, "backbone": spec.backbone, "dataset": spec.dataset.partition(":")[0]}
    origin = _mapping(_mapping(provenance.get("plugins")).get(f"dataset:{names['dataset']}"))
    if origin.get("distribution") == "ganbench":
        del names["dataset"]  # what it executes is told by `numbers`
    known = _mapping(record.variant.get("defaults"))
    return [f"{kind} {name}" for kind, name in names.items() if kind not in known]


def _defaults(content: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(_mapping(content.get("variant")).get("defaults"))


def _plugins(content: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(_mapping(content.get("provenance")).get("plugins"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
