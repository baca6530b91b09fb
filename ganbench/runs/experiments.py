"""Experiments in the process of their plugins: which runs they ask for, and what they find."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench import NUMBERS
from ganbench.contract.types import digest
from ganbench.errors import UserError, brief, named
from ganbench.files import printable
from ganbench.results.findings import FOLDER, MEMORY, RUNS, Found, plain_of
from ganbench.results.record import RunRecord, RunSpec
from ganbench.results.rows import plain_text
from ganbench.results.store import ResultStore
from ganbench.runs.steps import Begin, Step

if TYPE_CHECKING:  # they import torch
    from ganbench.contract.experiments import Experiment, Finding, Plain
    from ganbench.runs.lab import HarnessLab
    from ganbench.runs.registry import Entry, Registry

DPI = 110
MOST_NAMED = 6
"""Of runs that have no part so many are named in a finding."""
DEPTH = 4
"""So many folders are between that of results and the record of a run."""
OF_SPECS = ("dataset", "size", "backbone", "budget", "batch", "precision", "preset", "seed", "numbers")
"""What the protocol of a finding says of the runs that were looked at."""


@dataclass(frozen=True)
class Wanted:
    """What the user asked for. `asked`: of the runs, by the keywords of `ganbench.run`; `settings`: all `--set`.

    `records`: a folder of results whose finished runs are looked at, where none are to be made.
    """

    name: str
    asked: Mapping[str, Any] = field(default_factory=dict)
    settings: Sequence[str] = ()
    seeds: Sequence[int] = ()
    records: Path | None = None
    results: Path = Path("results")
    plugins: Sequence[Path] = ()
    data_root: Path = Path("data")
    weights: Path | None = None
    device: str = "cpu"

    @property
    def runs(self) -> Path:
        """The folder of the runs that are looked at."""
        return self.records or self.results / FOLDER / RUNS

    @property
    def of_runs(self) -> list[str]:
        """What of `settings` is of runs, not of the experiment itself."""
        return [text for text in self.settings if not text.strip().startswith(f"{self.name}.")]

    @property
    def is_plain(self) -> bool:
        """Whether the user said nothing but the name."""
        return not (self.asked or self.settings or self.seeds or self.records)


@dataclass(frozen=True)
class Outcome:
    """What an experiment came to, in plain values: the finding, its pictures as PNG, all that was measured.

    `broken`: plugins that could not be used, with the reason.
    """

    found: Found
    pictures: Mapping[str, bytes]
    measured: Sequence[Mapping[str, Plain]]
    broken: Mapping[str, str] = field(default_factory=dict)


def requests(wanted: Wanted, begin: Begin) -> list[dict[str, Any]]:
    """Return the runs that an experiment asks for, each request the keywords of `ganbench.run`.

    What the user says of runs, and the experiment does not, is as the user says.
    """
    _, entry, options = _opened(wanted, begin)
    experiment: Experiment = entry.item
    if not experiment.makes_runs:
        _require_own(experiment, wanted)
        return []
    if wanted.records is not None:
        return []
    asked = dict(wanted.asked)
    asked |= {"set": wanted.of_runs} if wanted.of_runs else {}
    asked |= {"seeds": list(wanted.seeds)} if wanted.seeds else {}
    begin(Step((), f"asking {wanted.name} for its runs"))
    with entry.blamed(f"the experiment {wanted.name!r} cannot say which runs it needs"):
        found = [dict(request) for request in experiment.runs(options, dict(asked))]
    if not found:
        raise UserError(f"the experiment {wanted.name!r} makes runs, but asks for none")
    own = {"variants": list(experiment.variants), **({"seeds": list(experiment.seeds)} if experiment.seeds else {})}
    return [{**own, **asked, **request} for request in found]


def _require_own(experiment: Experiment, wanted: Wanted) -> None:
    """Raise `UserError` for what is said of runs to an experiment that makes none."""
    if others := wanted.of_runs:
        known = f"{experiment.name}.{others[0].partition('=')[0].rpartition('.')[2]}"
        raise UserError(f"--set {others[0]}: {experiment.name} makes no runs; its own options are set as {known}=…")
    if wanted.records is not None:
        raise UserError(f"--runs: {experiment.name} looks at no runs, it has data of its own; leave it out")
    if strange := [key for key in wanted.asked if key != "variants"]:
        raise UserError(f"--{strange[0]}: {experiment.name} makes no runs, it has data of its own; leave it out")


def carry_out(
    wanted: Wanted, specs: Sequence[RunSpec], failed: Mapping[str, str], begin: Begin, lost: Sequence[RunSpec] = ()
) -> Outcome:
    """Let an experiment look, at runs of these specs where it asked for some, and say what it found.

    `failed`: by the name of a run why it is not among them; `lost`: the specs of these.
    """
    from ganbench.runs.checked import checked
    from ganbench.runs.lab import HarnessLab
    from ganbench.runs.plan import expand
    from ganbench.training.devices import cores, make_repeatable, resolve_device

    registry, entry, options = _opened(wanted, begin)
    experiment: Experiment = entry.item
    device = resolve_device(wanted.device)
    make_repeatable(device, cores())
    variants, claimed = list(dict.fromkeys(spec.variant for spec in specs)), dict[str, str]()
    if wanted.records is None:
        patterns = tuple(wanted.asked.get("variants") or experiment.variants)
        variants, claimed = expand(patterns, "variant", registry)
    seeds = list(wanted.seeds) or sorted({spec.seed for spec in specs}) or list(experiment.seeds) or [0]
    lab = HarnessLab(
        options,
        variants,
        seeds,
        registry,
        name=wanted.name,
        folder=wanted.results / FOLDER / MEMORY / wanted.name,
        code=entry.code,
        root=wanted.data_root,
        weights=wanted.weights,
        device=device,
        begin=begin,
    )
    if experiment.makes_runs:
        lab.runs, lab.failed, lab.lost = _made(wanted, specs, registry, lab), dict(failed), list(lost)
        if not lab.runs:
            why = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            more = f" ({why})" if why else ""
            raise UserError(f"{wanted.name}: there is no finished run to look at in {wanted.runs}{more}")
    begin(Step((), f"the experiment {wanted.name!r}"))
    with entry.blamed(f"the experiment {wanted.name!r} failed"):
        finding = checked(wanted.name, experiment.find(lab))
    if experiment.makes_runs:
        looked_at = summary_of([made.record for made in lab.runs], failed=len(failed))
        finding = replace(finding, protocol={"runs": looked_at, **finding.protocol})
    untold = {title: why for title, why in lab.failed.items() if title not in finding.left_out}
    notes = [*finding.notes, *_notes(untold, len(specs) + len(failed))]
    finding = replace(finding, left_out={**claimed, **finding.left_out}, notes=notes)
    return replace(_outcome(wanted, entry, options, finding), broken=registry.broken)


def _notes(failed: Mapping[str, str], every: int) -> list[str]:
    """Say which runs have no part where the experiment does not."""
    if not failed:
        return []
    named = "; ".join(f"{title}: {brief(why)}" for title, why in list(failed.items())[:MOST_NAMED])
    more = f"; and {len(failed) - MOST_NAMED} more" if len(failed) > MOST_NAMED else ""
    return [f"{len(failed)} of {every} runs have no part ({named}{more})."]


def summary_of(records: Sequence[RunRecord], *, failed: int) -> dict[str, Any]:
    """Return what runs were made of, what several share once. `failed`: so many that ended otherwise."""
    specs = [record.spec for record in records]
    found: dict[str, Any] = {name: _each(getattr(spec, name) for spec in specs) for name in OF_SPECS}
    found["data"] = _each(spec.data[:12] for spec in specs)
    found["options"] = _each(plain_text(spec.shown_options) for spec in specs)
    return {"done": len(records), "failed": failed} | {key: value for key, value in found.items() if value != ""}


def _each(facts: Iterable[Any]) -> Any:
    """Return the fact that all share, or a list of them; what is no number as text, nothing as no text."""
    plain = (fact if isinstance(fact, int) else str(fact) for fact in facts)
    found = sorted(set(plain), key=lambda fact: (isinstance(fact, str), fact))
    return found[0] if len(found) == 1 else found


def _opened(wanted: Wanted, begin: Begin) -> tuple[Registry, Entry, Any]:
    """Return the experiment with its options."""
    from ganbench.runs.options import resolve
    from ganbench.runs.registry import discover
    from ganbench.runs.settings import parse_settings

    registry = discover(wanted.plugins, begin=begin)
    entry = registry.get("experiment", wanted.name)
    parse_settings(wanted.settings)  # what is no setting, or given twice, is told
    own = [text.strip().removeprefix(f"{wanted.name}.") for text in wanted.settings if text not in wanted.of_runs]
    return registry, entry, resolve(type(entry.item), wanted.name, parse_settings(own))


def _made(wanted: Wanted, specs: Sequence[RunSpec], registry: Registry, lab: HarnessLab) -> list[Any]:
    from ganbench.runs.made import MadeRun

    roots, loaded = _roots(wanted.runs) if wanted.records else {}, dict[str, Any]()
    stores = {spec.id: ResultStore(roots.get(spec.id, wanted.runs)) for spec in specs}
    records = [record for spec in specs if (record := stores[spec.id].get(spec)) and record.status == "done"]
    chosen: dict[str, Any] = {"root": wanted.data_root, "device": lab.device, "loaded": loaded}
    chosen["asked"] = wanted.asked.get("dataset", ())
    return [MadeRun(record, stores[record.spec.id], registry, **chosen) for record in records]


def _roots(folder: Path) -> dict[str, Path]:
    """Return by run the folder of results that it is part of, which may be above the one given, or below it."""
    found, _ = ResultStore(folder).located()
    of = {record.spec.id: (path, record.spec) for path, record in found.items()}
    above = {id: path.parents[DEPTH] for id, (path, _) in of.items() if len(path.parents) > DEPTH}
    return {id: root for id, root in above.items() if ResultStore(root).path(of[id][1]) == of[id][0]}


def _outcome(wanted: Wanted, entry: Entry, options: Any, finding: Finding) -> Outcome:
    from ganbench.runs.facts import versions_and_machine
    from ganbench.runs.options import as_plain
    from ganbench.training.devices import cores

    experiment: Experiment = entry.item
    asked = {
        **wanted.asked,
        **({"set": list(wanted.settings)} if wanted.settings else {}),
        **({"seeds": list(wanted.seeds)} if wanted.seeds else {}),
        **({"runs": printable(wanted.records.name)} if wanted.records else {}),
    }
    pictures, notes = dict[str, bytes](), list(finding.notes)
    for name, (figure, _) in finding.figures.items():
        try:
            pictures[f"{name}.png"] = _png(figure)
        except Exception as error:  # a label may be no mathematics, and what was found is worth more than a picture
            notes.append(f"The picture {name} could not be drawn: {brief(named(error), 200)}")
    place = str(wanted.records.absolute()) if wanted.records else ""  # two folders may have one name
    found = Found(
        name=experiment.name,
        id=digest([experiment.name, as_plain(options), asked, NUMBERS, entry.code, place])[:16],
        summary=experiment.summary,
        paper=experiment.paper,
        tables=finding.tables,
        claims=finding.claims,
        pictures={file: finding.figures[file.removesuffix(".png")][1] for file in pictures},
        protocol=finding.protocol,
        left_out=finding.left_out,
        notes=notes,
        options=as_plain(options),
        asked=plain_of(asked),
        provenance={
            **versions_and_machine(wanted.device),
            "threads": cores(),
            "plugin": asdict(entry.origin),
            "code": entry.code,
        },
        numbers=NUMBERS,
    )
    return Outcome(found, pictures, list(finding.measured))


def _png(figure: Any) -> bytes:
    """Draw a figure: equal figures give equal bytes."""
    whole = io.BytesIO()
    figure.savefig(whole, format="png", dpi=DPI, metadata={"Software": None})
    return whole.getvalue()
