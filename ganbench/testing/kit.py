"""Running the checks: for a person, for a command, and for pytest."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Mapping
from typing import Any

import torch

from ganbench.contract.variant import Variant
from ganbench.errors import UserError, named, place_of, suggestion
from ganbench.runs.registry import Registry, discover
from ganbench.runs.steps import BUILD_SECONDS, TRIAL_SECONDS, Begin, Step, unwatched
from ganbench.testing.checks import Check, PassedOver, checks_for
from ganbench.testing.subject import Subject, subject_of


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one check found. `traceback`: of a failure.

    `message`: what to change, why a failure was expected, or why the check was passed over.
    """

    name: str
    rule: str
    passed: bool
    message: str = ""
    traceback: str = ""


def run_checks(
    variant: str | type[Variant],
    *,
    registry: Registry | None = None,
    expected_failures: Mapping[str, str] | None = None,
    device: torch.device | None = None,
    begin: Begin = unwatched,
) -> list[Outcome]:
    """Put a variant through its checks. `expected_failures`: by check, why; one that passes after all is a failure.

    `begin`: told of each check; one that it refuses has failed.
    """
    if reason := begin(Step(("variant", str(variant)), "building it", BUILD_SECONDS)):
        raise UserError(f"{variant}: {reason}")
    subject = subject_of(variant, registry=registry, device=device)
    checks = list(checks_for(subject.variant))
    expected = reasons_by_name(expected_failures, checks)
    with torch.random.fork_rng(devices=[]):
        return [outcome_of(check, subject, expected.get(name_of(check)), begin) for check in checks]


def parametrize(*variants: str | type[Variant], expected_failures: Mapping[str, str] | None = None) -> Any:
    """Decorate a test that takes `check` and `subject`: pytest runs it for every check of every variant.

    `expected_failures`: by check, why; they are run all the same, and one that passes after all is a failure.
    """
    import pytest

    registry, cases = discover(), []
    for variant in variants:
        subject = subject_of(variant, registry=registry)
        checks = list(checks_for(subject.variant))
        expected = reasons_by_name(expected_failures, checks)
        for check in checks:
            reason = expected.get(name_of(check))
            marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
            cases.append(pytest.param(check, subject, id=f"{subject.variant.name}-{name_of(check)}", marks=marks))
    return pytest.mark.parametrize(("check", "subject"), cases)


def name_of(check: Check) -> str:
    """Return the name of a check, without its prefix."""
    return check.__name__.removeprefix("check_")


def outcome_of(check: Check, subject: Subject, expected: str | None = None, begin: Begin = unwatched) -> Outcome:
    """Run one check and tell what it found. `expected`: why it is known to fail."""
    name, rule = name_of(check), (check.__doc__ or "").partition("\n")[0]
    if reason := begin(Step(("check", name), f"the check {name}", TRIAL_SECONDS)):
        return Outcome(name, rule, False, reason)
    try:
        check(subject)
    except PassedOver as reason:
        return Outcome(name, rule, True, f"passed over: {reason}")
    except Exception as error:  # whatever a stranger's step raises is a finding
        if expected:
            return Outcome(name, rule, True, f"fails as expected: {expected}")
        return Outcome(name, rule, False, explain(error, subject), "".join(traceback.format_exception(error)))
    if expected:
        return Outcome(name, rule, False, f"passes, but was expected to fail ({expected}): take it off the list")
    return Outcome(name, rule, True)


def explain(error: Exception, subject: Subject) -> str:
    """Tell in one line what went wrong, and in which line of the plugin."""
    told = str(error) if isinstance(error, AssertionError) and str(error) else named(error)
    return told.partition("\n")[0] + place_of(error, subject.files)


def reasons_by_name(expected: Mapping[str, str] | None, checks: list[Check]) -> dict[str, str]:
    """Return the expected failures by name of check; an unknown name raises `UserError`."""
    names = [name_of(check) for check in checks]
    found = {name.removeprefix("check_"): reason for name, reason in (expected or {}).items()}
    for name in found:
        if name not in names:
            raise UserError(f"there is no check {name!r}{suggestion(name, names)}")
    return found
