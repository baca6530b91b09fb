"""Errors that say what would be right."""

from ganbench.errors import suggestion


def test_suggestions_do_not_mind_the_case():
    assert suggestion("WGAN_gp", ["wgan-gp", "gan"]) == ": did you mean 'wgan-gp'?"
    assert suggestion("stylegan", ["mlp"]) == ""
