"""Looking at each run: what was seen before a run turned out not to fit counts, and reasons are told by run."""

from types import SimpleNamespace

import pytest

from ganbench import UserError, of_each_run


def lab_of(**rows):
    told = []
    runs = {
        row: [SimpleNamespace(record=SimpleNamespace(spec=SimpleNamespace(seed=seed))) for seed in seeds]
        for row, seeds in rows.items()
    }
    return SimpleNamespace(rows=runs, tell=told.append), told


def look(row, made):
    if row == "odd":
        raise UserError("it does not fit")
    yield f"{row} {made.record.spec.seed}"
    if made.record.spec.seed == 1:
        raise ArithmeticError("not finite")
    yield "more"


def test_rows_and_seeds_are_seen_in_their_order_and_who_has_no_part_is_named():
    lab, told = lab_of(gan=[0, 1], odd=[0], wgan=[2])
    seen, left_out = of_each_run(lab, look)
    assert [(row, made.record.spec.seed, item) for row, made, item in seen] == [
        ("gan", 0, "gan 0"),
        ("gan", 0, "more"),
        ("gan", 1, "gan 1"),
        ("wgan", 2, "wgan 2"),
        ("wgan", 2, "more"),
    ]
    assert left_out == {"gan, seed 1": "not finite", "odd, seed 0": "it does not fit"}
    assert told == ["gan, seed 0", "gan, seed 1", "odd, seed 0", "wgan, seed 2"]


def test_nothing_seen_is_one_sentence_and_a_mistake_is_none_of_a_run():
    with pytest.raises(UserError, match=r"^no run has a part \(it does not fit\)$"):
        of_each_run(lab_of(odd=[0, 1, 2])[0], look)
    with pytest.raises(KeyError):
        of_each_run(lab_of(gan=[0])[0], lambda row, made: {}[row])
