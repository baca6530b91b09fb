"""The file of a figure: its size, its fonts, its bytes, and what may stand in names."""

import io
import re
import subprocess
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from PIL import Image

from ganbench.reports.asked import Asked
from ganbench.reports.figure import COLOURS, render
from ganbench.reports.panels import panels_of

FALLING = [9.0, 7.0, 5.0, 4.0, 3.0]
RUNS = {"gan": [FALLING, FALLING[::-1]], "wgan": [FALLING, [9.0]]}


def file(store, form="svg", width=3.25, quantity="fid", **more) -> bytes:
    asked = Asked(quantity, **more)
    return render(panels_of(store, store.records()[0], asked), asked, form, width)


def texts(svg: bytes) -> list[str]:
    """Return what is written in an SVG, which has its texts as remarks before their outlines."""
    return [text.strip() for text in re.findall(r"<!--(.*?)-->", svg.decode(), re.DOTALL)]


@pytest.mark.parametrize("width", [3.25, 6.75])
def test_the_width_is_what_was_asked_for(results, width):
    store = results(RUNS)
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", file(store, "pdf", width))
    assert float(box[1]) == 72 * width and float(box[2]) < 72 * 4
    picture = Image.open(io.BytesIO(file(store, "png", width)))
    assert picture.width == 300 * width and round(picture.info["dpi"][0]) == 300
    assert float(re.search(rb'width="([\d.]+)pt"', file(store, "svg", width))[1]) == 72 * width


def test_fonts_are_embedded_as_truetype(results):
    pdf = file(results(RUNS), "pdf")
    assert b"/CIDFontType2" in pdf and b"/FontFile2" in pdf and b"/Type3" not in pdf


@pytest.mark.parametrize("form", ["pdf", "svg", "png"])
def test_bytes_are_equal_each_time_in_any_process_and_with_any_settings(results, form, tmp_path, monkeypatch):
    store = results(RUNS)
    first = file(store, form)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "savefig.dpi": 50, "text.usetex": True}):
        assert file(store, form) == first
    code = f"""
import sys; from pathlib import Path
from ganbench.reports.asked import Asked; from ganbench.reports.figure import render
from ganbench.reports.panels import panels_of; from ganbench.results.store import ResultStore
store = ResultStore(Path({str(store.root)!r})); asked = Asked("fid")
sys.stdout.buffer.write(render(panels_of(store, store.records()[0], asked), asked, {form!r}, 3.25))
"""
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert again.stdout == first
    assert b"CreationDate" not in first and b"<dc:date>" not in first


def test_settings_of_matplotlib_are_left_alone(results):
    before = dict(matplotlib.rcParams)
    file(results(RUNS))
    assert dict(matplotlib.rcParams) == before


def test_the_file_holds_its_caption(results):
    store = results(RUNS)
    told = "Lines are means; 1 to 2 seeds a row"
    svg = ElementTree.fromstring(file(store))
    assert any(told in (each.text or "") for each in svg.iter("{http://purl.org/dc/elements/1.1/}description"))
    assert told in Image.open(io.BytesIO(file(store, "png"))).info["Description"]
    assert "Lines are means".encode("utf-16-be") in file(store, "pdf").replace(b"\\", b"")


def test_the_legend_stands_best_first_with_failures_and_real_data(results):
    written = texts(file(results(RUNS)))
    assert written[-3:] == ["gan", "wgan (1/2)", "real data"]


def test_of_many_rows_the_legend_names_the_best(results):
    store = results({f"v{k:02}": [[*FALLING[:4], k]] for k in range(20)})
    for more in ({}, {"cost": True}):
        written = texts(file(store, **more))
        assert written[-9:] == [*(f"v{k:02}" for k in range(7)), "13 others", "real data"]


def test_more_rows_than_colours_differ_in_stroke(results):
    svg = file(results({f"v{k:02}": [FALLING] for k in range(9)})).decode()
    lines = set(
        re.findall(r'style="fill: none; (?:stroke-dasharray: ([\d., ]+); )?[^"]*stroke: (#\w+); stroke-width: 1.1', svg)
    )
    assert len({colour for _, colour in lines}) == len(COLOURS) and len(lines) == 9


@pytest.mark.parametrize(
    "name", ["a$x$b", "_x", "$", "\\frac{", "a<b>&c", "a\x1b[31mb", "line\nbreak", "名前", "x" * 300]
)
def test_names_are_written_as_they_are(results, name):
    store = results({name: [FALLING], "gan": [FALLING]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = file(store)
    ElementTree.fromstring(svg)
    assert b"\x1b" not in svg
    if name in ("a$x$b", "_x", "$", "\\frac{"):
        assert name in texts(svg)


def test_panels_are_named_by_what_they_differ_in(results, tmp_path):
    store = results(RUNS)
    results(RUNS, dataset="mnist")
    results(RUNS, dataset="mnist", batch=9)
    written = texts(file(store, width=6.75))
    assert [text for text in written if text.startswith(("digits", "mnist"))] == [
        "digits, batch 64", "mnist, batch 64", "mnist, batch 9"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "numbers",
    [[0.0] * 5, [-1.0] * 5, [5e-324] * 5, [1e-300, 1, 2, 3, 1e99], [1e308] * 4 + [1.0], [3.0, 1e308, -1e308, 1, 2]],
)
@pytest.mark.parametrize("more", [{}, {"runs": True}, {"cost": True, "over": "flops"}, {"over": "seconds"}])
def test_odd_numbers_are_drawn(results, numbers, more):
    assert ElementTree.fromstring(file(results({"gan": [numbers, numbers]}), **more)) is not None


def test_the_committed_records_can_be_drawn():
    from ganbench.results.store import ResultStore

    store = ResultStore(Path(__file__).parents[2] / "results" / "published" / "zoo")
    assert texts(file(store, quantity="fd-classifier"))[-2:] == ["30 others", "real data"]
