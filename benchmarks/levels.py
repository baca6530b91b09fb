"""How often rows that are all alike are told apart, by the number of seeds: `python benchmarks/levels.py [TABLES]`.

It should be 5 % of tables at most. `fewest_seeds` in ganbench/results/paired.py is chosen by this table. Scores are
normal, with what a seed does to all rows; log-normal; uniform; or collapse on half of the seeds, or on a fifth.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from ganbench.results.paired import Floats, compare, holm

SEEDS = (2, 3, 4, 5, 6, 8, 10)
ROWS = (2, 5, 10, 40)
Draw = Callable[[np.random.Generator, int, int], Floats]

DRAWS: dict[str, Draw] = {
    "normal": lambda rng, k, n: rng.normal(size=(k, n)) + rng.normal(size=n),
    "log-normal": lambda rng, k, n: np.exp(rng.normal(size=(k, n))),
    "uniform": lambda rng, k, n: rng.random((k, n)),
    "collapse of half": lambda rng, k, n: 10 * (rng.random((k, n)) < 0.5) + rng.normal(size=(k, n)),
    "collapse of a fifth": lambda rng, k, n: 100 * (rng.random((k, n)) < 0.2) + rng.normal(size=(k, n)),
}


def level(draw: Draw, k: int, n: int, tables: int) -> float:
    """Return the share of tables with any pair told apart at 5 %."""
    rng, pairs = np.random.default_rng(0), np.triu_indices(k, 1)
    found = (holm(compare(draw(rng, k, n), 2).p[pairs]) for _ in range(tables))
    return float(np.mean([(p <= 0.05).any() for p in found]))


def main() -> None:
    tables = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"| scores | rows | {' | '.join(f'{n} seeds' for n in SEEDS)} |")
    print("| --- | ---: |" + " ---: |" * len(SEEDS))
    for name, draw in DRAWS.items():
        for k in ROWS:
            shares = (f"{100 * level(draw, k, n, tables):.1f} %" for n in SEEDS)
            print(f"| {name} | {k} | {' | '.join(shares)} |", flush=True)


if __name__ == "__main__":
    main()
