"""What names a row in a table of data."""

from __future__ import annotations

from typing import Any

from ganbench.results.rows import Row

KEY = ("dataset", "size", "backbone", "batch", "budget", "precision", "options", "variant")


def head(row: Row, runs: bool) -> dict[str, Any]:
    """Return what stands at the head of a row: its key and how its runs ended, or with `runs` which run it is."""
    spec, run = row.spec, row.runs[0]
    budget = str(spec.budget)
    key = (spec.dataset, spec.size, spec.backbone, spec.batch, budget, spec.precision, row.options, spec.variant)
    if runs:
        counts: dict[str, Any] = {"id": spec.id, "seed": spec.seed, "status": run.status, "error": run.error}
    else:
        ends = ("done", "diverged", "failed", "stopped")
        counts = {"seeds": len(row.runs), **{end: getattr(row, end) for end in ends}}
    preset = {"preset": spec.preset} if spec.preset else {}
    return {**dict(zip(KEY, key, strict=True)), **preset, "numbers": spec.numbers, **counts}
