"""`docs/experiments.md`: the experiments that it shows are carried out as they stand there."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from ganbench.results.store import ResultStore
from ganbench.runs.execute import execute
from ganbench.runs.experiments import Outcome, Wanted, carry_out, requests
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover
from ganbench.runs.steps import unwatched

PAGE = (Path(__file__).parents[1] / "docs" / "experiments.md").read_text()
WHOLE, OF_RUNS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TINY = Path(__file__).with_name("tiny_plugin.py")

pytestmark = pytest.mark.usefixtures("switches")


@pytest.fixture
def wanted(tmp_path: Path) -> Any:
    both = WHOLE.replace("[Orbit()]", "[Orbit(), Halfway()]").replace("\n@hookimpl", f"\n{OF_RUNS}\n\n@hookimpl")
    (tmp_path / "orbit.py").write_text(both)

    def make(name: str, *settings: str, **asked: Any) -> Wanted:
        plugins = (tmp_path / "orbit.py", TINY)
        return Wanted(name, asked, settings, results=tmp_path / "results", plugins=plugins)

    return make


def test_the_whole_example_finds_what_its_equations_say(wanted):
    outcome: Outcome = carry_out(wanted("orbit", "orbit.steps=20"), [], {}, unwatched)
    distance = {v: [row["distance"] for row in outcome.measured if row["variant"] == v] for v in ("gan", "r1")}
    theta, psi, rate = 1.0, 1.0, 0.1
    for found in distance["gan"]:
        assert found == pytest.approx(math.hypot(theta, psi), rel=1e-9)
        psi -= rate * theta / (1 + math.exp(-psi * theta))  # D: softplus(-ψ·0) + softplus(ψθ)
        theta += rate * psi / (1 + math.exp(psi * theta))  # G: softplus(-ψθ)
    assert len(distance["gan"]) == 20 and distance["r1"][-1] < distance["gan"][-1]
    assert [claim.holds for claim in outcome.found.claims] == [True]
    assert list(outcome.pictures) == ["distance.png"] and outcome.found.options == {"steps": 20, "rate": 0.1}


def test_a_stranger_s_variant_takes_part_or_is_left_out_with_its_reason(wanted):
    outcome = carry_out(wanted("orbit", "orbit.steps=3", variants=("plain", "labelled", "raises")), [], {}, unwatched)
    assert {row["variant"] for row in outcome.measured} == {"plain", "raises"}  # that one breaks in its fourth step
    assert outcome.found.left_out == {"labelled": "it needs labels of at least two classes"}


def test_the_example_with_runs_asks_for_them_and_looks_at_them(wanted):
    (request,) = requests(wanted("halfway", variants=("plain",), dataset=("tiny",), budget="128-images"), unwatched)
    assert request == {
        "variants": ("plain",),
        "dataset": ("tiny",),
        "budget": "128-images",
        "metrics": (),
        "keep": [0.5],
    }
    asked = wanted("halfway")
    (job,) = plan(Request(["plain"], ["tiny"], budget="128-images", seeds=1, metrics=(), marks=1, keep=[0.5]),
                  discover([TINY])).jobs  # fmt: skip
    store = ResultStore(asked.runs)
    assert execute(job, store, discover([TINY]), threads=1).status == "done"
    outcome = carry_out(asked, [job.spec], {}, unwatched)
    ((row),) = outcome.measured
    assert row["variant"] == "plain" and row["moved"] > 0
