"""The page holds what the tables say, needs nothing from elsewhere, and takes no word of a record for more."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_records import EVIL, page_of, run, traces_of

from ganbench.contract.types import Value
from ganbench.errors import UserError
from ganbench.reports import markdown
from ganbench.reports.page import page as page_module
from ganbench.reports.page.page import asset, render
from ganbench.reports.view import View
from ganbench.results.record import RunRecord
from ganbench.results.store import ResultStore
from ganbench.training.budget import Budget


class Parsed(HTMLParser):
    """All elements with their attributes, the texts of scripts, and the words of the page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self.rows: list[tuple[dict[str, str | None], list[tuple[dict[str, str | None], str]]]] = []
        self._within: str = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        self.elements.append((tag, facts))
        self._within = tag
        if tag == "script":
            self.scripts.append((facts, ""))
        if tag == "tr":
            self.rows.append((facts, []))
        if tag in ("td", "th") and self.rows:
            self.rows[-1][1].append((facts, ""))

    def handle_data(self, data: str) -> None:
        if self._within == "script" and self.scripts:
            facts, text = self.scripts[-1]
            self.scripts[-1] = facts, text + data
            return
        self.words.append(data)
        if self.rows and self.rows[-1][1]:
            facts, text = self.rows[-1][1][-1]
            self.rows[-1][1][-1] = facts, text + data

    def handle_endtag(self, tag: str) -> None:
        self._within = ""
        if tag == "table":
            self.rows.append(({}, []))


def cells_of(text: str) -> dict[str, list[str]]:
    """The cells of the comparison by the name of the row, numbers and letters as words."""
    found = {}
    for facts, cells in Parsed(text).rows:
        if facts.get("class") in ("variant", "control", "published"):
            name, *others = (" ".join(cell.split()) for _, cell in cells)
            found[name] = others
    return found


def markdown_cells(records: list[RunRecord], columns: str = "all", sort: str = "") -> dict[str, list[str]]:
    lines = [
        [" ".join(part.replace("*", "").replace("±", " ± ").split()) for part in line.strip("|").split("|")]
        for line in markdown.render(records, view=View(columns=(columns,), sort=sort)).splitlines()
        if line.startswith("| ") and not line.startswith("| ---")
    ]
    return {name: cells for name, *cells in lines[1:]}


def test_the_cells_are_those_of_the_text_report(store: ResultStore) -> None:
    records, _ = store.records()
    expected = markdown_cells(records)
    assert len(expected) == 5
    del expected["real data"]
    assert cells_of(page_of(store)) == expected


def test_captions_legends_and_notes_are_those_of_the_text_report(store: ResultStore) -> None:
    records, _ = store.records()
    told = " ".join(markdown.render(records, view=View(columns=("all",))).split()).replace("\\", "")
    words = {" ".join(word.split()) for word in Parsed(page_of(store)).words}
    notes = [note.strip() for note in told.partition(" - ")[2].split(" - ")]
    assert len(notes) > 4
    assert [note for note in notes if note not in words] == []


def test_a_column_puts_rows_in_the_order_of_the_option_sort(store: ResultStore) -> None:
    records, _ = store.records()
    parsed = Parsed(page_of(store))
    heads = [facts.get("data-c") for facts, _ in next(cells for _, cells in parsed.rows if len(cells) > 3)]
    for metric in ("fid", "kid", "time"):
        number = heads[1:][[*markdown_columns(records)].index(metric)]
        places = {
            " ".join(cells[0][1].split()): int(facts["data-p"] or 0)
            for row, cells in parsed.rows
            for facts, _ in cells
            if row.get("class") in ("variant", "control") and facts.get("data-c") == number
        }
        expected = [name for name in markdown_cells(records, sort=metric) if name != "real data"]
        assert sorted(places, key=places.__getitem__) == expected


def markdown_columns(records: list[RunRecord]) -> list[str]:
    header = next(line for line in markdown.render(records, view=View(columns=("all",))).splitlines() if "|" in line)
    return [re.sub("[↑↓]", "", part.strip()) for part in header.strip("|").split("|")][1:]


def test_names_choose_columns_and_the_order(store: ResultStore) -> None:
    records, problems = store.records()
    text = render(records, problems, View(columns=("kid",), sort="kid"), store)
    shown = [
        facts for tag, facts in Parsed(text).elements if tag == "th" and "aria-sort" in facts and "hidden" not in facts
    ]
    assert len(shown) == 3  # the name, the count of runs, kid
    with pytest.raises(UserError, match="no such column"):
        render(records, problems, View(columns=("kidd",)), store)
    with pytest.raises(UserError, match="every run under its row"):
        render(records, problems, View(runs=True), store)


def attributes(text: str) -> Iterator[tuple[str, str, str]]:
    for tag, facts in Parsed(text).elements:
        for name, content in facts.items():
            yield tag, name, content or ""


def test_nothing_is_loaded_from_elsewhere(store: ResultStore) -> None:
    text = page_of(store)
    for tag, name, content in attributes(text):
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "action", "data", "srcset", "poster", "formaction"):
            assert content.startswith(("#", "data:image/webp;base64,")), (tag, name, content[:80])
        assert name != "style"
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in Parsed(text).elements}
    assert not re.search(r"url\(|@import", asset("page.css"))
    unsafe = r"\bfetch\(|XMLHttpRequest|innerHTML|insertAdjacentHTML|\beval\(|document\.write"
    assert not re.search(unsafe, asset("page.js"))


def test_the_policy_names_each_script_by_its_hash(store: ResultStore) -> None:
    parsed = Parsed(page_of(store))
    (policy,) = (facts["content"] or "" for tag, facts in parsed.elements if facts.get("http-equiv"))
    running = [text for facts, text in parsed.scripts if facts.get("type") != "application/json"]
    hashes = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in running}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == hashes and len(hashes) == 2
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and "unsafe" not in rules["script-src"]


def test_the_library_of_charts_is_the_one_that_was_looked_at() -> None:
    folder = Path(page_module.__file__).parent / "assets"
    said = dict(re.findall(r"(\S+): (\S+)", (folder / "plotly-SOURCE.txt").read_text()))
    content = (folder / "plotly-basic.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == said["sha256"]
    assert f"v{said['version']}".encode() in content[:200]
    assert "MIT License" in (folder / "plotly-LICENSE.txt").read_text()
    assert not re.search(rb"new Function|[^\w.]eval\(|</script", content)


def test_words_of_records_stay_words(evil_store: ResultStore) -> None:
    text = page_of(evil_store)
    parsed = Parsed(text)
    assert len(parsed.scripts) == 3
    assert not [tag for tag, facts in parsed.elements if tag == "img" and facts.get("src") == "x"]
    for tag, name, content in attributes(text):
        assert not name.startswith("on") and not content.strip().lower().startswith("javascript:"), (tag, name)
    words = " ".join(parsed.words)
    shown = EVIL.replace("\u202e", "\\u202e")
    assert words.count(shown) > 10 and "{{7*7}}" in words and "\u202e" not in text
    data = next(content for facts, content in parsed.scripts if facts.get("type") == "application/json")
    assert not re.search(r"[<>&]", data)
    assert EVIL in json.loads(data)["t1"]["rows"][0]["name"]


def test_a_picture_that_is_none_is_told_of_and_not_shown(evil_store: ResultStore) -> None:
    words = " ".join(Parsed(page_of(evil_store)).words)
    assert words.count("060.png in seed") == 2 and "is not shown" in words


def test_the_page_of_the_whole_zoo_is_small_and_tells_that_it_has_no_pictures(zoo: str) -> None:
    assert len(zoo.encode()) < 5_000_000
    assert "No pictures of these runs are kept" in zoo
    data = json.loads(next(content for facts, content in Parsed(zoo).scripts if facts.get("type")))["t1"]
    assert len(data["rows"]) == 39 and {"grad_norm/G", "loss/D", "fd-classifier", "log/k"} <= data["curves"].keys()


def test_a_page_of_records_alone_has_no_curves(store: ResultStore) -> None:
    records, problems = store.records()
    text = render(records, problems)
    assert '<section class="figures"' not in text and ">gan<" in text


def test_several_comparisons_have_an_overview_of_ranks(record: Callable[..., RunRecord], tmp_path: Path) -> None:
    kept = ResultStore(tmp_path)
    for dataset in ("digits", "mnist"):
        for variant, level in (("gan", 9.0), ("lsgan", 4.0), ("wgan", 6.0)):
            for seed in range(3):
                spec = {"budget": Budget(6400, "images"), "dataset": dataset}
                kept.add(run(record, variant, seed, level, spec=spec), traces_of(100, seed))
    text = page_of(kept)
    assert "Mean ranks over 2 tables" in text
    assert len(json.loads(next(content for facts, content in Parsed(text).scripts if facts.get("type")))) == 2


def test_what_cannot_be_shown_is_left_out_with_its_reason(store: ResultStore, record: Callable[..., Any]) -> None:
    records, problems = store.records()
    odd = record("odd", 0, {"fid": Value("many", {})}, spec={"budget": Budget(6400, "images")})  # type: ignore[arg-type]
    text = render([*records, odd], [*problems, "x.json is damaged"], store=store)
    assert "odd on digits, seed 0: its record cannot be shown" in text and "x.json is damaged" in text


def test_traces_that_are_damaged_take_only_their_curves_away(store: ResultStore) -> None:
    records, _ = store.records()
    store.traces_path(records[0].spec).write_bytes(b"no archive")
    text = page_of(store)
    assert "its curves are left out" in text and "lsgan" in text


def test_results_below_the_folder_that_is_named_keep_what_lies_beside_them(store: ResultStore, tmp_path: Path) -> None:
    for root in (tmp_path, store.root / "digits"):
        text = page_of(ResultStore(root))
        data = json.loads(next(content for facts, content in Parsed(text).scripts if facts.get("type")))["t1"]
        assert "grad_norm/G" in data["curves"] and "data:image/webp" in text


def test_logs_of_a_working_folder_are_shown_by_their_ends(store: ResultStore) -> None:
    records, _ = store.records()
    lines = [f"line {number:05}" for number in range(3000)]
    (store.work(records[0].spec) / "error.txt").write_text("\n".join(lines))
    text = page_of(store)
    assert lines[-1] in text and lines[0] not in text and "error.txt (its end)" in text


def test_the_numbers_of_a_figure_are_exact_to_their_digits() -> None:
    from ganbench.reports.page.figures import shortened

    rng = np.random.default_rng(0)
    numbers = [*(rng.normal(size=500) * 10.0 ** rng.integers(-12, 15, 500)), 0.0, 1e300, 5e-324]
    for number, found in zip(numbers, shortened(numbers), strict=True):
        assert found == pytest.approx(float(f"{number:.4g}"), rel=1e-3 if number else 0)
        assert found is not None and len(repr(float(found)).replace("-", "").split("e")[0].strip("0.")) <= 18
    assert shortened([float("nan"), float("inf"), None, 1.0]) == [None, None, None, 1.0]
    assert shortened([0.123456, 123.456]) == [0.1235, 123.5]
