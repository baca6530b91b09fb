"""The picture of the code in the docs is that of the code."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = re.findall(r"^\| `(\w+)/?` \| (.+) \| (.+) \| ([\d,]+) \|$", (ROOT / "docs/architecture.md").read_text(), re.M)
LEEWAY = 0.1


def test_each_wing_has_a_row():
    wings = {path.parent.name for path in (ROOT / "ganbench").glob("*/__init__.py")}
    assert {name for name, *_ in ROWS} == {*wings, "plugins"}


@pytest.mark.parametrize(("name", "lines"), [(name, int(lines.replace(",", ""))) for name, _, _, lines in ROWS])
def test_the_lines_of_a_wing_are_about_as_many_as_its_row_says(name, lines):
    folder = ROOT / name if name == "plugins" else ROOT / "ganbench" / name
    found = sum(len(path.read_text().splitlines()) for path in folder.rglob("*.py"))
    assert found == pytest.approx(lines, rel=LEEWAY), f"{name} has {found:,} lines: correct docs/architecture.md"
