"""`--sweep KEY=VALUE,VALUE`: every combination of values becomes runs of its own, as if each were given by `--set`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

from ganbench.errors import UserError, quoted
from ganbench.runs.job import Job
from ganbench.runs.registry import Registry
from ganbench.runs.request import Plan
from ganbench.runs.settings import owners_of, parse_settings

MOST = 1000
"""So many combinations are a sweep; more are a slip of the keyboard."""

Combination = tuple[str, ...]
"""One value of every swept option, as `--set` takes them."""


def combinations(sweeps: Sequence[str], settings: Sequence[str] = ()) -> list[Combination]:
    """Return every combination of the values that are swept, the last option changing fastest; one without any sweep.

    `settings`: what is set beside them. Raises `UserError` for what is no option with values, or is given twice.
    """
    fixed, swept = parse_settings(settings), dict[str, list[str]]()
    for text in sweeps:
        key, _, values = text.partition("=")
        found = [value.strip() for value in _parted(text, values)]
        owner, dot, option = key.strip().rpartition(".")
        if not (option.strip() and found and all(found)) or (dot and not owner.strip()):
            raise UserError(f"--sweep {quoted(text)} is not an option and its values: {_RIGHT}")
        if key.strip() in fixed:
            raise UserError(f"--sweep {key.strip()} is given by --set as well, as {fixed[key.strip()]}: keep one")
        if key.strip() in swept:
            raise UserError(f"--sweep {key.strip()} is given twice: name all its values in one")
        swept[key.strip()] = [f"{key.strip()}={value}" for value in dict.fromkeys(found)]
    if (number := math.prod(map(len, swept.values()))) > MOST:
        raise UserError(f"--sweep: that makes {number:,} combinations of options; at most {MOST:,} can be asked for")
    return list(product(*swept.values()))


_RIGHT = "write lr=1e-4,2e-4, wgan.clip=0.01,0.1 or, of lists, betas=[0.5,0.9],[0.0,0.99]"


def _parted(text: str, values: str) -> Iterator[str]:
    """Part values at the commas outside of brackets."""
    depth, piece = 0, ""
    for sign in values:
        depth += (sign in "([") - (sign in ")]")
        if sign == "," and not depth:
            yield piece
            piece = ""
        else:
            piece += sign
        if depth < 0:
            break
    if depth:
        raise UserError(f"--sweep {quoted(text)} has a bracket without its other half: {_RIGHT}")
    yield piece


def require_swept(swept: Sequence[Combination], registry: Registry) -> None:
    """Raise `UserError` for an option that makes no other run, since a metric alone has it."""
    for key in parse_settings(swept[0]):
        owners = owners_of(owner, registry) if (owner := key.rpartition(".")[0]) else []
        if owners and all(owner in _metrics(registry) for owner in owners):
            raise UserError(f"--sweep {key} is an option of a metric, which makes no other run: give it by --set")


def _metrics(registry: Registry) -> list[object]:
    return [entry.item for entries in registry.entries["metric"].values() for entry in entries]


def joined(plans: Mapping[Combination, Plan]) -> Plan:
    """Return one plan for all combinations: every run once, seed by seed; what is skipped with some says with which."""
    if len(plans) == 1:
        return next(iter(plans.values()))
    result = Plan()
    for combination, part in plans.items():
        result.notes.extend(note for note in part.notes if note not in result.notes)
        for skip in part.skips:
            if not all(skip in other.skips for other in plans.values()):
                skip = replace(skip, reason=f"{skip.reason} ({' '.join(combination)})")
            if skip not in result.skips:
                result.skips.append(skip)
        result.benches.update(part.benches)
        result.missing.update(part.missing)
    # A variant that has none of the swept options is planned with each combination, and runs once.
    jobs: dict[str, Job] = {}
    for job in (job for part in plans.values() for job in part.jobs):
        jobs.setdefault(job.spec.id, job)
    result.jobs.extend(sorted(jobs.values(), key=lambda job: job.spec.seed))
    return result
