"""`ganbench results`: what is done to stored records."""

from __future__ import annotations

from pathlib import Path

import click

from ganbench.cli.group import Command, Group
from ganbench.cli.options import FullPath, plugin_option, results_option
from ganbench.errors import UserError
from ganbench.streams import show, tell


@click.group(cls=Group)
def command() -> None:
    """Look after a folder of records."""


@command.command(cls=Command)
@results_option
@plugin_option
def upgrade(results: Path, plugins: tuple[Path, ...]) -> None:
    """Give records of an older schema the names that runs have now.

    Traces, pictures and working folders go along, each file stays in its folder, and no number changes. Until then
    reports and runs find such records as well, but look longer. Those of a plugin that is not installed as it was stand
    in reports, but no command takes them for its runs.
    """
    from ganbench.results.record import SCHEMA
    from ganbench.results.schemas import unknown_plugins
    from ganbench.results.store import ResultStore
    from ganbench.results.upgrade import bring_all_samples, upgrade
    from ganbench.runs.executors.apart import survive
    from ganbench.runs.former import installed, lookup_in

    store = ResultStore(results)
    known, _ = survive(installed, plugins)
    moved, problems = upgrade(store, lookup_in(known))
    for problem in problems:
        tell(f"Skipped: {problem}")
    show(f"{len(moved)} {'record' if len(moved) == 1 else 'records'} upgraded to schema {SCHEMA}")
    if pictured := bring_all_samples(store):
        show(f"pictures of {_count(pictured, 'run')} moved beside the records")
    strange = [unknown for record in moved if (unknown := unknown_plugins(record))]
    if strange:
        names = ", ".join(sorted({name for unknown in strange for name in unknown}))
        tell(
            f"Note: {len(strange)} of them are of plugins that are not installed as they were ({names}): reports show "
            "them, but no command takes them for its runs unless they are upgraded again with the plugin at hand"
        )


@command.command(cls=Command)
@results_option
def verify(results: Path) -> None:
    """Read every record with its traces, pictures, weights and checkpoints, and say what is wrong.

    Each must belong to its run and have the checksum that it was written with; what experiments found must be whole,
    and so must the runs that were made for them. Ends with 1 where anything is wrong. Nothing is changed.
    """
    from ganbench.results.findings import FOLDER, RUNS, verify as verify_findings
    from ganbench.results.store import ResultStore
    from ganbench.results.upkeep import verify
    from ganbench.runs.checkpoint import fault

    sound, problems = verify(ResultStore(results), fault)
    found, wrong = verify_findings(results)
    made, faults = verify(ResultStore(results / FOLDER / RUNS), fault)
    sound, problems = sound + made, [*problems, *wrong, *faults]
    if not sound and not found and not problems:
        raise UserError(f"no results in {results}: run `ganbench run` first")
    for problem in problems:
        show(problem)
    findings = f", {_count(found, 'finding')}" if found else ""
    show(f"{_count(sound, 'record')}{findings} sound, {_count(len(problems), 'fault')} found")
    if problems:
        click.get_current_context().exit(1)


@command.command(cls=Command)
@click.argument("sources", metavar="SOURCE…", nargs=-1, required=True, type=FullPath())
@results_option
def merge(sources: tuple[Path, ...], results: Path) -> None:
    """Bring the records of other folders into one, with their traces, pictures and working files.

    Sources stay as they are. A better record is never replaced: a run that ended by one that did not, or one with more
    values by one with fewer; values that only one of two has are joined. Ends with 1 where something was left out.
    """
    from ganbench.results.store import ResultStore
    from ganbench.results.upkeep import merge
    from ganbench.runs.checkpoint import fault

    merged = merge(ResultStore(results), [ResultStore(source) for source in sources], fault)
    for problem in merged.problems:
        tell(f"Note: {problem}")
    show(f"{_count(merged.new, 'record')} new, {merged.better} made better, {merged.known} known already")
    if merged.problems:
        click.get_current_context().exit(1)


@command.command(cls=Command)
@results_option
@click.option("--stale", is_flag=True, help="Also runs of an older ganbench that gave other numbers.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed and stop.")
def prune(results: Path, stale: bool, dry_run: bool) -> None:
    """Remove what nothing needs: files set aside as damaged, parts of killed writes, checkpoints of ended runs.

    Records, traces and weights stay (metrics asked for later are scored from the final ones, and experiments look at
    those of the way), and so does whatever belongs to a run that is being made. All that is removed is named. What
    experiments found, and the runs that they made, are no part of it: name RESULTS/experiments/runs for those.
    """
    from ganbench.reports.words import memory
    from ganbench.results.store import ResultStore
    from ganbench.results.upkeep import remove, rubbish

    found = rubbish(ResultStore(results), stale=stale)
    for each in found:
        show(f"{each.path}: {each.why}, {memory(each.size)}")
    if not dry_run:
        remove(found)
    said = "would be removed" if dry_run else "removed"
    show(f"{_count(len(found), 'file or folder', 'files and folders')} {said}, {memory(sum(e.size for e in found))}")


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
