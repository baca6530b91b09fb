"""What a figure is asked for."""

import pytest

from ganbench.reports.asked import Asked, title


@pytest.mark.parametrize(
    ("quantity", "words"),
    [
        ("fid", "fid"),
        ("loss/D", "loss of D"),
        ("grad_norm/G_manifold", "norm of the gradient of G_manifold"),
        ("log/k", "k"),
        ("log/a/b", "a/b"),
        ("odd/metric", "odd/metric"),
    ],
)
def test_a_quantity_has_words(quantity, words):
    assert title(Asked(quantity)) == words


def test_norms_of_gradients_are_logarithmic_unless_it_is_said_otherwise():
    assert Asked("grad_norm/G").is_log and not Asked("grad_norm/G", log=False).is_log
    assert not Asked("fid").is_log and Asked("fid", log=True).is_log
