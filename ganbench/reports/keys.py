"""What names a row in a table of data."""

from __future__ import annotations

from typing import Any

from ganbench.results.rows import Row

KEY = ("dataset", "size", "backbone", "batch", "budget", "precision", "options", "variant", "weights")


def head(row: Row, runs: bool) -> dict[str, Any]:
    """Return what stands at the head of a row: its key and how its runs ended, or with `runs` which run it is.

    Points have no size. `weights`: which weights samples are of, as far as the records say it.
    """
    spec, run = row.spec, row.runs[0]
    place = (spec.dataset, spec.size or None, spec.backbone, spec.batch, str(spec.budget), spec.precision)
    if runs:
        counts: dict[str, Any] = {"id": spec.id, "seed": spec.seed, "status": run.status, "error": run.error}
    else:
        ends = ("done", "diverged", "failed", "stopped")
        counts = {"seeds": len(row.runs), **{end: getattr(row, end) for end in ends}}
    preset = {"preset": spec.preset} if spec.preset else {}
    key = dict(zip(KEY, (*place, row.options, spec.variant, row.weights), strict=True))
    return {**key, **preset, "numbers": spec.numbers, **counts}
