"""Holding out a part of a data set that has no test split."""

from __future__ import annotations

import numpy as np


def divide(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray, str]:
    """Hold out a share of each class, evenly spread in the order given; at least one, and never all of a class.

    Returns the rows of train and of test, and the rule in words.
    """
    held_out = np.zeros(len(labels), dtype=bool)
    for rows in np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1]):
        n = len(rows)
        if count := min(max(1, round(n * share)), n - 1):
            held_out[rows[(2 * np.arange(count) + 1) * n // (2 * count)]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out), f"{share:g} of each class, evenly spread by name"
