"""Experiments on the page: all that a finding says, with or without runs beside it, and never more than text."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from page_records import EVIL
from PIL import Image

from ganbench.contract.experiments import Claim, Table
from ganbench.errors import UserError
from ganbench.reports.page import pictures
from ganbench.reports.page.page import render
from ganbench.results.findings import FILE, FOLDER, Found, folder_of, keep
from ganbench.results.store import ResultStore

FOUND = Found(
    name="collapse",
    id="0123456789abcdef",
    summary="how many modes are found",
    paper="Somebody et al. 2018",
    tables=[Table("Modes", ["variant", "modes"], [["zgan", "8"], ["agan", "7 ± 1"]], "Of eight.")],
    claims=[
        Claim("All modes are found.", "8 of 8.", True),
        Claim("None is lost.", "7.4 of 8.", False, "0.6 fewer: seed 3 lost five."),
        Claim("It is fast.", "One seed.", None),
    ],
    pictures={"modes.png": "Modes over steps"},
    protocol={"runs": {"dataset": "ring", "done": 6}, "threshold": 0.05},
    left_out={"ali": "it has no G", "bigan": "it has no G"},
    notes=["A mode counts from 20 samples on."],
    options={"modes": 8},
    provenance={"machine": {"device": "a cpu"}, "code": "feed"},
    command="ganbench experiment collapse --seeds 3",
    made="2026-01-02T03:04:05+00:00",
    numbers=3,
)


def png(width: int = 400, height: int = 300) -> bytes:
    file = BytesIO()
    Image.effect_noise((width, height), 80).convert("RGB").save(file, "PNG")
    return file.getvalue()


def kept(root: Path, found: Found = FOUND, **files: bytes) -> Path:
    folder = folder_of(root, found.name, found.id, default=True)
    keep(folder, found, {"modes.png": png(), **files}, [{"modes": 8}], "text")
    return folder


def page_of(root: Path, *, runs: bool = False) -> str:
    store = ResultStore(root)
    return render(*(store.records() if runs else ([], [])), store=store)


def words_of(page: str) -> str:
    """The text of the part that shows experiments, in one line."""
    part = page.partition('<section class="page" id="experiments"')[2].partition("\n</section>")[0]
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", part)).split())


def test_all_that_was_found_stands_on_the_page(tmp_path: Path) -> None:
    kept(tmp_path)
    page = page_of(tmp_path)
    words = words_of(page)
    for each in (
        "collapse: how many modes are found",
        "Somebody et al. 2018",
        "1 as said, 1 otherwise, 1 not decided",
        "as said All modes are found. Found: 8 of 8.",
        "otherwise None is lost. Found: 7.4 of 8. 0.6 fewer: seed 3 lost five.",
        "not decided It is fast. Found: One seed.",
        "variant modes zgan 8 agan 7 ± 1",
        "Of eight.",
        "No part: ali, bigan: it has no G",
        "A mode counts from 20 samples on.",
        "Every number: experiments/collapse/collapse.csv",
        "ganbench experiment collapse --seeds 3",
        "Made 2026-01-02T03:04:05+00:00",
        "runs.dataset ring",
        "options.modes 8",
        'device "a cpu"',
    ):
        assert each in words, each
    verdicts = re.findall(r'<strong class="(\w+)">([a-z ]+)</strong>', page)
    assert verdicts == [("good", "as said"), ("bad", "otherwise"), ("quiet", "not decided")]
    assert "<title>ganbench report: experiments</title>" in page and "<nav" not in page


def test_a_picture_is_part_of_the_page_with_its_caption_for_those_who_do_not_see_it(tmp_path: Path) -> None:
    kept(tmp_path)
    (image,) = re.findall(r"<img src=[^>]*>", words_of_html(page_of(tmp_path)))
    assert 'src="data:image/webp;base64,' in image and 'alt="Modes over steps"' in image
    assert 'width="400" height="300"' in image


def words_of_html(page: str) -> str:
    return page.partition('id="experiments"')[2].partition("\n</section>")[0]


def test_beside_runs_experiments_have_a_tab_of_their_own(store: ResultStore) -> None:
    without = page_of(store.root, runs=True)
    assert "experiments" not in re.findall(r'<section class="page[^"]*" id="([^"]*)"', without)
    kept(store.root)
    page = page_of(store.root, runs=True)
    assert re.findall(r'<section class="page[^"]*" id="([^"]*)"', page) == ["t1", "experiments"]
    assert re.findall(r'<li><a href="#([^"]*)">', page) == ["t1", "experiments"]
    assert without.partition("Content-Security")[2][:300] == page.partition("Content-Security")[2][:300]


def test_runs_made_for_experiments_are_no_runs_of_the_folder(store: ResultStore) -> None:
    kept(store.root)
    assert page_of(store.root, runs=True).count('<article class="run">') == 6


def test_a_damaged_finding_is_a_line_among_what_the_page_does_not_show(tmp_path: Path) -> None:
    kept(tmp_path)
    bad = tmp_path / FOLDER / "vanishing" / FILE
    bad.parent.mkdir()
    bad.write_text('{"name": "vanishing", "tables": <script>hacked=1</script>')
    page = page_of(tmp_path)
    (problem,) = re.findall(r"<li>([^<]*vanishing[^<]*)</li>", page.partition("What this page does not show")[2])
    assert "is no finding of an experiment" in problem
    assert "collapse: how many modes" in words_of(page)


def test_a_folder_of_nothing_has_no_page_and_one_of_a_damaged_finding_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no results"):
        page_of(tmp_path)
    (tmp_path / FOLDER / "x").mkdir(parents=True)
    (tmp_path / FOLDER / "x" / FILE).write_text("{")
    with pytest.raises(UserError, match="is no finding"):
        page_of(tmp_path)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/x.png", "secret.svg", "modes.png/../../secret.png"])
def test_a_picture_from_elsewhere_is_never_taken(tmp_path: Path, name: str) -> None:
    folder = kept(tmp_path, replace(FOUND, pictures={name: "A secret"}), **{})
    (folder.parent / "secret.png").write_bytes(png())
    (folder / "secret.svg").write_bytes(png())
    assert "<img" not in words_of_html(page_of(tmp_path))


def test_a_picture_that_is_lost_or_none_is_told_of(tmp_path: Path) -> None:
    folder = kept(tmp_path, replace(FOUND, pictures={"modes.png": "m", "gone.png": "g", "odd.png": "o"}))
    (folder / "odd.png").write_text("<svg onload='hacked=1'>")
    told = page_of(tmp_path).partition("What this page does not show")[2]
    assert "gone.png in collapse is not shown" in told and "odd.png in collapse is not shown" in told


def test_pictures_of_experiments_keep_to_the_room_of_the_page(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictured = [f"p{number}.png" for number in range(4)]
    kept(store.root, replace(FOUND, pictures=dict.fromkeys(pictured, "p")), **dict.fromkeys(pictured, png(900, 900)))
    largest = max(map(len, re.findall(r'src="data:image/webp;base64,([^"]*)"', page_of(store.root))))
    monkeypatch.setattr(pictures.Room, "__init__", _small(largest * 5 // 2, pictures.Room.__init__))
    page = page_of(store.root, runs=True)
    shown = re.findall(r'src="data:image/webp;base64,([^"]*)"', page)
    assert sum(map(len, shown)) <= largest * 5 // 2 and shown
    assert re.search(r"[0-9]+ pictures have no room on this page", page)


def _small(left: int, whole: Any) -> Any:
    def made(self: Any, given: int = left) -> None:
        whole(self, given)

    return made


def worded(value: Any, word: str) -> Any:
    """Put a word in the place of each."""
    if isinstance(value, str):
        return word
    if isinstance(value, dict):
        return {f"{word}{number}": worded(each, word) for number, each in enumerate(value.values())}
    if isinstance(value, Sequence):
        return [worded(each, word) for each in value]
    if isinstance(value, Claim | Table):
        return type(value)(**{name: worded(getattr(value, name), word) for name in value.__dataclass_fields__})
    return value


class Elements(HTMLParser):
    """The elements of a page with the names of their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.all: list[tuple[str, list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, [name for name, _ in attrs]))


def test_no_word_of_a_finding_is_more_than_a_text(tmp_path: Path) -> None:
    elements = []
    for word in ("word", EVIL):
        facts = {name: worded(getattr(FOUND, name), word) for name in FOUND.__dataclass_fields__}
        found = Found(**{**facts, "name": "evil", "id": FOUND.id, "pictures": {"modes.png": word}})
        keep(tmp_path / FOLDER / "evil", found, {"modes.png": png()}, [], "")
        page = page_of(tmp_path)
        assert ("hacked" in page) == (word is EVIL) and ("{{7*7}}" in page) == (word is EVIL)
        elements.append(Elements(page).all)
    assert elements[0] == elements[1]


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_nothing_is_wider_than_the_window_and_verdicts_can_be_read(
    tmp_path: Path, browser: Any, width: int, scheme: str
) -> None:
    wide = Table("Wide", [f"column {k}" for k in range(30)], [["a very long cell"] * 30])
    kept(tmp_path, replace(FOUND, tables=[wide, *FOUND.tables]))
    path = tmp_path / "page.html"
    path.write_text(page_of(tmp_path), encoding="utf-8")
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(path.as_uri())
    assert said == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.wait_for_function("document.querySelector('.study img').naturalWidth > 0")
    ink = tab.eval_on_selector_all(".claims strong", "all => all.map(each => getComputedStyle(each).color)")
    assert len(set(ink)) == 3
    tab.close()
