"""What a protocol is, and what differs between two."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from ganbench.contract.types import Value
from ganbench.errors import UserError
from ganbench.reports.explain import compare, explain, find, protocols_in
from ganbench.results.record import RunRecord

Make = Callable[..., RunRecord]
ONE = {"n_fake": 100, "split": "test", "window": {"taps": 11}}
OTHER = {"n_fake": 200, "split": "test", "dtype": "float|64"}


def hash_of(protocol: dict[str, object]) -> str:
    return Value(0.0, protocol).protocol_hash


@pytest.fixture
def records(record: Make) -> list[RunRecord]:
    return [
        record("gan", 0, {"fid": Value(1.0, ONE)}),
        record("gan", 1, {"fid": [Value(1.0, ONE), Value(2.0, OTHER)]}),
        record("wgan", 0, {"kid": Value(1.0, ONE)}, spec={"dataset": "mnist"}),
    ]


def test_a_protocol_is_told_with_where_it_was_used(records: list[RunRecord]) -> None:
    text = explain(protocols_in(records), hash_of(ONE))
    assert text.startswith(f"### Protocol {hash_of(ONE)}\n\nUsed for fid on digits (2 runs), kid on mnist (1 run)\n")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert lines[2:] == [["n_fake", "100"], ["split", "test"], ["window.taps", "11"]]


def test_only_what_differs_is_told_of_two(records: list[RunRecord]) -> None:
    text = compare(protocols_in(records), hash_of(ONE), hash_of(OTHER))
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert cells[0] == ["fact", hash_of(ONE), hash_of(OTHER)]
    assert cells[2:] == [["dtype", "–", r"float\|64"], ["n_fake", "100", "200"], ["window.taps", "11", "–"]]
    assert "The same in both: 1 fact." in text and f"- {hash_of(OTHER)}: fid on digits (1 run)\n" in text
    assert "They do not differ." in compare(protocols_in(records), hash_of(ONE), hash_of(ONE))


def test_the_first_digits_are_enough_where_they_are_of_one(records: list[RunRecord]) -> None:
    known = protocols_in(records)
    assert find(known, hash_of(ONE)[:3]) == find(known, f" {hash_of(ONE).upper()} ") == hash_of(ONE)
    with pytest.raises(
        UserError, match=rf"no result was measured under a protocol 'zz'; there are .*{hash_of(ONE)} \(fid"
    ):
        find(known, "zz")
    with pytest.raises(UserError, match="no result was measured"):
        find(known, "")
    alike = {"ab1": known[hash_of(ONE)], "ab2": known[hash_of(ONE)]}
    with pytest.raises(UserError, match="ab begins 2 protocols: ab1, ab2; write more of it"):
        find(alike, "ab")
