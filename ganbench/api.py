"""The commands as functions of Python: `run`, `experiment`, `sample` and `score`, with a keyword for each option.

They work in a script without a guard, in a notebook and from `python -c`: whatever runs plugins is a process of its own
that imports nothing of the program which started it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from ganbench.cli.keywords import asked
from ganbench.results.record import RunRecord

if TYPE_CHECKING:
    import numpy as np

    from ganbench.contract.types import Value
    from ganbench.results.findings import Found


class Samples(NamedTuple):
    """Samples of a run: images, uint8 `[N, H, W, C]`, or points, float32 `[N, 2]`; labels where they were asked for."""

    images: np.ndarray
    labels: np.ndarray | None = None


def run(
    variants: str | Sequence[str] | None = None, dataset: str | Sequence[str] | None = None, **options: Any
) -> list[RunRecord]:
    """Do what `ganbench run` does, and return the records of the runs in place of the table.

    Each option of the command has a keyword of its name (`budget="40k-images"`, `marks_metrics=[…]`); those that may be
    given several times take lists, `set` and `sweep` also mappings (`sweep={"lr": [1e-4, 2e-4]}`). Finished runs are
    not made again, and one that failed is a record with its status and error. Raises `UserError` where the request is
    wrong.
    """
    from ganbench.cli.run import train

    with asked("run", {"variants": variants, "dataset": dataset, **options}) as request:
        request.pop("as_json")
        return train(**request) or []


def experiment(name: str, **options: Any) -> Found:
    """Do what `ganbench experiment` does, and return what was found: its tables, claims, protocol and notes.

    Options are keywords (`variants=[…]`, `set={"NAME.points": 5}`, `runs="results"`). The numbers and pictures lie
    where the command puts them, in `results/experiments/NAME`. Raises `UserError`.
    """
    from ganbench.cli.experiment import experiment

    with asked("experiment", {"name": name, **options}) as request:
        request.pop("as_json")
        return experiment(**request)[0]


def sample(run: str | RunRecord, n: int = 50_000, output: str | Path | None = None, **options: Any) -> Samples | None:
    """Do what `ganbench sample` does. Without an `output` the samples come back; with one they are written there.

    `run`: a record, or what the command takes. Options are keywords, `--class` is called `label`. Raises `UserError`.
    """
    from ganbench.cli.sample import write

    text = run.spec.id if isinstance(run, RunRecord) else str(run)
    with TemporaryDirectory() as folder:
        place = Path(folder, "samples.npz") if output is None else output
        with asked("sample", {"run": text, "n": n, "output": place, **options}) as request:
            write(**request)
        if output is not None:
            return None
        import numpy as np

        with np.load(place, allow_pickle=False) as arrays:
            return Samples(arrays["arr_0"], arrays["labels"] if "labels" in arrays.files else None)


def score(a: Any, b: Any, metrics: str | Sequence[str], **options: Any) -> Mapping[str, Value]:
    """Do what `ganbench score` does: return values by name of the samples `a` against the reference `b`.

    Each is what the command takes, a record, or an array: uint8 `[N, H, W, C]` or `[N, C, H, W]`, or points `[N, 2]`.
    Raises `UserError` where they cannot be compared.
    """
    from ganbench.cli.score import score

    with TemporaryDirectory() as folder:
        sides = {name: _side(side, Path(folder, f"{name}.npy")) for name, side in (("a", a), ("b", b))}
        with asked("score", {**sides, "metrics": metrics, **options}) as request:
            request.pop("as_json")
            return score(**request).values


def _side(side: Any, place: Path) -> str:
    """Name a side as the command knows it; an array is laid into a file."""
    if isinstance(side, RunRecord):
        return f"run:{side.spec.id}"
    if isinstance(side, str | Path):
        return str(side)
    import numpy as np

    np.save(place, np.asarray(side), allow_pickle=False)
    return str(place)
