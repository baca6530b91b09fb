"""Writes docs/zoo.md from what the plugins say of themselves: `python docs/zoo.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import fill

from ganbench.contract.variant import Control, Variant
from ganbench.runs.describe import describe
from ganbench.runs.registry import discover

PAGE = Path(__file__).with_name("zoo.md")
FAMILIES = {
    "loss": "Losses",
    "wasserstein": "Wasserstein distance",
    "mmd": "Moments in a feature space",
    "regulariser": "Regularisers",
    "energy": "Energies",
    "autoencoder": "Autoencoders",
    "conditional": "Conditional",
    "collapse": "Against mode collapse",
    "translate": "Image to image",
}
LEAD = """# The zoo

Each variant as it stands here: its paper, its objective in one formula, its options with their defaults and where
these come from, what differs from the paper or its authors' program, the budget of the paper, and what it published,
with the protocol. `D(·)` is always the raw output, σ the sigmoid, sp(t) = log(1 + eᵗ), x real, z the latents.

Files of programs are named where they were read. The papers themselves could not be fetched where this was written:
their sections, equations and tables are cited at second hand, as programs, transcriptions and later papers quote them,
and what rests on memory alone says so. "Ours" is a choice of ganbench, with its reason.

This page is made by `python docs/zoo.py` from the docstrings of the plugins; `ganbench list NAME` prints the same of
one variant, also of one that comes from elsewhere.
"""


def page() -> str:
    """Return the page for the variants that come with ganbench."""
    registry = discover()
    classes = [
        entry.item
        for owners in registry.entries["variant"].values()
        for entry in owners
        if entry.origin.distribution == "ganbench" and not issubclass(entry.item, Control)
    ]
    ranks = {family: rank for rank, family in enumerate(FAMILIES)}
    classes.sort(key=lambda cls: (ranks.get(cls.family, len(ranks)), cls.family, cls.name))
    parts, family = [LEAD], ""
    for cls in classes:
        if cls.family != family:
            family = cls.family
            parts.append(f"## {FAMILIES.get(family, family.capitalize())}\n")
        parts.append("\n".join(_entry(cls)))
    return "\n".join(parts)


def _entry(cls: type[Variant]) -> Iterator[str]:
    said = describe(cls)
    yield f"### {cls.name}\n"
    yield (
        f"{_sentence(cls.summary)} {_sentence(cls.paper)}" + (" Brings its own networks." * cls.own_architecture) + "\n"
    )
    yield f"{said.text}\n"
    if objective := said.sections.get("Objective"):
        yield "```text\n" + fill(objective, 110, break_long_words=False, break_on_hyphens=False) + "\n```\n"
    if said.options:
        yield "| option | default | meaning | source |"
        yield "|---|---|---|---|"
        for option in said.options:
            meaning, source = (text.replace("|", "\\|") or "–" for text in (option.meaning, option.source))
            yield f"| `{option.name}` | `{option.default}` | {meaning} | {source} |"
        yield ""
    for word in ("Equals", "Departures", "Budget", "Published"):
        if text := said.sections.get(word):
            yield f"**{word}**: {'; '.join(line.rstrip('.;') for line in text.splitlines())}.\n"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
