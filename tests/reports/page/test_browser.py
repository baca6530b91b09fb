"""The page in a real browser: it opens silently, and everything on it that can be pressed does what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_records import page_of

from ganbench.results.store import ResultStore

SLOWEST_MS = 10_000
"""Far above the second that a page takes on an idle machine."""


class Opened:
    """A page that is open, and all that the browser said or wanted meanwhile."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.tab = browser.new_page(**options)
        self.said: list[str] = []
        self.tab.set_default_timeout(15_000)
        self.tab.on("console", lambda message: self.said.append(message.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.tab.on("request", lambda wanted: self.said.append(wanted.url[:60]))
        self.tab.goto(path.as_uri())
        self.said = [each for each in self.said if not each.startswith(("data:", path.as_uri()[:60]))]

    def names(self) -> list[str]:
        found: list[str] = self.tab.eval_on_selector_all(
            ".page:not([hidden]) .comparison tbody tr:first-child th.name",
            "all => all.map(each => each.innerText.trim())",
        )
        return found

    def drawn(self, place: int = 0) -> Any:
        """Return a figure once it is drawn."""
        figure = self.tab.locator(".page:not([hidden]) .grid figure").nth(place)
        figure.scroll_into_view_if_needed()
        figure.locator(".main-svg").first.wait_for()
        return figure


@pytest.fixture
def opened(browser: Any, store: ResultStore, tmp_path: Path) -> Iterator[Opened]:
    path = tmp_path / "page.html"
    path.write_text(page_of(store), encoding="utf-8")
    page = Opened(browser, path)
    yield page
    page.tab.close()


def test_it_opens_and_draws_without_a_word_or_a_request(opened: Opened) -> None:
    for place in range(opened.tab.locator(".grid figure").count()):
        opened.drawn(place)
    assert [each for each in opened.said if not each.startswith("blob:")] == []


def test_a_heading_sorts_best_first_and_then_worst_first(opened: Opened) -> None:
    heading = opened.tab.locator("th", has_text="kid")
    button = heading.locator("button")
    assert opened.names() == ["lsgan", "gan", "wgan", "real", "real data"][: len(opened.names())]
    button.click()
    assert heading.get_attribute("aria-sort") == "ascending" and opened.names()[:2] == ["gan", "lsgan"]
    button.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending" and opened.names()[:2] == ["lsgan", "gan"]
    assert opened.names()[-2:] == ["real", "real data"]  # controls and real data stay below
    assert opened.tab.locator('th[aria-sort="ascending"]').count() == 0


def test_columns_are_chosen(opened: Opened) -> None:
    head, cell = opened.tab.locator("th", has_text="FLOPs"), opened.tab.locator("tbody tr").first
    assert not head.is_visible()
    opened.tab.locator(".columns summary").click()
    opened.tab.get_by_role("checkbox", name="FLOPs").check()
    assert head.is_visible() and "G" in cell.inner_text()
    opened.tab.get_by_role("button", name="As at first").click()
    assert not head.is_visible()


def test_rows_are_chosen_for_pictures_and_figures(opened: Opened) -> None:
    figure = opened.drawn()
    pictures = opened.tab.locator(".gallery figure:visible")
    before = pictures.count()
    assert "gan" in figure.locator(".plot").get_attribute("aria-label")
    opened.tab.get_by_label("show gan below").uncheck()
    label = figure.locator(".plot").get_attribute("aria-label")
    assert "; lsgan" in f"; {label.partition(': ')[2]}" and "; gan " not in f"; {label.partition(': ')[2]}"
    assert pictures.count() == before - 2
    opened.tab.get_by_role("button", name="None").click()
    assert "None of the rows chosen" in figure.inner_text()


def test_a_figure_takes_another_quantity_axis_and_scale(opened: Opened) -> None:
    figure = opened.drawn()
    figure.get_by_role("combobox", name="quantity").select_option("kid")
    figure.get_by_role("combobox", name="over").select_option("seconds")
    figure.get_by_label("log axis").set_checked(True)
    figure.get_by_label("every run").check()
    text = figure.locator(".plot").text_content()
    assert "seconds of training" in text and "kid↑" in text
    layout = figure.locator(".plot").evaluate("plot => [plot.layout.yaxis.type, plot.data.length]")
    assert layout[0] == "log" and layout[1] > 6
    assert opened.said == []


def test_what_diverged_is_marked(opened: Opened) -> None:
    label = opened.drawn().locator(".plot").get_attribute("aria-label")
    assert "wgan, seed 0, diverged" in label
    losses = opened.tab.locator("figure", has_text="Losses")
    losses.scroll_into_view_if_needed()
    losses.locator(".main-svg").first.wait_for()
    marked = "plot => plot.data.filter(each => each.marker?.symbol === 'x').map(each => each.x[0])"
    crosses = losses.locator(".plot").evaluate(marked)
    assert len(crosses) == 1 and 40 * 64 < crosses[0] < 60 * 64


@pytest.mark.parametrize(("format", "begins"), [("svg", b"<svg"), ("png", b"\x89PNG")])
def test_a_figure_is_saved(opened: Opened, format: str, begins: bytes) -> None:
    figure = opened.drawn()
    with opened.tab.expect_download() as download:
        figure.get_by_role("button", name=f"Save {format.upper()}").click()
    content = Path(download.value.path()).read_bytes()
    assert content.startswith(begins) and len(content) > 5000
    assert download.value.suggested_filename.endswith(f".{format}")


def test_the_switch_changes_the_theme_of_page_and_figures(opened: Opened) -> None:
    figure, paper = opened.drawn(), "getComputedStyle(document.body).backgroundColor"
    ground = "plot => plot.layout.paper_bgcolor"
    before = opened.tab.evaluate(paper), figure.locator(".plot").evaluate(ground)
    switch = opened.tab.get_by_role("button", name="Dark")
    switch.click()
    after = opened.tab.evaluate(paper), figure.locator(".plot").evaluate(ground)
    assert before[0] != after[0] and before[1] != after[1] and switch.get_attribute("aria-pressed") == "true"


def test_a_picture_is_looked_at_closely(opened: Opened) -> None:
    opened.tab.locator(".gallery .look").first.click()
    dialog = opened.tab.locator("dialog.zoom")
    assert dialog.is_visible() and "samples of" in dialog.locator("img").get_attribute("alt")
    opened.tab.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_hostile_words_do_nothing(browser: Any, evil_store: ResultStore, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(page_of(evil_store), encoding="utf-8")
    opened = Opened(browser, path)
    opened.tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    for place in range(opened.tab.locator(".grid figure").count()):
        figure = opened.drawn(place)
        figure.get_by_role("button", name="Save SVG").click()
        assert figure.locator(".main-svg a, .main-svg tspan[style*=bold]").count() == 0
    assert opened.tab.evaluate("typeof hacked") == "undefined"
    assert [each for each in opened.said if not each.startswith("blob:")] == []
    assert opened.tab.locator('a[href^="javascript"], img[src="x"]').count() == 0
    opened.tab.close()


def test_the_zoo_opens_soon_and_fits_a_telephone(browser: Any, zoo: str, tmp_path: Path) -> None:
    path = tmp_path / "zoo.html"
    path.write_text(zoo, encoding="utf-8")
    opened = Opened(browser, path, viewport={"width": 400, "height": 800})
    took = opened.tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert 0 < took < SLOWEST_MS
    assert opened.tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert opened.tab.locator(".pick:checked").count() == 7
    assert opened.said == []
    opened.tab.close()


def test_paper_is_light_and_has_its_notes_open(opened: Opened) -> None:
    opened.tab.emulate_media(color_scheme="dark", media="print")
    opened.tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    figure = opened.tab.locator(".grid .plot").first
    assert figure.evaluate("plot => plot.layout.paper_bgcolor") == "#ffffff"
    assert opened.tab.locator(".under:not([open])").count() == 0
    assert not opened.tab.locator("header.top").is_visible()
    opened.tab.emulate_media(color_scheme="dark", media="screen")
    opened.tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.tab.locator(".under:not([open])").count() == 1
    assert figure.evaluate("plot => plot.layout.paper_bgcolor") != "#ffffff"
