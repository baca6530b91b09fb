"""The options with which a variant can be tried: its defaults, and each other choice of an option that has a few."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args, get_origin, get_type_hints

from ganbench.contract.variant import Variant
from ganbench.runs.options import resolve

NARROW = {"width": 8, "blocks": 2}
"""What networks of their own are built with, so that trying them is quick."""


def forms(cls: type[Variant]) -> Iterator[dict[str, str]]:
    """Yield settings: first those of the defaults, on narrow networks, then one for each other choice."""
    config = resolve(cls, cls.name, {})
    narrow = {name: str(number) for name, number in NARROW.items() if hasattr(config, name)}
    yield narrow
    kinds = get_type_hints(type(config)) if config is not None else {}
    for name, kind in kinds.items():
        choices = (True, False) if kind is bool else get_args(kind) if get_origin(kind) is Literal else ()
        for choice in choices:
            if choice != getattr(config, name):
                yield {**narrow, name: str(choice)}
