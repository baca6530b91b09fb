"""What an experiment sees of each of its runs, and why some have no part. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from ganbench.contract.experiments import Lab, Made
from ganbench.errors import UserError

Seen = TypeVar("Seen")


def of_each_run(
    lab: Lab, look: Callable[[str, Made], Iterable[Seen]]
) -> tuple[list[tuple[str, Made, Seen]], dict[str, str]]:
    """Look at the runs of all rows; return all that is seen, with row and run, and by run why more of it is not.

    `look`, given a row's name and a run, raises `UserError` where the run does not fit, or `ArithmeticError` where its
    numbers are not finite; what it yielded before counts. Raises `UserError` with all reasons where nothing is seen.
    """
    found, left_out = list[tuple[str, Made, Seen]](), dict[str, str]()
    for row, runs in lab.rows.items():
        for made in runs:
            name = f"{row}, seed {made.record.spec.seed}"
            lab.tell(name)
            try:
                for seen in look(row, made):
                    found.append((row, made, seen))
            except (UserError, ArithmeticError) as error:
                left_out[name] = str(error)
    if not found:
        raise UserError(f"no run has a part ({'; '.join(dict.fromkeys(left_out.values()))})")
    return found, left_out
