"""Quality against cost: means, fronts, and who takes no part."""

import random

import pytest

from ganbench.contract.types import Value
from ganbench.results.costs import badness, costs
from ganbench.results.statistics import Score
from ganbench.training.budget import Meters


def run(record, variant, value, flops, seed=0, /, *, higher=False, **more):
    spent = Meters(10, 500, {"D": 10, "G": 10}, flops, flops / 1e6)
    return record(variant, seed, {"fid": [Value(value, {"n": 9}, None, higher)]}, meters=spent, **more)


def front(found):
    return {cost.row for cost in found if cost.on_front}


def test_means_are_those_of_the_table(record):
    records = [
        run(record, "gan", value, flops, seed) for seed, (value, flops) in enumerate([(1, 10), (2, 20), (6, 60)])
    ]
    (cost,) = costs(records, "fid")
    assert (cost.row, cost.cost, cost.value, cost.done, cost.runs) == ("gan", 30, 3, 3, 3)
    assert cost.half_width == pytest.approx(4.302652729749462 * 7**0.5 / 3**0.5)
    assert costs(records, "fid", "images")[0].cost == 500 and costs(records, "fid", "updates")[0].cost == 10
    assert costs(records, "kid") == []


@pytest.mark.parametrize("higher", [False, True])
def test_the_front_is_what_no_other_dominates(record, higher):
    drawn = random.Random(0)
    for _ in range(50):
        points = {f"v{k}": (drawn.randint(1, 6), drawn.randint(1, 6)) for k in range(8)}
        records = [run(record, name, value, flops, higher=higher) for name, (value, flops) in points.items()]
        sign = -1 if higher else 1
        expected = set()
        for name, (value, flops) in points.items():
            better = [
                o for o, (v, f) in points.items()
                if (sign * v < sign * value and f <= flops) or (v == value and f < flops)
            ]  # fmt: skip
            expected |= set() if better else {name}
        assert front(costs(records, "fid")) == expected


def test_a_front_is_of_one_table_and_one_harness(record):
    records = [
        run(record, "best", 1.0, 1.0),
        run(record, "elsewhere", 9.0, 9.0, spec={"batch": 7}),
        run(record, "older", 9.0, 9.0, spec={"numbers": 1}),
        run(record, "beaten", 9.0, 9.0),
    ]
    assert front(costs(records, "fid")) == {"best", "elsewhere", "older (numbers 1)"}


def test_seconds_are_compared_on_one_device(record):
    records = [
        run(record, name, value, value, provenance={"machine": {"device": name}})
        for name, value in (("a", 1.0), ("b", 2.0))
    ]
    assert front(costs(records, "fid")) == {"a"}
    assert front(costs(records, "fid", "seconds")) == {"a on a", "b on b"}


def test_a_row_with_failed_runs_leads_nobody_and_beats_nobody(record):
    lucky = [run(record, "lucky", 1.0, 1.0), record("lucky", 1, status="diverged")]
    found = costs([*lucky, run(record, "whole", 2.0, 2.0)], "fid")
    assert front(found) == {"whole"}
    assert [(cost.row, cost.done, cost.runs) for cost in found] == [("lucky", 1, 2), ("whole", 1, 1)]


def test_controls_have_no_cost(record):
    control = run(record, "real", 0.1, 0.0, variant={"family": "control"})
    assert [cost.row for cost in costs([control, run(record, "gan", 2.0, 2.0)], "fid")] == ["gan"]


def test_where_real_data_are_best_the_distance_counts(record):
    values = {"far": 0.1, "near": 0.42}
    records = [
        record(name, 0, {"ms-ssim": [Value(value, {}, 0.4, None, near_reference=True)]}, meters=Meters(1, 1, {}, 1.0))
        for name, value in values.items()
    ]
    assert front(costs(records, "ms-ssim")) == {"near"}


def test_without_a_direction_there_is_no_front(record):
    records = [run(record, "gan", 1.0, 1.0, higher=None)]
    assert costs(records, "fid")[0].on_front is False
    assert badness(Score("x", {0: Value(1.0)})) is None


def test_of_several_protocols_the_last_one_counts(record):
    def of(name, n, made):
        return record(name, 0, {"fid": [Value(float(n), {"n": n}, None, False)]}, meters=Meters(flops=1.0), made=made)

    found = costs([of("old", 1, "2026-01-01"), of("new", 2, "2026-02-01")], "fid")
    assert [cost.row for cost in found] == ["new"] and found[0].protocol == Value(0.0, {"n": 2}).protocol_hash
