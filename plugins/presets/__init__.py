"""Comparisons of the literature."""
