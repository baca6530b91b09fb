"""The screen of a sweep fits any terminal, says what has no room, and shows what came from elsewhere as text."""

from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given, strategies as st
from rich.cells import cell_len

from ganbench.cli.screen import clock, cut, facts, listed, packed, running_lines, screen, shortened
from ganbench.results.process import this_process
from ganbench.results.progress import Memory, Plan, PlannedRun, Progress, Running

NOW = datetime.now(UTC)
LONG = "wgan-gp betas=[0.0,0.9] lr=0.0002 penalty=10 folder:/data/a/rather/long/path seed 12"


def sweep(count, names=LONG, waiting=3, **facts):
    runs = [PlannedRun(f"id{n}", f"{names} {n}", n) for n in range(count + waiting)]
    known = {"losses": {"D": 0.123456, "G": 1.5}, "scores": {"fd-classifier": 12.345, "copies": 0.01}, **facts}
    running = [Running(f"id{n}", NOW, "training", 0.25, 6400, 12345.6, 754.0, **known) for n in range(count)]
    plan = Plan(this_process(), NOW, "ganbench run", 4, runs)
    return plan, Progress(NOW, running=running, left=3723.0, memory=Memory(2**31, 2**33, 2**34))


@pytest.mark.parametrize("names", [LONG, "gan", "名前" * 30], ids=("long", "short", "wide"))
def test_it_fits_any_terminal(names):
    for width, height, count in product((1, 10, 30, 79, 80, 99, 200), (1, 5, 10, 23, 60), (0, 1, 4, 30)):
        lines = screen(*sweep(count, names), width, height)
        assert len(lines) <= height and max(map(cell_len, lines)) <= width, (width, height, count)
        assert all("\n" not in line for line in lines)


@pytest.mark.parametrize("width", [79, 99, 199])
def test_a_run_has_all_that_is_known_of_it_in_two_lines_at_most(width):
    plan, progress = sweep(2)
    lines = running_lines(plan, progress, width, 30)
    assert len(lines) == (2 if width >= 140 else 4)
    first = "  ".join(lines[: len(lines) // 2])
    for words in ("wgan-gp", "seed 12 0", "━━━", " 25%", "12:34 left", "12,346 images/s", "loss D 0.1235", "G 1.5"):
        assert words in first
    assert "fd-classifier 12.35" in first and "━" in first and "…" in first


def test_runs_that_have_no_room_are_counted():
    plan, progress = sweep(9)
    assert len(running_lines(plan, progress, 80, 18)) == 18
    assert len(running_lines(plan, progress, 80, 17)) == 9, "a line each"
    few = running_lines(plan, progress, 80, 5)
    assert len(few) == 5 and few[-1] == "… and 5 more"
    assert running_lines(plan, progress, 80, 0) == []


def test_those_that_wait_for_another_command_give_way():
    plan, progress = sweep(2)
    progress.running.insert(0, Running("id3", NOW, "waiting"))
    shown = running_lines(plan, progress, 80, 2)
    assert "12:34 left" in shown[0] and shown[1] == "… and 2 more"
    assert "made elsewhere" in running_lines(plan, progress, 80, 20)[-1]


@pytest.mark.parametrize(
    ("phase", "left", "words"),
    [("starting", None, "starting"), ("scoring", 5.0, "scoring, 0:05"), ("scoring", None, "scoring, …"),
     ("training", None, "… left"), ("training", 0.0, "0:00 left"), ("waiting", None, "made elsewhere")],
)  # fmt: skip
def test_a_run_says_what_it_is_at(phase, left, words):
    plan, progress = sweep(0)
    progress.running.append(Running("id0", NOW, phase, left=left))
    assert running_lines(plan, progress, 79, 5) == [f"{shortened(f'{LONG} 0', 42)}  {'·' * 12}   0%  {words}"]


def test_the_counts_stand_first():
    plan, progress = sweep(2)
    line = screen(plan, Progress(NOW, running=progress.running, ended={"id4": "done"}), 80, 24)[0]
    assert line == "1 of 5 done  2 running  2 waiting  … left", "the ellipsis until it is known"
    ended = {"id2": "error", "id3": "diverged", "id4": "killed"}
    done = Progress(NOW, running=progress.running, ended=ended, left=59.6)
    assert screen(plan, done, 80, 24)[0] == "0 of 5 done  1 diverged  2 failed  2 running  1:00 left"
    assert screen(plan, Progress(NOW, "stopping"), 80, 24)[0].endswith("stopping")
    known = Plan(plan.process, NOW, "", 1, plan.runs, known=7)
    assert screen(known, done, 80, 24)[0].startswith("0 of 5 done, 7 before  1 diverged")
    assert "memory 2.0 GiB, machine 8.0 GiB of 16.0 GiB" in screen(plan, progress, 80, 24)[1]


def test_nothing_that_came_from_elsewhere_steers_a_terminal():
    evil = "a\x1b[31m\x07\r\nb\t\x9b2J\u202e"
    plan, progress = sweep(1, names=evil, losses={evil: "nan"}, scores={evil: "inf"})
    for width in (40, 80, 200):
        for line in [*screen(plan, progress, width, 9), *listed(plan.runs, width, 9)]:
            assert line.isprintable()
    assert "loss a\\x1b[31m\\x07 b \\x9b2J\\u202e nan" in facts(progress.running[0])[1]


def test_what_is_no_number_is_shown_as_such():
    run = Running("a", NOW, losses={"D": "nan", "G": "inf"}, scores={"fid": "-inf"})
    assert facts(run) == ["loss D nan", "G inf", "fid -inf"]


@given(st.text(), st.integers(0, 40))
def test_a_text_keeps_both_ends_and_fits(text, width):
    found = shortened(text, width)
    assert cell_len(found) <= width
    if cell_len(text) <= width:
        assert found == text
    elif width >= 5 and text.isascii():
        head, tail = found.split("…")
        assert text.startswith(head) and text.endswith(tail) and tail and len(found) == width


@given(st.text(), st.integers(-3, 40))
def test_a_cut_text_is_the_longest_beginning_that_fits(text, width):
    found = cut(text, width)
    assert text.startswith(found) and cell_len(found) <= max(0, width)


@given(st.lists(st.text("abc 日", max_size=30), max_size=9), st.integers(1, 40))
def test_parts_are_laid_on_lines_in_their_order(parts, width):
    lines = packed(parts, width)
    assert all(cell_len(line) <= width for line in lines)
    if all(cell_len(part) <= width for part in parts):
        assert "".join(lines).replace(" ", "") == "".join(parts).replace(" ", "")


def test_rows_that_wait_are_named_once():
    runs = [PlannedRun(f"{name}{seed}", f"{name} digits seed {seed}", seed) for seed in (0, 1) for name in "abc"]
    assert listed(runs, 80, 2) == ["  a digits  seeds 0, 1", "  b digits  seeds 0, 1", "  … and 2 more"]
    assert listed(runs[:1], 80, 2) == ["  a digits  seed 0"]


def test_a_clock():
    assert [clock(s) for s in (0, 59.4, 59.6, 3599, 3600, 400_000)] == [
        "0:00", "0:59", "1:00", "59:59", "1:00:00", "111:06:40",
    ]  # fmt: skip
