import numpy as np
import pytest

from ganbench import COINCIDE, GROWS, ODD, STAYS, VANISHES, Pull, join_pulls, pull_where_rejected

AT = np.linspace(-5, 5, 11)


@pytest.mark.parametrize(
    ("slopes", "kind"),
    [
        (-1 / (1 + np.exp(-AT)), VANISHES),
        (-1 / (1 + np.exp(AT)), STAYS),
        (np.full(11, -1.0), STAYS),
        (AT - 1, GROWS),
        (np.where(AT > 0, np.nan, AT), ODD),
        (np.where(AT > 4, np.inf, -1.0), ODD),
    ],
)
def test_what_becomes_of_a_gradient_where_D_rejects(slopes, kind):
    assert pull_where_rejected(AT, slopes) == kind


def test_curves_that_coincide_are_one_and_others_are_not():
    pulls = [
        Pull(["a-long-name"], AT, AT),
        Pull(["near"], AT * (1 + COINCIDE / 10), AT),
        Pull(["far"], AT * (1 + 100 * COINCIDE), AT),
        Pull(["odd"], np.full(11, np.nan), AT),
        Pull(["odder"], np.full(11, np.nan), AT),
    ]
    assert [pull.rows for pull in join_pulls(pulls)] == [["near", "a-long-name"], ["far"], ["odd", "odder"]]
    assert [len(pull.rows) for pull in pulls] == [1] * 5
