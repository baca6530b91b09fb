import math
from pathlib import Path

import pytest
import torch
from ganbench_plugins.experiments import distances

from ganbench.errors import UserError
from ganbench.runs.experiments import Wanted, carry_out


def find(*settings):
    return carry_out(Wanted("distances", settings=settings, results=Path()), [], {}, lambda step: None)


@pytest.fixture(scope="module")
def found():
    return find("distances.points=16")


def cell(outcome, case, name, distance):
    rows = [r for r in outcome.measured if case in r["of"] and r["divergence"] == name and r["distance"] == distance]
    return rows[0]["value"], rows[0]["slope"]


def test_claims_are_what_the_numbers_say(found):
    assert [claim.holds for claim in found.found.claims] == [True] * 4
    assert "1.3863, slope 0" in found.found.claims[0].found


@pytest.mark.parametrize("distance", [0.5, 4.0, 8.0])
def test_js_of_lines_is_twice_log_2_and_wasserstein_is_the_distance(found, distance):
    assert cell(found, "lines", "jensen-shannon", distance) == pytest.approx((2 * math.log(2), 0))
    assert cell(found, "lines", "wasserstein", distance) == (distance, 1)
    assert cell(found, "lines", "kl", distance)[0] == math.inf
    assert cell(found, "Gaussians", "kl", distance) == pytest.approx((distance**2 / 2, distance))


def test_js_of_gaussians_comes_to_its_largest(found):
    values, slopes = zip(*(cell(found, "Gaussians", "jensen-shannon", d) for d in (2.0, 4.0, 8.0)), strict=True)
    assert 0 < values[0] < values[1] < values[2] < 2 * math.log(2)
    assert slopes[0] > slopes[1] > slopes[2] > 0 and slopes[2] < 1e-3


def test_mmd_is_bounded(found):
    most = {"MMD² (rational quadratic)": 10, "MMD² (Gaussian)": 2}
    here = torch.zeros(1, 1, dtype=torch.float64)
    assert {name: 2 * kernel(here, here).item() for name, kernel in distances.KERNELS.items()} == most
    for name, bound in most.items():
        assert 0 <= max(r["value"] for r in found.measured if r["divergence"] == name) <= bound


def test_infinite_values_are_written_as_they_are(found):
    assert any("inf" in text for row in found.found.tables[0].rows for text in row)
    assert found.pictures["distances.png"].startswith(b"\x89PNG")


def test_where_nothing_is_far_the_claim_of_what_is_far_is_not_decided():
    outcome = find("distances.points=1", "distances.span=0.5")
    assert [claim.holds for claim in outcome.found.claims] == [True, True, None, True]


def test_distances_beyond_float64_are_not_offered():
    with pytest.raises(UserError, match=r"span.*12"):
        find("distances.span=13")
