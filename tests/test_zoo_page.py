"""The zoo describes itself: every option of what comes along has a meaning, and docs/zoo.md is what plugins say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from ganbench.runs.describe import describe
from ganbench.runs.registry import HOOKS, discover

ROOT = Path(__file__).parents[1]
TRAINED = [
    entry
    for owners in discover().entries["variant"].values()
    for entry in owners
    if entry.origin.distribution == "ganbench" and entry.item.family != "control"
]


@pytest.mark.parametrize("entry", TRAINED, ids=lambda entry: entry.item.name)
def test_every_variant_says_what_it_is_and_where_its_defaults_come_from(entry) -> None:
    said = describe(entry.item)
    assert said.text and entry.item.paper
    for word in ("Objective", "Departures", "Budget", "Published"):
        assert said.sections.get(word), f"{entry.item.name} has no section {word}"
    for option in said.options:
        assert option.meaning, f"{entry.item.name}.{option.name} says nothing"
        assert option.source, f"{entry.item.name}.{option.name} has no source"
    images = entry.item.paper_images
    assert images is None or (isinstance(images, int) and images > 0)


def test_every_option_of_everything_else_says_what_it_means() -> None:
    for kind in HOOKS:
        for owners in discover().entries[kind].values():
            for entry in (entry for entry in owners if entry.origin.distribution == "ganbench"):
                item = entry.item
                for option in describe(item if isinstance(item, type) else type(item)).options:
                    assert option.meaning, f"{kind} {item.name}.{option.name} says nothing"


def test_the_page_of_the_zoo_is_what_the_plugins_say() -> None:
    spec = importlib.util.spec_from_file_location("zoo_page", ROOT / "docs" / "zoo.py")
    assert spec and spec.loader
    zoo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(zoo)
    page = zoo.page()
    assert (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8") == page, "run `python docs/zoo.py`"
    assert all(f"### {entry.item.name}\n" in page for entry in TRAINED)
