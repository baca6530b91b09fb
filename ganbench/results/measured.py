"""What an experiment measures of each run that it looks at, and who has no part. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import TypeVar

from ganbench.contract.experiments import Made
from ganbench.errors import UserError
from ganbench.results.rows import title_of

Result = TypeVar("Result")


def measure_runs(
    rows: Mapping[str, Sequence[Made]], measure: Callable[[Made], Result], left_out: MutableMapping[str, str]
) -> dict[str, list[tuple[Made, Result]]]:
    """Return by row the runs with what is measured of them, rows with none left out.

    A run alone has no part where measuring it raises `UserError`, or `ArithmeticError` for what is not finite: its
    name and the reason go into `left_out`.
    """
    found: dict[str, list[tuple[Made, Result]]] = {}
    for name, runs in rows.items():
        for made in runs:
            try:
                found.setdefault(name, []).append((made, measure(made)))
            except (UserError, ArithmeticError) as error:
                left_out[title_of(made.record.spec)] = str(error)
    return {name: of for name, of in found.items() if of}
