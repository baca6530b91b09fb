"""What an experiment may return is kept as it is, and what is no finding is told in one sentence."""

from __future__ import annotations

import enum
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from ganbench import Claim, Experiment, Finding, Table, UserError
from ganbench.runs.checked import checked

FIGURE = Figure(), "a caption"


class Kind(str, enum.Enum):  # noqa: UP042 - as many still write it
    ONE = "one"


def finding(**changes: Any) -> Finding:
    return Finding(**{"tables": (), "measured": (), "claims": (), "figures": {}, **changes})


def test_a_finding_of_numpy_and_torch_becomes_plain_numbers_and_no_number_is_changed():
    row = {"a": np.float32(0.1), "b": np.float64(math.pi), "c": np.int64(-3), "d": np.bool_(False),
           "e": torch.tensor(2.5), "f": None, "g": True, "h": Kind.ONE, "i": float("nan"), "j": -math.inf}  # fmt: skip
    (found,) = checked("mine", finding(measured=[row])).measured
    assert {key: type(value) for key, value in found.items()} == {
        "a": float, "b": float, "c": int, "d": bool, "e": float, "f": type(None), "g": bool, "h": str, "i": float,
        "j": float,
    }  # fmt: skip
    assert found["a"] == float(np.float32(0.1)) and found["b"] == math.pi and found["h"] == "one"
    assert math.isnan(found["i"]) and found["j"] == -math.inf


def test_what_any_process_can_be_handed_comes_out():
    protocol = {"rate": np.float32(0.5), 3: {"of": (1, np.int64(2)), "f": lambda: 0, "x": math.inf}, "s": {1}}
    found = checked("mine", finding(protocol=protocol, left_out={"a": UserError("why")}, notes=iter(["n"])))
    assert found.protocol["rate"] == 0.5 and found.protocol["3"]["of"] == [1, 2] and found.protocol["s"] == [1]
    assert found.protocol["3"]["x"] == math.inf and found.left_out == {"a": "why"} and found.notes == ["n"]
    assert pickle.loads(pickle.dumps(found)) == found


def test_tables_and_claims_are_for_people():
    tables = [Table("T", ("a", "b"), [(1, 0.5), ["x", None]])]
    claims = [Claim("s", "f", np.bool_(True)), Claim("s", "f", None, "r")]
    found = checked("mine", finding(tables=tables, claims=claims))
    assert found.tables == [Table("T", ["a", "b"], [["1", "0.5"], ["x", "None"]])]
    assert [claim.holds for claim in found.claims] == [True, None] and found.claims[0].holds is True


@pytest.mark.parametrize("name", ["gradients", "a", "1-2_3.x", "A" * 100])
def test_names_of_figures_that_are_files(name):
    assert list(checked("mine", finding(figures={name: FIGURE})).figures) == [name]


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "", ".hidden", "a b", "ü", "A" * 101, "x\n", 3, "-x"])
def test_a_figure_whose_name_leads_elsewhere_is_refused(name):
    with pytest.raises(UserError, match=r"a figure is called .*: write letters, digits, hyphens and dots") as told:
        checked("mine", finding(figures={name: FIGURE}))
    assert "the finding of 'mine' cannot be kept" in str(told.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tables": None}, "its tables are None instead of a list"),
        ({"tables": [["a"]]}, r"among its tables is \['a'\] instead of a ganbench.Table"),
        ({"tables": [Table("T", ["a", "b"], [["1", "2"], ["3"]])]}, r"'T' has 2 columns, and a row of 1: \['3'\]"),
        ({"measured": {"a": 1}}, "its measured are"),
        ({"measured": [{"a": 1}, [2]]}, r"row 2 of what was measured is \[2\] instead of a mapping"),
        ({"measured": [{"a": 1}, {"b": [1]}]}, r"in row 2, 'b' is \[1\], no number, text, truth value or None"),
        ({"measured": [{"b": torch.ones(2)}]}, r"in row 1, 'b' is tensor.*, no number"),
        ({"claims": ["it holds"]}, "among its claims is 'it holds' instead of a ganbench.Claim"),
        ({"claims": [Claim("said", "f", "yes")]}, "'said' has holds='yes': write True, False or None"),
        ({"figures": [FIGURE]}, "its figures are .* instead of a mapping"),
        ({"figures": {"a": FIGURE[0]}}, "the figure 'a' is .* instead of a Figure with its caption"),
        ({"figures": {"a": FIGURE, "A": FIGURE}}, "two figures are called 'A'"),
        ({"left_out": ["gan"]}, "its left_out are"),
        ({"notes": "one"}, "its notes are 'one' instead of a list"),
    ],
)
def test_what_is_no_finding_is_one_sentence(changes, sentence):
    with pytest.raises(UserError, match=sentence) as told:
        checked("mine", finding(**changes))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("found", [None, 3, [], {"tables": []}, Finding])
def test_what_is_not_even_one_is_told_as_what_it_is(found):
    with pytest.raises(UserError, match=r"the experiment 'mine' returns .* instead of a ganbench.Finding"):
        checked("mine", found)


def test_an_experiment_asks_for_no_runs_unless_it_says_so():
    class Mine(Experiment):
        name = "mine"

        def find(self, lab):
            return finding()

    mine = Mine()
    assert not mine.makes_runs and list(mine.runs(None, {})) == [] and tuple(mine.variants) == ("all",)
    with pytest.raises(TypeError, match="find"):
        Experiment()
