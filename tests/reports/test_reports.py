"""Reports of records made by hand: statistics, bold, protocols, failures, and text that must not break a table."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ganbench.contract.types import Value
from ganbench.errors import UserError, brief
from ganbench.reports import csv as csv_report, json as json_report, markdown
from ganbench.reports.render import render
from ganbench.reports.view import View
from ganbench.reports.words import escape, figure, quoted
from ganbench.results.record import Mark, RunRecord, RunSpec
from ganbench.results.statistics import _point, deviation_of
from ganbench.results.store import ResultStore
from ganbench.training.budget import Budget, Meters

GOLDEN = Path(__file__).with_name("report.md")
P = {"extractor": "digits", "n_fake": 360, "n_real": 360}
Q = {**P, "n_fake": 100}
# Two-sided 95 % points of Student's t, from a printed table, by degrees of freedom.
T = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764}


def make(
    variant: str = "gan",
    seed: int = 0,
    status: Any = "done",
    *,
    values: Mapping[str, Sequence[Value]] | None = None,
    meters: Meters | None = None,
    unscored: Mapping[str, str] | None = None,
    facts: Mapping[str, Any] | None = None,
    error: str = "",
    **spec: Any,
) -> RunRecord:
    known: dict[str, Any] = {
        "dataset": "digits",
        "backbone": "dcgan",
        "budget": Budget(200_000, "images"),
        "size": 8,
        "batch": 64,
        "data": "d" * 64,
        "config": {"variant": {"lr": 2e-4}, "backbone": {"width": 64}},
        "code": {"variant": variant, "backbone": "b" * 64},
    }
    return RunRecord(
        RunSpec(variant=variant, seed=seed, **(known | spec)),
        status,
        error=error,
        meters=meters or Meters(3125, 200_000, {"D": 3125, "G": 3125}, 1.5e13, 90.0, 2**29),
        values=values or {},
        unscored=unscored or {},
        variant=facts or {},
    )


def scored(
    variant: str, *numbers: float, metric: str = "fid", better: bool | None = False, **more: Any
) -> list[RunRecord]:
    return [
        make(variant, seed, values={metric: [Value(number, P, None, better)]}, **more)
        for seed, number in enumerate(numbers)
    ]


def csv_lines(records: Sequence[RunRecord], **how: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_report.render(records, View(**how)))))


def unfolded(text: str) -> str:
    """Join the lines of each note and caption, as whoever shows Markdown does."""
    return re.sub(r"(?<=[^\n])\n(?: {2})?(?=[A-Za-z0-9(])", " ", text)


def cells(text: str, table: int = 0) -> dict[str, dict[str, str]]:
    """Read a Markdown table as a reader does: rows by the name in the first column."""
    block = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)[table]
    lines = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.splitlines()]
    header, rule, *body = lines
    assert all(len(line) == len(header) for line in lines) and all(re.fullmatch("-+:?", cell) for cell in rule)
    return {line[0]: dict(zip(header, line, strict=True)) for line in body}


# Statistics


@pytest.mark.parametrize("numbers", [(10.0, 12.0), (10.0, 11.0, 12.0), (1.0, 2.0, 4.0, 9.0), (5.0, 5.5, 7.0, 3.0, 1.0)])
def test_mean_and_interval_over_seeds_are_those_of_the_textbook(numbers: tuple[float, ...]) -> None:
    (line,) = csv_lines(scored("gan", *numbers))
    n = len(numbers)
    mean = sum(numbers) / n
    half = T[n - 1] * math.sqrt(sum((number - mean) ** 2 for number in numbers) / (n - 1)) / math.sqrt(n)
    assert float(line["fid"]) == pytest.approx(mean, rel=1e-12)
    assert float(line["fid_low"]) == pytest.approx(mean - half, rel=1e-4)
    assert float(line["fid_high"]) == pytest.approx(mean + half, rel=1e-4)


def test_one_seed_has_no_interval() -> None:
    (line,) = csv_lines(scored("gan", 10.5))
    assert (line["fid"], line["fid_low"], line["fid_high"]) == ("10.5", "", "")
    assert cells(markdown.render(scored("gan", 10.5)))["gan"]["fid↓"] == "10.5"


def test_only_done_runs_count_but_all_are_counted() -> None:
    value = {"fid": [Value(1000.0, P, None, False)]}
    records = [
        *scored("gan", 10.0, 12.0),
        make("gan", 2, "diverged", values=value, error="the loss of D is NaN"),
        make("gan", 3, "error", values=value, error="Traceback (most recent call last):\n  File x\nOSError: gone"),
        make("gan", 4, "killed", values=value),
    ]
    (line,) = csv_lines(records)
    assert [line[name] for name in ("seeds", "done", "diverged", "failed", "fid")] == ["5", "2", "1", "2", "11.0"]
    text = markdown.render(records)
    assert cells(text)["gan"]["runs"] == "2/5"
    assert "- gan seed 2: diverged (the loss of D is NaN)\n" in text
    assert "- gan seed 3: error (OSError: gone)\n" in text and "- gan seed 4: killed\n" in text


def test_a_variant_of_which_nothing_came_through_keeps_its_row() -> None:
    records = [*scored("gan", 10.0, 12.0), make("wgan", 0, "diverged"), make("wgan", 1, "error")]
    line = csv_lines(records)[1]
    assert (line["variant"], line["done"], line["diverged"], line["failed"]) == ("wgan", "0", "1", "1")
    assert {line[name] for name in ("fid", "fid_low", "fid_high", "fid_protocol", "images", "seconds")} == {""}
    row = cells(markdown.render(records))["wgan"]
    assert row["runs"] == "0/2" and row["fid↓"] == row["time"] == "–"


def test_meters_are_means_and_a_player_that_does_not_exist_has_none() -> None:
    records = [
        make(seed=0, meters=Meters(10, 640, {"G": 10}, 1e12, 1.0, 100)),
        make(seed=1, meters=Meters(10, 640, {"G": 10}, 1e12, 2.0, 300)),
    ]
    (line,) = csv_lines(records)
    names = ("images", "d_updates", "g_updates", "flops", "seconds", "peak_bytes")
    assert [line[name] for name in names] == ["640", "", "10", "1000000000000.0", "1.5", "200"]


# Bold


def bold(records: Sequence[RunRecord]) -> set[str]:
    return {name for name, row in cells(markdown.render(records)).items() for cell in row.values() if "**" in cell}


SPREAD = (0.0, 0.3, -0.2, 0.1, -0.3)


def around(variant: str, mean: float, **more: Any) -> list[RunRecord]:
    """Return runs of five seeds, which are enough for a test of a few rows; no two variants differ alike on all."""
    dice = random.Random(variant)
    return scored(variant, *(mean + part + dice.uniform(-0.05, 0.05) for part in SPREAD), **more)


def test_the_best_is_bold_where_a_test_tells_it_apart() -> None:
    records = [*around("gan", 10.0), *around("wgan", 20.0)]
    assert bold(records) == {"gan"}
    cell = cells(markdown.render(records))["gan"]["fid↓"]
    assert re.fullmatch(r"\*\*\d+\.\d+±\d\.\d+\*\* a", cell)
    text = unfolded(markdown.render(records))
    assert "- Bold: the best, and what cannot be told from it, where others can\n" in text
    assert "- fid: rows that share a letter cannot be told apart\n" in text


def test_rows_that_cannot_be_told_apart_share_a_letter_and_none_is_bold_alone() -> None:
    same = scored("lsgan", *(10.0 + part for part in (0.3, -0.2, 0.0, 0.1, -0.25)))
    assert bold([*around("gan", 10.0), *same]) == set()
    table = cells(markdown.render([*around("gan", 10.0), *same, *around("wgan", 20.0)]))
    letters = {name: row["fid↓"].rpartition(" ")[2] for name, row in table.items()}
    assert letters["gan"] == letters["lsgan"] != letters["wgan"]
    assert {name for name, row in table.items() if "**" in row["fid↓"]} == {"gan", "lsgan"}


def test_direction_decides_which_is_best() -> None:
    def table(better: bool | None) -> list[RunRecord]:
        return [*around("gan", 1.0, metric="modes", better=better), *around("wgan", 7.0, metric="modes", better=better)]

    assert bold(table(False)) == {"gan"} and bold(table(True)) == {"wgan"} and bold(table(None)) == set()
    for better, heading in ((False, "modes↓"), (True, "modes↑"), (None, "modes")):
        assert heading in cells(markdown.render(table(better)))["gan"]
    assert list(cells(markdown.render(table(False)))) == ["gan", "wgan"]
    assert list(cells(markdown.render(table(True)))) == ["wgan", "gan"]


def test_few_seeds_and_a_row_alone_are_never_bold() -> None:
    assert bold([*scored("gan", 10.0, 10.1, 10.2), *scored("wgan", 90.0, 91.0, 92.0)]) == set()
    assert bold(around("gan", 10.0)) == bold([*around("gan", 10.0), make("wgan", 0, "diverged")]) == set()


def test_seeds_that_failed_are_told_to_rank_as_bad() -> None:
    failed = [make("lsgan", seed, "diverged") for seed in range(5)]
    text = unfolded(markdown.render([*failed, *around("gan", 10.0)]))
    assert "- fid: seeds that rank as bad, since they have no value: lsgan 5\n" in text
    assert list(cells(text)) == ["gan", "lsgan"]


# Protocols


def test_two_protocols_are_two_columns_and_two_lines_and_never_ranked() -> None:
    def values(number: float, protocol: Mapping[str, Any]) -> dict[str, list[Value]]:
        return {"fid": [Value(number, protocol, 1.0, False)], "ms-ssim": [Value(0.3, {"pairs": "all"})]}

    gan = [make("gan", seed, values=values(10 + seed, P)) for seed in range(2)]
    wgan = [make("wgan", seed, values=values(900 + seed, Q)) for seed in range(2)]
    p, q = (Value(0.0, protocol).protocol_hash for protocol in (P, Q))
    text = markdown.render([*gan, *wgan])
    table = cells(text)
    assert table["gan"][f"fid↓ {p[:4]}"] == "10.5±6.4" and table["gan"][f"fid↓ {q[:4]}"] == "–"
    assert table["wgan"][f"fid↓ {q[:4]}"] == "900.5±6.4" and table["wgan"][f"fid↓ {p[:4]}"] == "–"
    assert "ms-ssim" in table["gan"] and "**" not in text
    assert f"- fid↓ ({p}): 360 samples against 360 real by digits\n" in text
    assert f"- fid↓ ({q}): 100 samples against 360 real by digits\n" in text
    assert re.search(
        f"fid was measured under 2 protocols, .* not compared; ganbench explain [{p}{q} ]+ says", unfolded(text)
    )
    whole = markdown.render([*gan, *wgan], view=View(protocols=True))
    assert f"- fid↓, protocol {p}: extractor=digits n_fake=360 n_real=360\n" in whole
    assert f"- fid↓, protocol {q}: extractor=digits n_fake=100 n_real=360\n" in whole


def test_a_row_of_two_protocols_is_one_line_with_columns_for_both() -> None:
    records = [
        make(
            seed=seed,
            values={
                "fid": [Value(10.0 + seed, P, None, False), *([Value(20.0, Q, None, False)] if seed else [])],
                "ms-ssim": [Value(0.3, {"pairs": "all"})],
            },
        )
        for seed in range(2)
    ]
    (line,) = csv_lines(records)
    p, q = (Value(0.0, protocol).protocol_hash for protocol in (P, Q))
    assert (line["fid"], line["fid_n"], line["fid_protocol"]) == ("10.5", "2", p)
    assert (line[f"fid_{q}"], line[f"fid_{q}_n"], line[f"fid_{q}_protocol"]) == ("20.0", "1", q)
    assert (line["ms_ssim"], line["seeds"]) == ("0.3", "2")


def test_seeds_under_different_protocols_are_not_averaged() -> None:
    records = [make(seed=0, values={"fid": [Value(10.0, P)]}), make(seed=1, values={"fid": [Value(20.0, Q)]})]
    (line,) = csv_lines(records)
    numbers = [line["fid"], line[f"fid_{records[1].values['fid'][0].protocol_hash}"]]
    assert numbers == ["10.0", "20.0"] and line["fid_n"] == "1"


# What runs differ in


def test_runs_of_edited_code_or_other_data_are_not_averaged() -> None:
    for change in (
        {"code": {"variant": "edited", "backbone": "b" * 64}},
        {"config": {"variant": {"lr": 1e-3}, "backbone": {"width": 64}}},
        {"data": "e" * 64},
    ):
        records = [*scored("gan", 10.0, 11.0), *scored("gan", 90.0, 91.0, **change)]
        assert [line["fid"] for line in csv_lines(records)] in (["10.5", "90.5"], ["90.5", "10.5"])


def test_rows_of_one_name_are_numbered_and_the_difference_is_told() -> None:
    edited = scored("gan", 90.0, 91.0, config={"variant": {"lr": 1e-3}, "backbone": {"width": 64}})
    text = markdown.render([*scored("gan", 10.0, 11.0), *edited])
    table = cells(text)
    numbers = {row["fid↓"]: name for name, row in table.items()}
    assert set(table) == {"gan (1)", "gan (2)"}
    small, large = (re.search(r"\(\d\)", numbers[cell])[0] for cell in ("10.5±6.4", "90.5±6.4"))  # type: ignore[index]
    assert f"0.0002 in {small}" in text and f"0.001 in {large}" in text and "config.variant.lr is" in text


def test_other_data_of_one_name_make_another_table() -> None:
    text = markdown.render([*scored("gan", 10.0, 10.1), *scored("wgan", 90.0, 90.1, data="e" * 64)])
    assert len(re.findall("^### digits.*, data (dddddddd|eeeeeeee)$", text, re.MULTILINE)) == 2 and "**" not in text


def test_rows_that_do_not_share_the_backbone_are_told_of() -> None:
    other = scored("wgan", 20.0, 21.0, config={"variant": {"lr": 5e-5}, "backbone": {"width": 32}})
    text = markdown.render([*scored("gan", 10.0, 11.0), *other])
    assert "config.backbone.width is 64, 32" in text and "config.variant" not in text
    assert "do not share" not in markdown.render([*scored("gan", 1.0), *scored("wgan", 2.0)])


def test_options_stand_in_their_column_and_beside_the_name() -> None:
    records = [*scored("gan", 1.0), *scored("gan", 2.0, options={"lr": 2e-4, "clip": 0.1})]
    assert [line["options"] for line in csv_lines(records)] == ["", "clip=0.1 lr=0.0002"]
    text = markdown.render(records)
    assert set(cells(text)) == {"gan", "gan (a)"} and "\n- (a) clip=0.1 lr=0.0002\n" in text
    shared = markdown.render(
        [*scored("gan", 1.0, options={"lr": 1.0}), *scored("wgan", 2.0, options={"lr": 1.0, "n": 5})]
    )
    assert set(cells(shared)) == {"gan", "wgan (a)"} and "- All rows: lr=1.0\n- (a) n=5\n" in shared


def test_each_setting_of_the_comparison_has_its_own_table() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"dataset": "mnist"},
        {"size": 16},
        {"backbone": "mlp"},
        {"batch": 32},
        {"budget": Budget(100, "updates")},
        {"precision": "bf16"},
    ]
    records = [record for change in changes for name in ("gan", "wgan") for record in scored(name, 1.0, **change)]
    text = markdown.render(records)
    assert text.count("### ") == len(changes) == text.count("| gan ")
    assert len(csv_lines(records)) == 2 * len(changes)


# Gaps


def test_a_done_run_without_a_value_is_told_of_with_the_reason() -> None:
    records = [*scored("gan", 10.0, 12.0), make("gan", 2, unscored={"fid": "the weights are damaged"})]
    (line,) = csv_lines(records)
    assert (line["fid"], line["done"]) == ("11.0", "3")
    assert "- gan seed 2: no fid (the weights are damaged), 2 of 3 seeds used\n" in markdown.render(records)


def test_a_metric_that_no_run_could_be_given_is_told_of() -> None:
    text = markdown.render([make("gan", 0, unscored={"fid": "no weights"})])
    assert "- gan seed 0: no fid (no weights)\n" in text


def test_a_metric_that_does_not_apply_to_a_variant_is_just_empty() -> None:
    text = markdown.render([*scored("gan", 10.0), make("wgan")])
    assert cells(text)["wgan"]["fid↓"] == "–" and "no fid" not in text


def test_few_seeds_are_said_to_be_few() -> None:
    text = markdown.render([*scored("gan", 1.0, 2.0, 3.0), *scored("wgan", 1.0, 2.0, 3.0)])
    assert re.search(r"n=3 seeds: too few .* nothing bold", unfolded(text))
    assert "too few" not in markdown.render([*around("gan", 1.0), *around("wgan", 2.0)])


# Captions


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (Budget(200_000, "images"), "every variant was served 200,000 real images; variants with several critic steps"),
        (Budget(199_999, "images"), "200,000 real images (the budget, rounded up to whole steps)"),
        (Budget(3_125, "updates"), "every variant updated G 3,125 times"),
        (Budget(1.5e13, "flops"), "every variant trained for 15T FLOPs"),
        (Budget(90, "seconds"), "every variant trained for 90 s of device time"),
    ],
)
def test_the_caption_says_what_the_budget_means(budget: Budget, said: str) -> None:
    text = unfolded(markdown.render(scored("gan", 1.0, 2.0, budget=budget)))
    assert said in text and f"Budget {budget}: " in text and "Seeds 0, 1; means over seeds ± half-widths" in text


def test_unequal_numbers_of_images_are_told_of() -> None:
    more = Meters(3130, 200_320, {"D": 3130, "G": 626})
    text = unfolded(markdown.render([*scored("gan", 1.0), *scored("lsgan", 1.0), *scored("wgan", 1.0, meters=more)]))
    assert "- Served other than 200,000 real images: wgan 200,320\n" in text and "served at least 200,000" in text
    assert "Served other" not in markdown.render([*scored("gan", 1.0), *scored("wgan", 1.0)])


def test_a_variant_with_its_own_networks_is_marked() -> None:
    text = markdown.render([make("began", 0, "error"), *scored("stylegan", 1.0, facts={"own_architecture": True})])
    assert set(cells(text)) == {"began", "stylegan †"} and "- † brings its own networks" in text
    assert "†" not in markdown.render(scored("gan", 1.0, facts={"own_architecture": False}))


def test_real_data_stand_in_the_last_row() -> None:
    values = {"fid": [Value(10.0, P, 1.25, False)], "grad-norm-g": [Value(0.3)]}
    table = cells(markdown.render([make(values=values)]))
    assert list(table)[-1] == "*real data*"
    assert table["*real data*"]["fid↓"] == "1.25" and table["*real data*"]["grad-norm-g"] == "–"
    assert "*real data*" not in cells(markdown.render(scored("gan", 1.0)))


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (12.3456, 0.5678, "12.35 ± 0.57"),
        (1234.5, 123.4, "1234 ± 123"),
        (0.31234, 0.0123, "0.312 ± 0.012"),
        (-0.004, 1.2, "0.0 ± 1.2"),
        (123456789.0, 1234567.0, "1.23e+08 ± 1.2e+06"),
        (2e-7, 1e-8, "2e-07 ± 1e-08"),
        (5.0, 0.0, "5 ± 0"),
        (0.0, 0.0, "0 ± 0"),
        (1.0, 1e-9, "1 ± 1e-09"),
        (0.31234567, None, "0.3123"),
        (0.0, None, "0"),
    ],
)
def test_a_mean_has_as_many_digits_as_its_interval_allows(mean: float, half: float | None, text: str) -> None:
    assert figure(mean, half) == text


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (12.3456, 0.5678, "12.3 ± 0.6"),
        (1234.5, 123.4, "1234 ± 123"),
        (0.31234, 0.0923, "0.31 ± 0.09"),
        (12.3456, 0.1234, "12.35 ± 0.12"),
        (5.0, 0.0, "5 ± 0"),
        (0.5, None, "0.5"),
    ],
)
def test_where_room_is_scarce_the_interval_has_a_digit_less(mean: float, half: float | None, text: str) -> None:
    assert figure(mean, half, short=True) == text


def test_meters_are_written_for_people() -> None:
    meters = Meters(1, 1_234_567, {"D": 5_000, "G": 1_000}, 1.234e13, 5400.0, 3 * 2**29)
    row = cells(markdown.render([make(meters=meters)], view=View(columns=("all",))))["gan"]
    names = ("images", "D updates", "G updates", "FLOPs", "time", "memory")
    assert [row[name] for name in names] == ["1,234,567", "5,000", "1,000", "12.3T", "1.5 h", "1.5 GiB"]


def test_deviations_and_points_are_those_of_the_libraries_to_the_last_bit() -> None:
    from scipy.special import stdtrit

    assert [_point(n) for n in range(1, 60)] == [float(stdtrit(n, 0.975)) for n in range(1, 60)]
    dice = random.Random(0)
    for _ in range(2000):
        size = 10.0 ** dice.choice([0, 0, 100, -300, -320, 307])
        some = [dice.choice([dice.gauss(0, size), 0.1, dice.randint(-9, 9), -0.0]) for _ in range(dice.randint(2, 9))]
        assert deviation_of(some) == statistics.stdev(some), some
    with pytest.raises(OverflowError):
        deviation_of([1.7e308, -1.7e308])


# Text from elsewhere

NASTY = "a|b\n| c | <script>x</script> [l](http://e.vil) `r` *i* _u_ \x1b[31m\u202e"


@pytest.mark.parametrize("runs", [False, True])
def test_no_name_breaks_a_table_or_becomes_markup(runs: bool) -> None:
    value = Value(1.0, {NASTY: NASTY, "list": [1, NASTY]}, 1.0, False)
    records = [
        make(
            NASTY,
            seed,
            status,
            dataset=NASTY,
            backbone=NASTY,
            precision=NASTY,
            options={NASTY: NASTY},
            code={NASTY: str(seed)},
            data=NASTY + str(seed // 2),
            values={NASTY: [value], "fid": [value, replace(value, protocol=Q)]},
            unscored={NASTY + "2": NASTY},
            error=NASTY,
        )
        for seed, status in enumerate(["done", "done", "diverged", "done"])
    ]
    text = render(records, [NASTY], runs=runs)
    assert len(re.findall("^### ", text, re.MULTILINE)) == 2
    for table in range(2):
        assert len(cells(text, table)) >= 2
    text = unfolded(text)
    told = [line for line in text.splitlines() if "<http://e.vil>" in line]  # sentences alone hold addresses
    assert told and all(line.startswith("- ") for line in told)
    text = text.replace("<http://e.vil>", "")
    assert "<" not in text and not re.search(r"(?<!\\)[`\[\]]", text) and "://" not in text
    assert not re.search(r"(?<!\\)\*(?!\*|real data\*|\*)", text.replace("*real data*", ""))
    assert all(char.isprintable() or char == "\n" for char in text)


def test_escaped_text_reads_as_itself() -> None:
    assert escape("grad_norm-g n=3 0.5") == "grad_norm-g n=3 0.5"
    assert escape("a|b<c>&_d_*") == r"a\|b&lt;c&gt;&amp;\_d\_\*"


WEIGHTS = "https://github.com/to_shas/torch-fidelity/releases/v0.2.0/weights_-inception~2015*12#05_(a).pth?x=1&y=_2_"


@pytest.mark.parametrize("before", [0, 1, 60, 119, 150, 199, 280, 1000])
@pytest.mark.parametrize("after", [", or put it there", ".", "); it failed (x).", "", "; " + "word " * 100])
def test_an_address_can_be_copied_wherever_a_reason_is_shown(before: int, after: str) -> None:
    reason = f"{'word ' * (before // 5)}{WEIGHTS}{after}"
    bare = rf"(?<![^\s(]){re.escape(WEIGHTS)}(?![^\s.,;)])"
    records = [*scored("gan", 1.0), make("wgan", 0, unscored={"fid": f"unavailable: {reason}"})]
    failed = make("lsgan", 0, "error", error=f"UserError: {reason}")
    text = render([*records, failed], [f"Skipped: {reason}"])
    found = re.findall(r"<(https:[^>]*)>", text)
    assert found == [WEIGHTS] * 3, found
    assert markdown_to_text(text).count(WEIGHTS) == 3
    assert re.search(bare, render([*records, failed], format="csv", runs=True))
    assert render([*records, failed], format="json").count(WEIGHTS) == 2
    for width in (40, 120, 150, 300):
        assert re.search(bare, brief(reason, width)) and len(brief(reason, width)) <= width + len(WEIGHTS) + 8


def markdown_to_text(text: str) -> str:
    """Take the angle brackets and backslashes away, as whoever shows Markdown does; none is in an address."""
    return re.sub(r"<(https?://[^<>\s]*)>|\\(?=[!-/:-@\[-`{-~])", lambda match: match[1] or "", text)


def test_what_only_looks_like_an_address_stays_what_it_is() -> None:
    for text in ("https://", "http:// x", "javascript://x", "ftp://a", "xhttps:/a"):
        assert "<" not in quoted(text)
    assert quoted("see https://a.b/c_d_.") == "see <https://a.b/c_d_>."
    assert quoted("_a_ (https://a.b/(x)), <b>") == r"\_a\_ (<https://a.b/(x)>), &lt;b&gt;"
    assert brief("  a \n b ", 9) == "a b" and brief("a" * 50, 10) == "a" * 10 + " [...]"


def test_names_with_commas_quotes_and_lines_survive_csv() -> None:
    (line,) = csv_lines(scored('a,"b"\nc', 1.0, dataset="folder:x, y"))
    assert (line["variant"], line["dataset"]) == ('a,"b"\nc', "folder:x, y")


# CSV and JSON


def test_the_columns_of_the_csv_are_those_of_the_contract() -> None:
    values = {"fd-classifier": [Value(1.0, P)], "ms-ssim": [Value(1.0, P)]}
    header = csv_report.render([make(values=values)]).splitlines()[0]
    assert header == (
        "dataset,size,backbone,batch,budget,precision,options,variant,weights,seeds,done,diverged,failed,stopped,"
        "fd_classifier,fd_classifier_low,fd_classifier_high,fd_classifier_n,fd_classifier_protocol,"
        "ms_ssim,ms_ssim_low,ms_ssim_high,ms_ssim_n,ms_ssim_protocol,images,d_updates,g_updates,flops,seconds,peak_bytes"
    )


def test_numbers_survive_csv_to_the_last_bit() -> None:
    numbers = [0.1 + 0.2, 1 / 3, 1e-17]
    assert [float(line["fid"]) for line in csv_lines(scored("gan", *numbers), runs=True)] == numbers


def test_pandas_reads_empty_cells_as_missing() -> None:
    frame = pd.read_csv(io.StringIO(csv_report.render([*scored("gan", 1.0, 2.0), make("wgan", 0, "error")])))
    assert frame["fid"].isna().tolist() == [False, True] and frame["seeds"].tolist() == [2, 1]


def test_one_row_a_run_keeps_every_run_with_its_status_and_numbers() -> None:
    broken = make("gan", 2, "diverged", values={"fid": [Value(900.0, P)]}, error="NaN")
    lines = csv_lines([broken, *scored("gan", 10.0, 12.0)], runs=True)
    assert [(line["seed"], line["status"], line["error"], line["fid"]) for line in lines] == [
        ("0", "done", "", "10.0"),
        ("1", "done", "", "12.0"),
        ("2", "diverged", "NaN", "900.0"),
    ]
    assert lines[0]["id"] == scored("gan", 10.0)[0].spec.id and "fid_low" not in lines[0]
    text = markdown.render([*scored("gan", 10.0, 12.0), broken], view=View(runs=True))
    assert text.count("| gan ") == 3 and "±" not in text and "too few" not in text


def test_metrics_that_would_share_a_column_are_refused() -> None:
    records = [make(values={"fid-768": [Value(1.0)], "fid_768": [Value(2.0)]})]
    with pytest.raises(UserError, match="'fid_768'"):
        csv_report.render(records)


def test_json_holds_the_rows_with_protocols_references_and_curves() -> None:
    value = Value(10.0, P, 1.25, False)
    record = replace(make(values={"fid": [value]}), curve=[Mark(0.5, Meters(images=100), {"fid": value})])
    (row,) = json.loads(json_report.render([record, replace(record, spec=replace(record.spec, seed=1))]))
    (score,) = row["metrics"]["fid"]
    assert row["variant"] == "gan" and row["done"] == 2 and row["meters"]["images"] == 200_000
    assert score["protocol"] == P and score["protocol_hash"] == value.protocol_hash and score["reference"] == 1.25
    assert (score["mean"], score["low"], score["high"], score["seeds"]) == (10.0, 10.0, 10.0, [0, 1])
    assert row["runs"][1]["seed"] == 1 and row["runs"][0]["curve"][0]["values"]["fid"]["value"] == 10.0
    assert row["runs"][0]["curve"][0]["meters"]["images"] == 100


# The whole


def comparison() -> list[RunRecord]:
    def values(fd: float, ssim: float) -> dict[str, list[Value]]:
        return {
            "fd-classifier": [Value(fd, P, 1.5, False)],
            "ms-ssim": [Value(ssim, {"pairs": "all"}, 0.25)],
            "grad-norm-g": [Value(0.5)],
        }

    def critic(seed: int) -> Meters:
        return Meters(3125, 200_000, {"D": 3125, "G": 625}, 4.5e12, 45.0 + seed, 2**28)

    gan = [make("gan", seed, values=values(10.0 + seed / 10, 0.2 + seed / 100)) for seed in range(3)]
    wgan = [make("wgan", seed, values=values(20.0 + seed, 0.3), meters=critic(seed)) for seed in range(3)]
    clipped = [replace(run, spec=replace(run.spec, options={"clip": 0.1})) for run in wgan[:2]]
    began = [
        make("began", 0, values=values(30.0, 0.9)),
        make("began", 1, "diverged", error="the loss of D is NaN at step 120"),
        make(
            "began", 2, values={"ms-ssim": [Value(0.8, {"pairs": "all"}, 0.25)]}, unscored={"fd-classifier": "no room"}
        ),
    ]
    points = [
        make(
            "gan", seed, dataset="ring", backbone="mlp", size=0, values={"modes": [Value(8.0, {"n": 2500}, 8.0, True)]}
        )
        for seed in range(4)
    ]
    return [*points, *wgan, *gan, *clipped, *began]


def test_the_report_of_a_comparison_is_the_golden_one() -> None:
    text = render(comparison(), ["results/x.json is damaged: line 1"])
    assert f"{text}\n" == GOLDEN.read_text("utf-8"), f"if the change is meant, write the new text to {GOLDEN}"


@pytest.mark.parametrize("format", ["markdown", "csv", "json"])
@pytest.mark.parametrize("runs", [False, True])
def test_the_order_of_the_records_does_not_matter(format: Any, runs: bool) -> None:
    records = comparison()
    assert render(records, format=format, runs=runs) == render(records[::-1], format=format, runs=runs)


@pytest.mark.parametrize("format", ["markdown", "csv", "json"])
def test_a_report_of_stored_records_is_that_of_the_records(format: Any, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for record in comparison():
        store.add(record)
    parse = json.loads if format == "json" else str  # the store sorts keys
    again = render(*store.records(), format=format)
    assert parse(again) == parse(render(comparison(), format=format))


def test_nothing_to_report_is_an_error() -> None:
    with pytest.raises(UserError, match="run `ganbench run` first"):
        render([])
    with pytest.raises(UserError, match=r"x\.json is damaged"):
        render([], ["x.json is damaged"])


def test_versions_and_machine_stand_under_the_table_once() -> None:
    provenance = {
        "versions": {"torch": "2.13.0", "ganbench": "0.1.0"},
        "machine": {"system": "Linux", "processor": "x86_64", "device": "cpu (2 cores)"},
        "threads": 1,
    }
    runs = [replace(make(seed=seed), provenance=provenance) for seed in (0, 1)]
    line = "- Made with ganbench 0.1.0, torch 2.13.0 on Linux x86_64, cpu (2 cores), 1 threads a run."
    assert unfolded(markdown.render(runs)).count(escape(line)) == 1
    assert "Made with" not in markdown.render([make(seed=0)])


def test_rows_far_below_the_budget_of_their_papers_are_told_of() -> None:
    records = [
        make("began", meters=Meters(1, 64_000, {"G": 1}), facts={"paper_images": 3_200_000}),
        make("gan", meters=Meters(1, 64_000, {"G": 1}), facts={"paper_images": 640_000}),
        make("odd", meters=Meters(1, 64_000, {"G": 1}), facts={"paper_images": "many"}),
    ]
    (told,) = [line for line in unfolded(render(records)).splitlines() if "less than a tenth" in line]
    assert told.endswith("of their papers' runs, as a share: began 2 %")
    assert "less than a tenth" not in unfolded(render(records[1:]))
