"""One odd record is one line under the table: real records, mutated at random, never end a report."""

from __future__ import annotations

import copy
import csv
import io
import json
import random
import warnings
from pathlib import Path
from typing import Any

import pytest

from ganbench.contract.types import Value
from ganbench.errors import UserError
from ganbench.reports.render import FORMATS, pieces, render
from ganbench.reports.view import View
from ganbench.results.record import STOPPED, UNFINISHED, RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.training.budget import Budget, Meters


def make(variant: str = "gan", seed: int = 0, status: Any = "done", **facts: Any) -> RunRecord:
    config = {"variant": {"lr": 2e-4}}
    spec = RunSpec(variant, "digits", "dcgan", Budget(200_000, "images"), seed, 8, 64, config=config, data="d" * 64)
    return RunRecord(spec, status, meters=Meters(3125, 200_000, {"D": 3125, "G": 3125}, 1.5e13, 90.0, 2**29), **facts)


RESULTS = Path(__file__).parents[2] / "results" / "published"
"""The records of this repository."""


def originals() -> list[dict[str, Any]]:
    paths = sorted(RESULTS.rglob("seed*.json"))[::12]
    return [json.loads(path.read_text("utf-8")) for path in paths]


ODD: list[Any] = [
    *[None, True, 0, -1, 10**400, -(10**308), 1.7976931348623157e308, -1.7e308, 5e-324, -0.0, 1e16, 0.1],
    *["", " ", "x" * 3000, "a|b\n# c", "\x1b[31m", "ü\u2028", "NaN", "1e999", "\ud800", "done", "killed", UNFINISHED],
    *[[], [[]], [1, "two", None], [None, None], {}, {"": {}}, {"a": {"b": None}}],
    *[{"values": {"fid": [10**400, 1]}}, {"values": []}, {"source": 3}],
]


def odd(dice: random.Random) -> Any:
    """Return one of them that nobody else changes."""
    return copy.deepcopy(dice.choice(ODD))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for key, item in items for place in places(item, (*path, key))]


def mutate(content: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """Change a copy at one to four places: another value, none, a key more, or the value of another place."""
    content = json.loads(json.dumps(content))
    for _ in range(dice.randint(1, 4)):
        *path, last = dice.choice(
            places({key: content[key] for key in content if key != "curve" or dice.random() < 0.2})
        )
        owner = content
        for key in path:
            owner = owner[key]
        match dice.randrange(4):
            case 0 if isinstance(owner, dict):
                del owner[last]
            case 1 if isinstance(owner, dict):
                owner[dice.choice(["", "values", "extra", "a.b", "ü|"])] = odd(dice)
            case 2 if isinstance(owner[last], int | float):
                owner[last] = owner[last] * dice.choice([-1, 0, 1e300, 10**30, 0.5])
            case _:
                owner[last] = odd(dice)
    return content


def written(content: dict[str, Any], dice: random.Random) -> str:
    text = json.dumps(content, indent=dice.choice([None, 1, 1, 1]), sort_keys=True, ensure_ascii=dice.random() < 0.5)
    match dice.randrange(12):
        case 0:
            return text.replace(": 0.", ': 1e999, "b": 0.', 1)
        case 1:
            return text.replace(": null", ": NaN", 1)
        case 2:
            return text[: dice.randrange(len(text))]
    return text


def fuzz(folder: Path, seed: int, number: int) -> int:
    """Report folders of real records with mutated ones among them, and return how many were told of."""
    dice, sources, told = random.Random(seed), originals(), 0
    for round_ in range(number // 10):
        results = folder / str(round_)
        results.mkdir()
        sane = dice.choice(sources)
        (results / "sane.json").write_text(json.dumps(sane, indent=1, sort_keys=True), "utf-8")
        for place in range(10):
            text = written(mutate(dice.choice([sane, *sources]), dice), dice)
            (results / f"odd{place}.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        for form in FORMATS:
            for runs in (False, True) if form != "html" else (False,):  # on a page every run is anyway
                store, curves = ResultStore(results), dict[str, bytes]()
                if form == "html":
                    records, problems = store.records()
                else:
                    records, problems, curves = store.summaries(curves=form == "json")
                with warnings.catch_warnings(record=True) as heard:
                    warnings.simplefilter("always")
                    text = "".join(pieces(records, problems, form, View(runs=runs), curves, store))
                # One of the odd may be a newer record of the same run, of which is told that it cannot be shown.
                said = " ".join([text, *(str(each.message) for each in heard)])
                assert text and (sane["spec"]["variant"].replace("-", "") in said.replace("-", "").replace("\\", ""))
                if form == "json":
                    json.loads(text, parse_constant=pytest.fail)
                elif form == "csv":
                    assert len({len(line) for line in csv.reader(io.StringIO(text))}) == 1
        told += len(problems)
    return told


def test_mutated_records_never_end_a_report(tmp_path: Path) -> None:
    assert fuzz(tmp_path, seed=0, number=300) > 30


@pytest.mark.slow
def test_many_mutated_records_never_end_a_report(tmp_path: Path) -> None:
    assert fuzz(tmp_path, seed=1, number=20_000) > 2000


def test_a_record_that_cannot_be_shown_is_one_line_and_the_others_of_its_row_stay() -> None:
    records = [make("gan", seed, values={"fid": [Value(10.0 + seed, {}, None, False)]}) for seed in range(3)]
    odd = make("gan", 3, values={"fid": [Value("eleven", {}, None, False)]})  # type: ignore[arg-type]
    text = render([*records, odd, make("wgan", 0)])
    assert "| gan     |    3 |" in text and "| wgan" in text
    (line,) = [line for line in text.splitlines() if "cannot be shown" in line]
    assert line.startswith("- gan on digits, seed 3: its record cannot be shown (")
    with pytest.warns(UserWarning, match="gan on digits, seed 3: its record cannot be shown"):
        assert len(render([*records, odd], format="csv").splitlines()) == 2
    with pytest.warns(UserWarning, match="seed 3: its record cannot be shown"):
        (row,) = json.loads(render([*records, odd], format="json"))
    assert row["seeds"] == 3 and [run["seed"] for run in row["runs"]] == [0, 1, 2]


def test_values_near_the_largest_number_are_averaged() -> None:
    values = [{"fid": [Value(sign * 1.7e308, {}, 1.7e308, False)]} for sign in (1, 1, -1)]
    records = [make("gan", seed, values=of) for seed, of in enumerate(values)]
    assert "5.667e+307" in render(records)
    (row,) = json.loads(render(records, format="json"))
    (score,) = row["metrics"]["fid"]
    assert score["mean"] == pytest.approx(1.7e308 / 3) and score["low"] is None and score["reference"] == 1.7e308


# Runs without an end


@pytest.mark.parametrize("error", [UNFINISHED, STOPPED])
def test_a_stopped_or_running_run_is_neither_failed_nor_done(error: str) -> None:
    records = [make("gan", 0), make("gan", 1), make("gan", 2, "killed", error=error)]
    text = render(records)
    assert "|  2/3 |" in text and "failed" not in text
    assert "- gan seed 2: stopped (" in text
    (line,) = csv.DictReader(io.StringIO(render(records, format="csv")))
    assert [line[name] for name in ("seeds", "done", "failed", "stopped")] == ["3", "2", "0", "1"]
    (row,) = json.loads(render(records, format="json"))
    assert (row["done"], row["failed"], row["stopped"]) == (2, 0, 1)
    lines = [line.split("|") for line in render(records, runs=True).splitlines() if line.startswith("| gan")]
    assert [line[3].strip() for line in lines] == ["done", "done", "stopped"]


@pytest.mark.parametrize(
    ("status", "error"),
    [("killed", "its process was ended by SIGKILL (out of memory?)"), ("killed", ""), ("error", UNFINISHED)],
)
def test_a_run_whose_process_died_failed(status: Any, error: str) -> None:
    text = render([make("gan", 0), make("gan", 1, status, error=error)])
    assert "|  1/2 |" in text and f"- gan seed 1: {status}" in text


# Read for reports


@pytest.mark.parametrize("curves", [False, True])
def test_summaries_are_the_records_but_for_their_curves(curves: bool) -> None:
    store = ResultStore(RESULTS)
    whole, problems = store.records()
    lean, same, texts = store.summaries(curves=curves)
    assert same == problems and [record.spec.id for record in lean] == [record.spec.id for record in whole]
    for record, of in zip(whole, lean, strict=True):
        assert vars(record) | {"curve": []} == vars(of)
        assert [v.protocol_hash for of in record.values.values() for v in of] == [
            v.protocol_hash for values in of.values.values() for v in values
        ]
    assert len(texts) == (len(whole) if curves else 0)
    if curves:
        text = "".join(pieces(lean, [], "json", View(runs=True), texts))
        assert sorted(json.loads(text), key=str) == sorted(json.loads(render(whole, format="json", runs=True)), key=str)


def test_a_number_that_is_none_is_found_in_every_part_that_is_shown(tmp_path: Path) -> None:
    content = originals()[0]
    for number in ("1e999", "NaN", "-Infinity", "1" + "0" * 400):
        for part in ("options", "config"):
            spec = {**content["spec"], part: {"x": 12.5}}
            text = json.dumps({**content, "spec": spec}, indent=1, sort_keys=True).replace("12.5", number)
            (tmp_path / "seed0.json").write_text(text)
            for curves in (False, True):
                records, problems, _ = ResultStore(tmp_path).summaries(curves=curves)
                assert records == [] and "is damaged" in problems[0], (number, part)
        text = json.dumps(content, indent=1, sort_keys=True)
        start = text.index('"seconds": ')
        (tmp_path / "seed0.json").write_text(text[:start] + f'"seconds": {number},\n "x": ' + text[start + 11 :])
        records, problems, _ = ResultStore(tmp_path).summaries(curves=True)
        assert records == [] and "is damaged" in problems[0], number


def test_a_folder_of_odd_records_alone_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "seed0.json").write_text("{}")
    records, problems, _ = ResultStore(tmp_path).summaries(curves=False)
    assert records == [] and "not a record" in problems[0]
    with pytest.raises(UserError):
        render([], problems)


def test_the_record_of_a_run_says_how_it_stands() -> None:
    assert RunRecord(make().spec, "killed", UNFINISHED).is_open and not make().is_open
