"""Finished runs, found again by what people call them, and their variants with the weights that were kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ganbench.errors import UserError, quoted
from ganbench.results.codec import read
from ganbench.results.record import RunRecord
from ganbench.results.rows import plain_text
from ganbench.results.store import ResultStore

if TYPE_CHECKING:  # they import torch, and a run is looked for before that
    import torch

    from ganbench.contract.data import Splits
    from ganbench.contract.variant import Variant
    from ganbench.runs.registry import Kind, Registry
    from ganbench.training.bench import Bench

Sampled = Literal["raw", "ema"]
"""Whose samples: those of the weights as they were trained, or of their moving average."""
MOST_NAMED = 6


@dataclass(frozen=True)
class Kept:
    """A finished run and the file of its final weights."""

    record: RunRecord
    weights: Path

    def __str__(self) -> str:
        return _told(self.record)


@dataclass(frozen=True)
class Opened:
    """What a run was made of: its data and networks, and its variant with the options that it had."""

    bench: Bench
    cls: type[Variant]
    config: Any

    def build(self, seed: int, device: torch.device) -> Variant:
        """Build the variant at its first step."""
        from ganbench.training.arithmetic import placed

        return placed(self.bench.build(self.cls, self.config, seed), device)


@dataclass(frozen=True)
class Reopened:
    """A run's variant with its final weights, in evaluation mode, and the data that it was trained on."""

    variant: Variant
    data: Splits


def find_kept(text: str, results: Path) -> Kept:
    """Return the finished run that a text names: a record's path, the beginning of a run's id, or a variant's name.

    Raises `UserError` where there is none, where there are several, or where its weights were not kept.
    """
    if text.endswith(".json"):
        path = Path(text).expanduser().absolute()
        try:
            record = read(path)
        except FileNotFoundError:
            raise UserError(f"there is no record {text}") from None
        roots = [*path.parents, results]
        return _whole(record, next((root for root in roots if _weights(root, record).is_file()), results))
    records, _, _ = ResultStore(results).summaries(curves=False)
    of_id = [record for record in records if len(text) >= 4 and record.spec.id.startswith(text.lower())]
    found = of_id or [record for record in records if record.spec.variant == text]
    if not found:
        known = ", ".join(sorted({record.spec.variant for record in records}))
        raise UserError(
            f"no run in {results} is called {quoted(text)}: name a record's file, a run's id or its beginning, or a "
            f"variant ({known})"
        )
    with_weights = [r for r in found if r.status == "done" and _weights(results, r).is_file()]
    if len(with_weights) > 1:
        named = "; ".join(_told(record) for record in with_weights[:MOST_NAMED])
        more = f"; and {len(with_weights) - MOST_NAMED} more" if len(with_weights) > MOST_NAMED else ""
        raise UserError(f"{quoted(text)} is {len(with_weights)} runs: name one by its id ({named}{more})")
    return _whole((with_weights or found)[0], results)


def _whole(record: RunRecord, root: Path) -> Kept:
    if record.status != "done":
        raise UserError(f"{_told(record)} has no final weights: its status is {record.status!r}")
    path = _weights(root, record)
    if not path.is_file():
        raise UserError(f"the weights of {_told(record)} are no longer there: they would be {path}")
    return Kept(record, path)


def _weights(root: Path, record: RunRecord) -> Path:
    return root / ".work" / record.spec.id / "final.pt"


def _told(record: RunRecord) -> str:
    spec = record.spec
    options = plain_text(spec.shown_options)
    name = " ".join(filter(None, (spec.variant, options)))
    return f"{spec.id[:8]} ({name}, {spec.dataset}, {spec.budget}, seed {spec.seed})"


def reopen(
    kept: Kept, registry: Registry, *, root: Path, dataset: str = "", weights: str = "", device: torch.device
) -> Reopened:
    """Build a run's variant anew and give it the weights that were kept.

    `root`: the data root; `dataset`: as it was asked for, where the record knows only its short name (`folder:photos`);
    `weights`: `raw` or `ema`, nothing for those that the variant's own samples come from. Raises `UserError` where the
    code or the data are no longer those of the run.
    """
    opened = open_run(kept.record, registry, root=root, dataset=dataset)
    variant = opened.build(kept.record.spec.seed, device)
    fill(variant, kept, weights)
    return Reopened(variant.requires_grad_(False).eval(), opened.bench.data)


def open_run(
    record: RunRecord,
    registry: Registry,
    *,
    root: Path,
    dataset: str = "",
    loaded: MutableMapping[str, Splits] | None = None,
) -> Opened:
    """Open what a run was made of; `loaded`: data of runs that were opened before, to which those of this one are put.

    Raises `UserError` where the code or the data are no longer those of the run.
    """
    from ganbench.runs.opening import open_bench, open_dataset
    from ganbench.runs.options import resolve

    spec, text, told = record.spec, dataset or record.spec.dataset, _told(record)
    kinds: Sequence[tuple[Kind, str]] = (
        ("variant", spec.variant),
        ("backbone", spec.backbone),
        ("dataset", text.partition(":")[0]),
    )
    for kind, name in kinds:
        made_by = spec.code.get(kind)
        if made_by is not None and registry.get(kind, name).code != made_by:
            raise UserError(
                f"the {kind} {name!r} executes something else than when {told} was made, so its weights are not to be "
                f"trusted with it: give back the plugin as it was, or run it again"
            )
    settings = {kind: _settings(kind, name, registry, spec.config.get(kind, {})) for kind, name in kinds}
    try:
        opened = open_dataset(text, registry, settings["dataset"])
        known, key = ({} if loaded is None else loaded), json.dumps([text, settings["dataset"], spec.size])
        bench = open_bench(opened, spec.backbone, registry, settings, root=root, size=spec.size, data=known.get(key))
        known[key] = bench.data
    except UserError as error:
        more = "" if dataset or ":" not in text else "; name its place with --dataset folder:PATH"
        raise UserError(f"the data of {told} cannot be opened: {error}{more}") from error
    if spec.data and bench.data.fingerprint != spec.data:
        raise UserError(
            f"the images of {text} are no longer those that {told} was trained on (fingerprint "
            f"{bench.data.fingerprint[:12]} instead of {spec.data[:12]})"
        )
    cls = registry.get("variant", spec.variant).item
    return Opened(bench, cls, resolve(cls, cls.name, settings["variant"]))


def _settings(kind: Kind, name: str, registry: Registry, config: Mapping[str, Any]) -> dict[str, str]:
    """Write the options of a record as a user would, those at their defaults left out."""
    from ganbench.runs.options import differing, fields_of

    item = registry.get(kind, name).item
    owner = item if isinstance(item, type) else type(item)
    known = {key: value for key, value in config.items() if key in fields_of(owner)}
    return differing(owner, name, {key: v if isinstance(v, str) else json.dumps(v) for key, v in known.items()})


def fill(variant: Variant, kept: Kept, weights: str) -> None:
    """Give a variant the kept weights of a kind, by default those that its values in a table are of."""
    from ganbench.runs.checkpoint import Unusable, load_state

    scored = next(iter(kept.record.sampling), "")
    try:
        states = load_state(kept.weights, kept.record.spec.id, kept.record.checksums.get("weights"))
        if states is None:
            raise Unusable("is no longer there")
        if set(states) == {"variant"}:  # of a ganbench that kept one kind alone
            states = {scored or "raw": states["variant"]}
        chosen = weights or next((each for each in (scored, "ema", "raw") if each in states), "raw")
        if chosen not in states:
            raise UserError(f"{kept} has no {chosen} weights: kept were {' and '.join(states) or 'none'}")
        variant.load_state_dict(states[chosen])
    except Unusable as error:
        raise UserError(f"{kept.weights} {error}") from error
    except (RuntimeError, TypeError, AttributeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(":")
        raise UserError(f"{kept.weights} does not fit {variant.name}: {first}") from error
