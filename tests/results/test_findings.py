"""Findings on disk: whole or not there, read back as they were, and no part of the results above them."""

from __future__ import annotations

import csv
import json
import math
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest

from ganbench import Claim, Table, UserError
from ganbench.errors import DiskError
from ganbench.reports.experiment import by_reason, render
from ganbench.results import findings as module
from ganbench.results.findings import (
    FILE,
    Found,
    findings,
    folder_of,
    keep,
    mark_apart,
    read,
    require_writable,
    table_of,
    verify,
)
from ganbench.results.store import ResultStore

FOUND = Found(
    name="mine",
    id="0123456789abcdef",
    summary="a summary",
    paper="nobody 2026",
    tables=[Table("T", ["a|b", "c"], [["x|y", "1"]], "a note")],
    claims=[Claim("said", "found", True), Claim("s", "f", False, "because"), Claim("s", "f", None)],
    pictures={"line.png": "a caption"},
    protocol={"rate": math.inf, "none": math.nan, "sizes": [1, 2]},
    left_out={"gan": "no D", "wgan": "no D", "vae": "no G"},
    notes=["a note"],
    options={"at": 2},
    asked={"seeds": [0]},
    provenance={"machine": {"device": "cpu"}},
    command="ganbench experiment mine",
    made="2026-11-26T00:00:00+00:00",
    numbers=3,
)
ROWS: list[dict[str, Any]] = [{"a": 1 / 3, "b": "x"}, {"a": math.nan, "c": True}, {"a": -math.inf, "b": 'q"\n,'}]


def kept(results: Path, found: Found = FOUND, rows: list[dict[str, Any]] = ROWS, **pictures: bytes) -> Path:
    mark_apart(results)
    folder = folder_of(results, found.name, found.id, default=True)
    keep(folder, found, {f"{name}.png": content for name, content in (pictures or {"line": b"png"}).items()}, rows, "t")
    return folder


def test_a_finding_is_read_back_as_it_was(tmp_path):
    folder = kept(tmp_path)
    found = read(folder / FILE)
    assert replace(found, protocol={}) == replace(FOUND, protocol={})
    assert found.protocol == {"rate": "inf", "none": "nan", "sizes": [1, 2]}
    assert json.loads((folder / FILE).read_text(), parse_constant=pytest.fail)["name"] == "mine"  # no NaN, Infinity
    assert (folder / "line.png").read_bytes() == b"png" and (folder / "mine.md").read_text() == "t"
    assert findings(tmp_path) == ({folder: found}, [])


def test_every_number_of_the_csv_is_read_back_and_nothing_is_masked(tmp_path):
    with (kept(tmp_path) / "mine.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["a"] for row in rows] == ["0.3333333333333333", "nan", "-inf"]
    assert float(rows[0]["a"]) == 1 / 3
    assert [(row["b"], row["c"]) for row in rows] == [("x", ""), ("", "True"), ('q"\n,', "")]
    frame = pandas.read_csv(tmp_path / "experiments" / "mine" / "mine.csv")
    assert frame["a"][0] == 1 / 3 and math.isnan(frame["a"][1]) and frame["a"][2] == -math.inf


def test_columns_stand_in_the_order_in_which_they_first_come():
    assert table_of([{"b": 1}, {"a": 2, "b": 3}, {"c": None}]) == "b,a,c\n1,,\n3,2,\n,,\n"
    assert table_of([]) == "\n"


def test_a_hundred_thousand_rows_take_no_more_than_seconds(tmp_path):
    rows = [{"k": k, "x": k / 7} for k in range(100_000)]
    began = time.process_time()
    folder = kept(tmp_path, rows=rows)
    assert time.process_time() - began < 5
    assert (folder / "mine.csv").read_text().count("\n") == 100_001


def test_texts_that_are_no_text_are_kept_readable(tmp_path):
    folder = kept(tmp_path, replace(FOUND, notes=["data\udcff"]), [{"path": "data\udcff"}])
    assert "data\\udcff" in (folder / "mine.csv").read_text()
    assert read(folder / FILE).notes == ["data\\udcff"]


def test_the_name_alone_has_a_folder_of_its_own_and_each_request_another(tmp_path):
    assert folder_of(tmp_path, "mine", FOUND.id, default=True) == tmp_path / "experiments" / "mine"
    assert folder_of(tmp_path, "mine", FOUND.id, default=False) == tmp_path / "experiments" / "mine-01234567"


def test_a_new_finding_takes_the_place_of_the_old_one_and_of_its_pictures(tmp_path):
    kept(tmp_path, replace(FOUND, pictures={"old.png": "", "line.png": ""}), old=b"1", line=b"1")
    (tmp_path / "experiments" / "mine" / "my-notes.txt").write_text("the user's")
    folder = kept(tmp_path, line=b"2")
    assert sorted(path.name for path in folder.iterdir()) == [
        "finding.json",
        "line.png",
        "mine.csv",
        "mine.md",
        "my-notes.txt",
    ]
    assert (folder / "line.png").read_bytes() == b"2"


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_one_that_is_killed_while_it_writes_leaves_no_mixture(tmp_path, monkeypatch, writes):
    folder, left = kept(tmp_path), iter(range(writes))

    def killed(path: Path, content: bytes) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        path.write_bytes(content)

    monkeypatch.setattr(module, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path, rows=[{"a": 2}], line=b"2")
    monkeypatch.undo()
    assert not (folder / FILE).exists() and findings(tmp_path) == ({}, [])
    assert kept(tmp_path, line=b"2") == folder and verify(tmp_path) == (1, [])


def test_two_commands_at_once_leave_one_finding_whole(tmp_path):
    def write(number: int) -> None:
        for _ in range(10):
            found = replace(FOUND, made=str(number), pictures={f"of-{number}.png": "", "line.png": ""})
            kept(tmp_path, found, [{"n": number}], line=str(number).encode(), **{f"of-{number}": b"x"})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder = tmp_path / "experiments" / "mine"
    number = read(folder / FILE).made
    assert (folder / "line.png").read_text() == number and (folder / "mine.csv").read_text() == f"n\n{number}\n"
    assert {path.name for path in folder.glob("*.png")} == {"line.png", f"of-{number}.png"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is no finding of an experiment"),
        (b"{}", r"is no finding of an experiment \(name: Field required\)"),
        (b'{"name": 3', "is no finding of an experiment"),
        (b"\xff\xfe", "is no finding of an experiment"),
        (None, "was written by a newer ganbench"),
    ],
)
def test_what_is_no_finding_is_one_sentence_and_hides_no_other(tmp_path, content, sentence):
    folder = kept(tmp_path)
    other = Path(shutil.copytree(folder, folder.with_name("other")))
    newer = json.dumps(json.loads((folder / FILE).read_text()) | {"schema": 99}).encode()
    (other / FILE).write_bytes(newer if content is None else content)
    found, problems = findings(tmp_path)
    assert list(found) == [folder] and len(problems) == 1
    with pytest.raises(UserError, match=sentence):
        read(other / FILE)
    assert verify(tmp_path)[1] == problems
    with pytest.raises(FileNotFoundError):
        read(tmp_path / FILE)


def test_missing_files_are_found(tmp_path):
    folder = kept(tmp_path)
    assert verify(tmp_path) == (1, [])
    (folder / "line.png").unlink(), (folder / "mine.csv").unlink()
    sound, problems = verify(tmp_path)
    assert sound == 0 and [problem.partition(" is missing")[0] for problem in problems] == [
        str(folder / "line.png"),
        str(folder / "mine.csv"),
    ]


def test_findings_are_no_records_of_the_results_above_them(tmp_path):
    kept(tmp_path)
    assert list(ResultStore(tmp_path).files([])) == []
    with pytest.raises(UserError, match="no results in"):
        ResultStore(tmp_path).records()


def test_a_disk_that_refuses_is_told_before_anything_is_computed(tmp_path):
    require_writable(tmp_path / "results")
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match=r"cannot write .*file/experiments"):
        require_writable(tmp_path / "file")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "experiments").write_text("")
    with pytest.raises(DiskError, match="cannot write"):
        require_writable(tmp_path / "other")
    with pytest.raises(DiskError, match="cannot write"):
        keep(tmp_path / "file" / "mine", FOUND, {}, [], "")


def test_a_reader_sees_all_of_it():
    text = render(FOUND)
    for part in (
        "## mine: a summary (nobody 2026)",
        "### T",
        r"a\|b",
        r"x\|y",
        "a note",
        "**as said**: said Found: found",
        "**otherwise**: s Found: f because",
        "**not decided**: s Found: f",
        "No part: gan, wgan: no D",
        "No part: vae: no G",
        "rate=Infinity",
        "numbers=3",
        "id=01234567",
        "device=cpu",
    ):
        assert part in text, part
    assert by_reason(FOUND.left_out) == {"no D": ["gan", "wgan"], "no G": ["vae"]}


def test_an_empty_finding_is_written_too(tmp_path):
    bare = replace(FOUND, tables=[], claims=[], pictures={}, protocol={}, left_out={}, notes=[], options={})
    folder = kept(tmp_path, bare, [])
    assert verify(tmp_path) == (1, []) and (folder / "mine.csv").read_text() == "\n"
    assert render(bare).startswith("## mine")
