"""What experiments found, as the page shows it: claims with verdicts, tables, pictures. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganbench.contract.experiments import Claim
from ganbench.reports.experiment import VERDICTS, by_reason, protocol_of
from ganbench.reports.page.pictures import Picture, Room
from ganbench.results.findings import FOLDER, Found

SIDE = 1000
"""The longest side of a picture of an experiment, in pixels: its letters are to be read."""
LOOKS = {True: "good", False: "bad", None: "quiet"}
"""The class of a verdict, beside its word."""


@dataclass(frozen=True)
class Study:
    """A finding. `pictures`: with captions. `csv`: where all numbers lie, from the folder of results."""

    id: str
    found: Found
    pictures: Sequence[tuple[Picture, str]]
    csv: str
    claims: Sequence[tuple[str, str, Claim]]
    left_out: Sequence[tuple[str, str]]
    protocol: Mapping[str, Any]

    @property
    def verdicts(self) -> str:
        """How many claims came to what."""
        counts = Counter(word for word, _, _ in self.claims)
        return ", ".join(f"{counts[word]} {word}" for word in VERDICTS.values() if counts[word])


def studies_of(found: Mapping[Path, Found], room: Room) -> list[Study]:
    """Return what is shown of findings by their folders; of pictures, those that the page has room for."""
    return [_study(f"x{number}", folder, each, room) for number, (folder, each) in enumerate(found.items(), 1)]


def _study(id: str, folder: Path, found: Found, room: Room) -> Study:
    names = [name for name in found.pictures if name == Path(name).name and name.endswith(".png")]
    pictures = [(room.take(folder / name, SIDE), found.pictures[name]) for name in names]
    return Study(
        id,
        found,
        [(picture, caption) for picture, caption in pictures if picture],
        f"{FOLDER}/{folder.name}/{found.name}.csv",
        [(VERDICTS[claim.holds], LOOKS[claim.holds], claim) for claim in found.claims],
        [(", ".join(names), reason) for reason, names in by_reason(found.left_out).items()],
        protocol_of(found),
    )
