"""One table: which columns and rows stand in it, in which order, what is marked, and what the notes say."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from ganbench import NUMBERS
from ganbench.contract.types import CONTROL, Value
from ganbench.errors import UserError
from ganbench.reports import markdown
from ganbench.reports.table import WIDTH, Table, tables
from ganbench.reports.view import View
from ganbench.results.record import RunRecord
from ganbench.results.rows import rows
from ganbench.results.store import ResultStore
from ganbench.training.budget import Budget, Meters

Make = Callable[..., RunRecord]
P = {"n_fake": 100, "n_real": 100}
RESULTS = Path(__file__).parents[2] / "results" / "published"
FOLDERS = sorted({path.relative_to(RESULTS).parts[0] for path in RESULTS.rglob("seed*.json")})


def drawn(records: Sequence[RunRecord], **how: Any) -> Table:
    view = View(**how)
    (table,) = tables(rows(records, runs=view.runs), view)
    return table


def heads(table: Table) -> list[str]:
    return [column.head for column in table.columns]


def labels(table: Table) -> list[str]:
    return [line.label for line in table.lines]


def cell(table: Table, label: str, head: str) -> str:
    column = next(column for column in table.columns if column.head == head)
    return column.cells[labels(table).index(label)].text


def note(table: Table, start: str) -> str:
    (found,) = [text for text in table.notes if text.startswith(start)]
    return found


# Width


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_tables_of_this_repository_are_no_wider_than_a_terminal(folder: str) -> None:
    text = markdown.render(ResultStore(RESULTS / folder).summaries(curves=False)[0])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines and max(map(len, lines)) <= WIDTH


@pytest.mark.parametrize("name", [5, 24, 40])
@pytest.mark.parametrize("metrics", [1, 5, 9])
def test_a_table_is_as_wide_as_a_terminal_at_most_and_says_what_it_left_out(
    name: int, metrics: int, record: Make
) -> None:
    names = [f"a-metric-{number}" for number in range(metrics)]
    records = [
        record(
            "v" * name, seed, {name: Value(1000.5 + seed, P, None, True) for name in names}, variant={"headline": names}
        )
        for seed in range(3)
    ]
    text = markdown.render(records)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert max(map(len, lines)) <= WIDTH
    shown = [head.strip() for head in lines[0].split("|")[2:-1]]
    left_out = re.search(r"- No room for (.*): see --columns all", re.sub(r"\n  ", " ", text))
    assert shown[0] == "a-metric-0↑"
    assert [*shown, *(left_out[1].split(", ") if left_out else [])] == [*(f"{each}↑" for each in names), "time"]
    every = markdown.render(records, view=View(columns=("all",)))
    assert all(f"{each}↑" in every for each in names) and "No room" not in every


def test_five_metrics_have_room_beside_the_longest_name_of_the_zoo(record: Make) -> None:
    metrics = {"fid": 12.34, "kid": 0.0123, "precision": 0.612, "recall": 0.41, "ms-ssim": 0.3251}
    records = [
        record(
            "minibatch-discrimination",
            seed,
            {name: Value(number * (1 + seed / 50), P) for name, number in metrics.items()},
        )
        for seed in range(3)
    ]
    records = [replace(each, variant={"headline": list(metrics)}) for each in records]
    assert heads(drawn(records))[:5] == list(metrics)
    assert cell(drawn(records), "minibatch-discrimination", "precision") == "0.62 ± 0.03"
    assert cell(drawn(records, columns=("precision",)), "minibatch-discrimination", "precision") == "0.624 ± 0.030"


def test_what_rows_are_sorted_by_is_never_left_out(record: Make) -> None:
    names = [f"a-long-metric-{number}" for number in range(9)]
    records = [record("gan", 0, {name: Value(1.0, P) for name in names})]
    assert {"time", "memory", "a-long-metric-8"} & {each.name for each in drawn(records).columns} == set()
    for by in ("time", "memory", "a-long-metric-8"):
        assert by in {each.name for each in drawn(records, sort=by).columns}


# Columns


def test_companions_stand_in_the_table_where_they_are_asked_for(record: Make) -> None:
    names = ("modes", "modes-5", "grad-norm-g", "grad-norm-g-trend", "fid-768")
    records = [record("gan", 0, {name: Value(1.0, P) for name in names})]
    table = drawn(records)
    assert heads(table) == ["fid-768", "modes", "grad-norm-g", "time"]
    assert note(table, "Also measured") == "Also measured: grad-norm-g-trend, modes-5 (--columns all)"
    assert heads(drawn(records, columns=("modes-5", "memory", "fid-768"))) == ["modes-5", "fid-768", "memory"]
    every = heads(drawn(records, columns=("all",)))
    assert set(names) < set(every) and every[-6:] == ["images", "D updates", "G updates", "FLOPs", "time", "memory"]


def test_the_metrics_that_were_asked_for_stand_first_in_their_order(record: Make) -> None:
    values = {name: Value(1.0, P) for name in ("fid", "fid-768", "ms-ssim", "zebra")}
    listed = record("gan", 0, values, variant={"headline": ["zebra", "fid-768", "absent"]})
    assert heads(drawn([listed])) == ["zebra", "fid-768", "time"]
    more = record("wgan", 0, values, variant={"headline": ["ms-ssim", "zebra"]})
    assert heads(drawn([listed, more])) == ["zebra", "fid-768", "ms-ssim", "time"]
    odd = record("wgan", 0, values, variant={"headline": "fid"})
    assert heads(drawn([odd])) == ["fid", "ms-ssim", "zebra", "time"]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"columns": ("fdi",)}, "--columns fdi: no such column: did you mean 'fid'\\?; there are fid, images, .*, all"),
        ({"sort": "fdi"}, "--sort fdi: no such column: did you mean 'fid'\\?; there are fid, images, .*, variant"),
    ],
)
def test_a_column_that_is_not_there_is_told_with_those_that_are(how: Any, told: str, record: Make) -> None:
    with pytest.raises(UserError, match=told):
        markdown.render([record("gan", 0, {"fid": Value(1.0, P)})], view=View(**how))


# Order


def test_the_best_comes_first_then_rows_without_a_value_then_controls_then_real_data(record: Make) -> None:
    def fid(number: float) -> dict[str, Value]:
        return {"fid": Value(number, P, 0.5, False), "modes": Value(number, P, None, True)}

    records = [
        record("best", 0, fid(1.0)),
        record("a-failed", 0, status="error"),
        record("worst", 0, fid(9.0)),
        record("middle", 0, fid(5.0)),
        record("real", 0, fid(0.4), variant={"family": CONTROL}),
    ]
    assert labels(drawn(records)) == ["best", "middle", "worst", "a-failed", "real", "real data"]
    assert labels(drawn(records, sort="modes")) == ["worst", "middle", "best", "a-failed", "real", "real data"]
    assert labels(drawn(records, sort="variant")) == ["a-failed", "best", "middle", "worst", "real", "real data"]


def test_stale_rows_come_after_those_of_today_best_first_as_well(record: Make) -> None:
    old = {"numbers": NUMBERS - 1}
    records = [
        record("gan", 0, {"fid": Value(9.0, P, None, False)}),
        record("wgan", 0, {"fid": Value(2.0, P, None, False)}, spec=old),
        record("began", 0, {"fid": Value(1.0, P, None, False)}, spec=old),
    ]
    assert labels(drawn(records)) == ["gan", f"began ‡{NUMBERS - 1}", f"wgan ‡{NUMBERS - 1}"]
    assert labels(drawn(records[1:])) == ["began", "wgan"]
    assert note(drawn(records[1:]), "All rows are of numbers").startswith(
        f"All rows are of numbers {NUMBERS - 1}: made by"
    )


def test_nobody_is_first_for_beating_real_data(record: Make) -> None:
    for stale in ({}, {"numbers": NUMBERS - 1}):
        records = [
            record(name, 0, {"ms-ssim": Value(number, P, 0.30, False, near_reference=True)}, spec=stale)
            for name, number in (("below", 0.05), ("near", 0.33), ("above", 0.40))
        ]
        assert labels(drawn(records))[:3] == ["near", "above", "below"]


def test_meters_sort_from_the_least(record: Make) -> None:
    records = [
        record(name, 0, {"fid": Value(1.0, P)}, meters=Meters(10, 640, {"G": 10}, 1e12, seconds, 100))
        for name, seconds in (("slow", 90.0), ("fast", 5.0), ("medium", 30.0))
    ]
    assert labels(drawn(records, sort="time")) == ["fast", "medium", "slow"]


# Labels and marks


def test_rows_of_averaged_weights_are_marked_with_their_half_life(record: Make) -> None:
    def of(weights: str, number: float) -> Value:
        return Value(number, P, None, False, weights=weights)

    r1 = record(
        "r1",
        0,
        {"fid": of("ema", 1.0)},
        sampling={"ema": {"half_life_images": 44_000, "at_most": "5% of the images served"}},
    )
    former = {"weights": "average, half-life 5e+06 images or 5% of those served"}
    r3 = record("r3gan", 0, {"fid": of("ema", 2.0)}, sampling={"ema": former})
    gan = record("gan", 0, {"fid": of("raw", 3.0)}, sampling={"raw": {}})
    table = drawn([r1, r3, gan])
    assert labels(table) == ["r1 ema", "r3gan ema", "gan"]
    half_lives = "half-life 44,000 images or 5% of the images served (r1); 5,000,000 images (r3gan)"
    assert note(table, "ema:") == f"ema: samples of averaged weights, {half_lives}"
    assert not any("ema" in text for text in drawn([gan]).notes)
    both = record("r1", 0, {"fid": [of("ema", 1.0), of("raw", 2.0)]}, sampling={"ema": {}, "raw": {}})
    assert labels(drawn([both])) == ["r1 ema", "r1 raw"]
    assert note(drawn([both]), "ema:").endswith("half-life not recorded")


def test_options_stand_under_the_table_by_letters(record: Make) -> None:
    options = [{}, {"lr": 1.0}, {"lr": 1.0}, {"lr": 2.0}]
    records = [
        record(name, 0, {"fid": Value(float(number), P, None, False)}, spec={"options": of})
        for number, (name, of) in enumerate(zip(("gan", "gan", "wgan", "gan"), options, strict=True))
    ]
    table = drawn(records)
    assert labels(table) == ["gan", "gan (a)", "wgan (a)", "gan (b)"]
    assert list(table.notes[:2]) == ["(a) lr=1.0", "(b) lr=2.0"]


def test_there_are_letters_for_any_number_of_options(record: Make) -> None:
    records = [
        record("gan", 0, {"fid": Value(n / 1000, P, None, False)}, spec={"options": {"n": n}}) for n in range(60)
    ]
    found = labels(drawn(records))
    assert len(set(found)) == 60 and found[0] == "gan (a)" and found[26] == "gan (aa)" and found[52] == "gan (ba)"


# What was measured


def test_two_protocols_of_a_metric_stand_apart_and_the_last_measured_comes_first(record: Make) -> None:
    new = {**P, "metric": "fid@2"}
    records = [
        record("gan", 0, {"fid": Value(3.0, P, None, False)}, made="2026-01-01T00:00:00+00:00"),
        record("wgan", 0, {"fid": Value(9.0, new, None, False)}, made="2026-02-01T00:00:00+00:00"),
    ]
    for order in (records, records[::-1]):
        table = drawn(order)
        old_hash, new_hash = (Value(0.0, protocol).protocol_hash for protocol in (P, new))
        assert heads(table)[:2] == [f"fid↓ {new_hash[:4]}", f"fid↓ {old_hash[:4]}"]
        assert labels(table) == ["wgan", "gan"]  # a small number of another protocol is no better
        said = note(table, "fid was measured")
        assert f"(the newest is {new_hash})" in said and f"ganbench explain {new_hash} {old_hash}" in said
    undated = drawn([replace(each, made="") for each in records])
    assert "newest" not in note(undated, "fid was measured")


def test_headings_show_as_many_digits_as_tell_protocols_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    from ganbench.reports.grid import Column, heading

    column = Column("fid", "abcdef01", [])
    assert heading(column, ["abcdef01"]) == "fid"
    assert heading(column, ["abcdef01", "12345678"]) == "fid abcd"
    assert heading(column, ["abcdef01", "abcdef02"]) == "fid abcdef01"
    assert heading(column, ["abcdef01", "abcde002"]) == "fid abcdef"


def test_real_data_have_the_interval_of_their_draws(record: Make) -> None:
    draws = (1.0, 1.5, 1.25, 0.8)
    value = Value(9.0, P, math.fsum(draws) / 4, False, references=draws)
    table = drawn([record("gan", seed, {"fid": value}) for seed in range(3)])
    low, high = stats.t.interval(0.95, 3, loc=1.1375, scale=stats.sem(draws))
    assert cell(table, "real data", "fid↓") == f"{1.1375:.2f} ± {(high - low) / 2:.2f}"
    alone = drawn([record("gan", 0, {"fid": Value(9.0, P, 1.25, False)})])
    assert cell(alone, "real data", "fid↓") == "1.25"
    exact = Value(7.0, P, 7.9375, True, is_exact=True)
    assert cell(drawn([record("gan", 0, {"modes": exact})]), "real data", "modes↑") == "7.938 exact"


@pytest.mark.parametrize(
    ("protocol", "marked"),
    [
        ({"n_fake": 359, "n_real": 5000, "features": 2048}, True),
        ({"n_fake": 5000, "n_real": 359, "features": 2048}, True),
        ({"n_fake": 2048, "n_real": 2048, "features": 2048}, False),
        ({"n_fake": 359, "n_real": 359, "embedding": "2048, mean over the image"}, True),
        ({"n_fake": 359, "n_real": 359, "embedding": "penultimate, 64"}, False),
        ({"n_fake": 359, "n_real": 359}, False),
    ],
)
def test_a_frechet_distance_of_fewer_samples_than_features_is_marked(protocol: Any, marked: bool, record: Make) -> None:
    rule = {**protocol, "statistics": "mean and covariance with 1/(n-1), float64"}
    table = drawn([record("gan", 0, {"fid": Value(1.0, rule, None, False), "kid": Value(1.0, protocol, None, False)})])
    assert heads(table)[:2] == ["fid↓ §" if marked else "fid↓", "kid↓"]
    assert any(text.startswith("§ fid↓: 359 samples for 2,048 features") for text in table.notes) == marked


def test_the_legend_is_a_line_a_metric_and_whole_where_that_is_asked_for(record: Make) -> None:
    rule = {"n_fake": 1000, "n_real": 2000, "reference": "test split", "extractor": "inception", "features": 2048}
    shares = {"n_fake": 1000, "counted": "a rule " * 100, "data": "abc"}
    records = [
        record("gan", 0, {"fid": Value(1.0, rule, None, False), "modes": Value(1.0, shares), "loss": Value(1.0)})
    ]
    hashes = [Value(0.0, protocol).protocol_hash for protocol in (rule, shares, {})]
    first, second, third = drawn(records).legend
    assert first == f"fid↓ ({hashes[0]}): 1,000 samples against 2,000 real (test split) by inception (2048)"
    assert second.startswith(f"modes ({hashes[1]}): 1,000 samples; a rule a rule") and len(second) < 140
    assert third == f"loss ({hashes[2]}): its protocol says nothing"
    whole = drawn(records, protocols=True).legend
    assert whole[0].startswith(f"fid↓, protocol {hashes[0]}: extractor=inception features=2048 n_fake=1000 n_real=2000")
    assert len(whole[1]) > 700


# Spread


def test_from_eight_seeds_on_the_interquartile_mean_stands_beside(record: Make) -> None:
    numbers = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 80.0]
    values = [{"fid": Value(number, P, None, False), "kid": Value(number, P)} for number in numbers]
    records = [record("gan", seed, of) for seed, of in enumerate(values)]
    table = drawn(records)
    assert heads(table) == ["fid↓", "fid IQM", "kid", "time"]
    text = cell(table, "gan", "fid IQM")
    assert float(text.split()[0]) == pytest.approx(stats.trim_mean(numbers, 0.25), abs=0.5)
    low, high = (float(part) for part in re.findall(r"\[(.*), (.*)\]", text)[0])
    assert 1.0 <= low < 4.5 < high <= 80.0
    assert "kid IQM" in heads(drawn(records, columns=("all",)))
    assert not any("IQM" in head for head in heads(drawn(records[:7])))


def test_the_spread_of_evaluation_is_told_apart_from_that_of_seeds(record: Make) -> None:
    repeats = [(1.0, 1.2, 0.8), (3.0, 3.1, 2.9), (5.0, 5.2, 4.8)]
    records = [
        record("gan", seed, {"fid": Value(sum(of) / 3, P, None, False, repeats=of)}) for seed, of in enumerate(repeats)
    ]
    within = math.sqrt(sum(stats.tvar(of) for of in repeats) / 3)
    between = math.sqrt(stats.tvar([sum(of) / 3 for of in repeats]) - within**2 / 3)
    said = note(drawn(records), "fid, standard deviation between training seeds / evaluations")
    assert said.endswith(f": gan {between:.2g} / {within:.2g}")
    plain = drawn([record("gan", seed, {"fid": Value(float(seed), P)}) for seed in range(3)])
    assert not any("standard deviation" in text for text in plain.notes)


# Published numbers


def test_published_numbers_stand_under_their_variant_with_an_interval_where_one_can_be_made(record: Make) -> None:
    said = {"values": {"fid": [10.0, 0.5, 10, "standard error"], "kid": [3.0, 0.2]}, "source": "Somebody 2020"}
    records = [
        record("gan", 0, {"fid": Value(9.0, P, None, False), "kid": Value(1.0, P), "is": Value(1.0, P)},
               variant={"published": said}),
        record("wgan", 0, {"fid": Value(8.0, P, None, False)}),
    ]  # fmt: skip
    table = drawn(records)
    assert labels(table) == ["wgan", "gan", "published"] and table.lines[2].kind == "published"
    assert cell(table, "published", "fid↓") == f"10.0 ± {0.5 * stats.t.ppf(0.975, 9):.1f}"
    assert cell(table, "published", "kid") == "3 (0.2)" and cell(table, "published", "is") == "–"
    assert note(table, "Published: Somebody 2020") and note(table, "In brackets beside a published number")


# Captions


def test_a_table_of_controls_does_not_say_that_they_were_served_images(record: Make) -> None:
    controls = [record(name, 0, {"fid": Value(1.0, P)}, variant={"family": CONTROL}) for name in ("real", "memorizer")]
    table = drawn(controls)
    assert table.caption.startswith("Controls, which are not trained. ") and "served" not in table.caption
    assert not any(text.startswith("Controls") for text in table.notes)
    mixed = drawn([*controls, record("gan", 0, {"fid": Value(2.0, P)})])
    assert "every variant was served 640 real images" in mixed.caption
    assert note(mixed, "Controls") == "Controls, which are not trained: memorizer, real"


def test_points_have_no_size(record: Make) -> None:
    spec = {"dataset": "ring", "size": 0}
    assert drawn([record(spec=spec)]).title == "ring, dcgan, batch 64, 640-images, fp32"
    assert drawn([record()]).title.startswith("digits, 8 px, ")


def test_images_have_a_column_where_the_budget_does_not_fix_them(record: Make) -> None:
    spec = {"budget": Budget(10, "updates")}
    critic = Meters(10, 3200, {"D": 50, "G": 10}, 1e12, 90.0, 2**29)
    same = [record("gan", spec=spec), record("wgan", spec=spec)]
    assert heads(drawn(same)) == ["time"]
    assert heads(drawn([same[0], record("wgan", spec=spec, meters=critic)])) == ["images", "time"]


def test_many_seeds_are_named_by_the_first_and_the_last(record: Make) -> None:
    table = drawn([record("gan", seed, {"fid": Value(float(seed), P)}) for seed in range(12)])
    assert "Seeds 0 to 11; means over seeds" in table.caption


def test_runs_that_ended_alike_are_one_note(record: Make) -> None:
    failed = [record("gan", seed, status="diverged", error="the loss of D is NaN") for seed in (1, 2)]
    table = drawn([record("gan", 0, {"fid": Value(1.0, P)}), *failed])
    assert cell(table, "gan", "runs") == "1/3"
    assert note(table, "gan seeds") == "gan seeds 1, 2: diverged (the loss of D is NaN)"


# Notes of many rows


def test_a_reason_that_rows_share_is_told_once(record: Make) -> None:
    why = {"fid": "no weights"}
    some = [record(name, seed, unscored=why) for name in ("gan", "lsgan") for seed in (0, 1)]
    half = [record("wgan", 0, {"fid": Value(1.0, P)}), record("wgan", 1, unscored={"fid": "it broke"})]
    told = drawn([*some, *half]).notes
    assert "No fid (no weights): gan, lsgan" in told
    assert "wgan seed 1: no fid (it broke), 1 of 2 seeds used" in told
    assert sum("no weights" in text for text in told) == 1


def test_spreads_of_many_rows_are_a_range(record: Make) -> None:
    def rows_of(count: int) -> list[RunRecord]:
        return [
            record(f"v{number}", seed, {"fid": Value(10.0 * number + seed, P, spread=0.5 + number)})
            for number in range(count)
            for seed in (0, 1, 2)
        ]

    start = "fid, standard deviation between training seeds / evaluations"
    assert "v1 " in note(drawn(rows_of(2)), start)
    many = note(drawn(rows_of(9)), start)
    assert many.endswith("/ 0.5 to 8.5") and "v1" not in many
    certain = [record("gan", seed, {"copies": Value(0.0, P, spread=0.0)}) for seed in (0, 1)]
    assert not [text for text in drawn(certain).notes if "standard deviation" in text]


def test_a_variant_that_is_another_one_by_default_says_so(record: Make) -> None:
    fgan = {"equals": "by default it is gan"}
    values = {"fid": Value(1.0, P)}
    told = drawn([record("fgan", 0, values, variant=fgan), record("gan", 0, values)]).notes
    assert "fgan: by default it is gan" in told
    other = record("fgan", 0, values, variant=fgan, spec={"options": {"divergence": "kl"}})
    assert not [text for text in drawn([other, record("gan", 0, values)]).notes if "by default" in text]


def test_a_way_back_stands_beside_its_metric_and_companions_do_not(record: Make) -> None:
    names = ("pixel-error", "pixel-error-back", "grad-norm-g", "grad-norm-g-trend", "kid@x", "kid-back@x", "kid-more@x")
    asked = {"headline": ["pixel-error", "kid@x", "grad-norm-g"]}
    table = drawn([record("gan", 0, {name: Value(1.0, P) for name in names}, variant=asked)])
    assert heads(table)[:5] == ["pixel-error", "pixel-error-back", "kid@x", "kid-back@x", "grad-norm-g"]
    assert "grad-norm-g-trend" not in heads(table)


# Devices


def test_a_note_names_the_devices_where_there_are_several_and_times_are_of_one(record: Make) -> None:
    def on(variant: str, seed: int, device: str, seconds: float, **more: Any) -> RunRecord:
        spent = Meters(10, 640, {"D": 10, "G": 10}, 1e12, seconds, 2**29)
        return record(variant, seed, meters=spent, provenance={"machine": {"device": device}, **more})

    table = drawn(
        [
            *(on("gan", seed, device, seconds) for seed, device, seconds in ((0, "H100", 60), (1, "H100", 120))),
            on("gan", 2, "cpu (2 cores)", 3600),
            on("wgan", 0, "cpu (2 cores)", 600, at_once=2),
            on("lsgan", 0, "cpu", 600, devices=["H100", "cpu"]),
        ]
    )
    assert note(table, "time and memory: ") == (
        "time and memory: on H100: gan (seeds 0, 1); on several, not told: lsgan; "
        "on cpu (2 cores), 2 runs at a time: wgan"
    )
    assert note(table, "lsgan, seed 0: ") == "lsgan, seed 0: begun on H100, continued on cpu"
    assert cell(table, "gan", "time") == "1.5 min" and cell(table, "wgan", "time") == "10.0 min"
    assert cell(table, "lsgan", "time") == "–"


def test_there_is_no_such_note_where_all_runs_are_of_one_device(record: Make) -> None:
    alike = {"provenance": {"machine": {"device": "H100"}, "at_once": 1}}
    table = drawn([record(name, seed, **alike) for name in ("gan", "wgan") for seed in range(2)])
    assert not [text for text in table.notes if text.startswith("time and memory")]
