"""Budgets: what is accepted, what is refused in one sentence, and how a budget is written."""

from __future__ import annotations

from typing import Any

import pytest

from ganbench.errors import UserError
from ganbench.training.budget import Budget, Meters


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("200k-images", 200_000, "images"),
        ("2000-updates", 2_000, "updates"),
        ("3e15-flops", 3e15, "flops"),
        ("90-seconds", 90, "seconds"),
        ("0.5-seconds", 0.5, "seconds"),
        ("3t-flops", 3e12, "flops"),
        ("2M-images", 2_000_000, "images"),
        (" 1 image ", 1, "images"),
        ("1_000 updates", 1_000, "updates"),
        ("1.5k-images", 1_500, "images"),
        ("1.001k-images", 1_001, "images"),
        ("0.0003M-images", 300, "images"),
    ],
)
def test_amount_suffix_and_unit_are_read(text: str, amount: float, unit: str) -> None:
    budget = Budget.parse(text)
    assert (budget.amount, budget.unit) == (amount, unit)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("0-images", "not more than zero"),
        ("-5-images", "not more than zero"),
        ("1e-400-seconds", "not more than zero"),
        ("1e400-flops", "too large"),
        ("200k", "has no unit"),
        ("200", "has no unit"),
        ("90-minutes", "has the unit 'minutes'"),
        ("90minutes", "has the unit 'minutes'"),
        ("5 tons", "has the unit 'tons'"),
        ("1.5-images", "not a whole number of images"),
        ("0.1-updates", "not a whole number of updates"),
        ("1..2-images", "'1..2' is not a number"),
        ("nan-images", "not an amount and a unit"),
        ("inf-seconds", "not an amount and a unit"),
        ("images", "not an amount and a unit"),
        ("", "not an amount and a unit"),
    ],
)
def test_what_is_no_budget_is_refused_with_an_example(text: str, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        Budget.parse(text)
    message = str(caught.value)
    assert complaint in message and repr(text) in message and "200k-images" in message and "\n" not in message


@pytest.mark.parametrize(
    ("text", "images"),
    [("25-epochs", 1_500_000), ("1 epoch", 60_000), ("0.5-epochs", 30_000), ("1e-9-epochs", 1), ("2k-epochs", 12e7)],
)
def test_epochs_are_so_many_times_the_training_images(text: str, images: float) -> None:
    assert Budget.parse(text, 60_000) == Budget(images, "images")


def test_other_units_are_what_they_are_where_an_epoch_is_known() -> None:
    for text in ("200k-images", "3-updates", "1e308-flops", "0.5-seconds"):
        assert Budget.parse(text, 60_000) == Budget.parse(text)


@pytest.mark.parametrize(
    ("text", "epoch", "complaint"),
    [
        ("25-epochs", 0, "has the unit 'epochs'"),
        ("0-epochs", 100, "not more than zero"),
        ("1e308-epochs", 100, "too large"),
    ],
)
def test_epochs_that_are_no_number_of_images_are_refused(text: str, epoch: int, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Budget.parse(text, epoch)


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        (Budget(200_000, "images"), "200k-images"),
        (Budget(2_000_000, "updates"), "2M-updates"),
        (Budget(1_001, "images"), "1001-images"),
        (Budget(3e15, "flops"), "3e15-flops"),
        (Budget(90, "seconds"), "90-seconds"),
        (Budget(0.1, "seconds"), "0.1-seconds"),
    ],
)
def test_a_budget_is_written_shortly(budget: Budget, text: str) -> None:
    assert str(budget) == text


@pytest.mark.parametrize("amount", [1, 7, 64, 1_000, 1_500, 1_234_567_890_123, 10**15 + 1, 123_456_789_012_345_678])
@pytest.mark.parametrize("unit", ["images", "flops", "seconds"])
def test_what_is_written_reads_as_the_same_budget(amount: int, unit: Any) -> None:
    budget = Budget(amount, unit)
    assert Budget.parse(str(budget)) == budget


def test_different_budgets_are_written_differently() -> None:
    assert str(Budget(1_234_567_890_123, "images")) != str(Budget(1_234_567_890_124, "images"))
    assert str(Budget(1 / 3, "seconds")) != str(Budget(0.333333333333, "seconds"))


@pytest.mark.parametrize(("unit", "spent"), [("images", 640), ("updates", 2), ("flops", 1e9), ("seconds", 1.5)])
def test_each_currency_is_read_from_its_meter(unit: Any, spent: float) -> None:
    meters = Meters(steps=10, images=640, updates={"D": 10, "G": 2}, flops=1e9, seconds=1.5, peak_bytes=7)
    assert Budget(1, unit).spent(meters) == spent


def test_stages_of_the_generator_count_as_its_updates() -> None:
    updates = {"D": 10, "G": 2, "G_manifold": 3, "Generous": 50}
    assert Meters(updates=updates).updates_of_generator == 5
    assert Budget(1, "updates").spent(Meters(updates=updates)) == 5
    assert Meters(updates={"D": 10}).updates_of_generator is None


def test_updates_are_those_of_the_player_g() -> None:
    assert Budget(1, "updates").spent(Meters(updates={"D": 10})) == 0
