"""`ganbench probe`: train to given epochs, probe the generator's gradient at each, and write table, CSV and picture."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ganbench.contract.types import Curve
from ganbench.errors import DiskError, UserError, brief
from ganbench.files import write_atomically
from ganbench.results.moving import move_work
from ganbench.results.record import RunSpec
from ganbench.results.rows import plain_text
from ganbench.results.schemas import id_before
from ganbench.results.store import ResultStore
from ganbench.runs.blame import blaming
from ganbench.runs.facts import files_of
from ganbench.runs.job import Job
from ganbench.runs.plan import plan
from ganbench.runs.registry import Registry
from ganbench.runs.request import Request
from ganbench.runs.run import CHECKPOINT_SECONDS, Run
from ganbench.runs.steps import Begin, unwatched
from ganbench.training.bench import Bench
from ganbench.training.budget import Budget
from ganbench.training.trainer import Trainer

COLUMNS = ("epoch", "loss", "iteration", "grad_norm")
MOST_EPOCHS = 1_000_000
"""More would not end in anybody's life."""
Curves = Mapping[tuple[float, str], Curve]
"""By the epochs of training before the look, and the generator's loss."""


@dataclass(frozen=True)
class Probe:
    """A run on its bench, to be probed after so many `epochs` of real images, by D's of so many `iterations`."""

    job: Job
    bench: Bench
    epochs: tuple[float, ...]
    iterations: int
    results: Path

    @property
    def images(self) -> int:
        """The real images of an epoch."""
        return len(self.bench.data.train.images)

    def path(self, suffix: str) -> Path:
        """Return where a result of it lies."""
        record = ResultStore(self.results).path(self.job.spec)
        return record.with_name(f"{record.stem}-probe{self.iterations}{suffix}")


def request_of_run(request: Request) -> Request:
    """Return the request for the run that is to be probed."""
    return replace(request, budget="1-images", metrics=("grad-norm-g",), seeds=1)


def plan_probe(
    request: Request,
    registry: Registry,
    *,
    epochs: Sequence[float],
    iterations: int,
    seed: int,
    results: Path,
    begin: Begin = unwatched,
) -> Probe:
    """Turn a request for one variant and one data set into a probe. Raises `UserError` where it cannot be made."""
    if not epochs or not all(0 < epoch <= MOST_EPOCHS for epoch in epochs):
        found = brief(",".join(f"{epoch:g}" for epoch in epochs))
        raise UserError(f"--at {found}: name epochs above 0 and at most {MOST_EPOCHS:,}, as in 1,10,25")
    made = plan(request_of_run(request), registry, begin)
    if not made.jobs:
        raise UserError(f"{made.skips[0].variant} on {made.skips[0].dataset}: {made.skips[0].reason}")
    if len(made.jobs) + len(made.skips) > 1:
        raise UserError("a probe is of one variant on one data set; several were named")
    job, (bench,) = made.jobs[0], made.benches.values()
    budget = Budget(max(1, round(max(epochs) * len(bench.data.train.images))), "images")
    spec = replace(job.spec, budget=budget, seed=seed)
    return Probe(replace(job, spec=spec), bench, tuple(sorted(set(epochs))), iterations, results / "probe")


def run_probe(probe: Probe, registry: Registry, *, threads: int, tell: Callable[[str], object]) -> Curves:
    """Train, from the last checkpoint where that is not too late, and probe; the CSV grows by each epoch probed.

    Training is that of `ganbench run`: what a probe trains is a copy.
    """
    store = ResultStore(probe.results)
    _adopt(probe, store)
    curves = dict(read_curves(probe.path(".csv")))
    missing = [epoch for epoch in probe.epochs if not any(epoch == done for done, _ in curves)]
    if not missing:
        return curves
    with store.lock(probe.job.spec, blocking=False) as free:
        if not free:
            raise UserError(f"another command is making this probe: {probe.path('.csv')}")
        name, log = probe.job.spec.variant, store.work(probe.job.spec) / "error.txt"
        with blaming(f"{name} failed", lambda: files_of(probe.job, registry), log):
            run = Run(probe.job, store, registry, threads, probe.bench)
            trainer = run.begin()
            if _is_beyond(trainer, missing[0] * probe.images):
                tell(f"the checkpoint is of a later time than epoch {missing[0]:g}: training starts anew")
                run.saved = None
                trainer = run.begin()
            for epoch in missing:
                _advance(trainer, run, epoch * probe.images / probe.job.spec.budget.amount)
                if trainer.diverged:
                    raise UserError(f"{name} diverged before epoch {epoch:g}: {trainer.diverged}")
                tell(f"epoch {epoch:g}: probing with {probe.iterations} updates of a fresh discriminator")
                found = run.probe(trainer.snapshot(), probe.iterations)
                curves |= {(epoch, loss): curve for loss, curve in found.items()}
                run.checkpoint(trainer)
                write_curves(probe, curves)
                for loss, curve in found.items():
                    tell(f"epoch {epoch:g}: {loss}  {curve.norms[0]:.3g} → {curve.norms[-1]:.3g}")
    return curves


def _adopt(probe: Probe, store: ResultStore) -> None:
    """Bring what was kept of the same probe under the id of an older schema to where it is looked for now."""
    spec, path, before = probe.job.spec, probe.path(".csv"), id_before(probe.job.spec)
    former = path.with_name(path.name.replace(spec.id[:8], (before or spec.id)[:8]))
    if before is None or path.exists() or not former.exists():
        return
    with store.lock(spec) as got:
        if not (got and former.exists()):
            return
        write_curves(probe, read_curves(former), former)
        try:
            move_work(path, before, spec.id)
            with suppress(FileNotFoundError):
                former.with_suffix(".png").replace(probe.path(".png"))
            former.replace(path)  # last: until then, all of this is found and done again
        except OSError as error:
            raise DiskError(f"cannot move {former} to {path.name}: {error.strerror or error}") from error


def _is_beyond(trainer: Trainer, images: float) -> bool:
    """Whether it had been served so many images before its last step; each step is served the same number."""
    meters = trainer.meters
    return meters.images - meters.images / max(1, meters.steps) >= images


def _advance(trainer: Trainer, run: Run, until: float) -> None:
    saved = time.monotonic()
    for _ in trainer.train(until):
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            run.checkpoint(trainer)
            saved = time.monotonic()


def write_curves(probe: Probe, curves: Curves, path: Path | None = None) -> None:
    """Write one row a measurement, with all that defines it, to where the probe's table lies or to another path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    facts = _facts(probe.job.spec)
    writer.writerow([*facts, *COLUMNS])
    for (epoch, loss), curve in sorted(curves.items()):
        for iteration, norm in zip(curve.iterations, curve.norms, strict=True):
            writer.writerow([*facts.values(), f"{epoch:g}", loss, iteration, repr(norm)])
    write_atomically(path or probe.path(".csv"), lambda file: file.write(text.getvalue().encode()))


def read_curves(path: Path) -> Curves:
    """Read what `write_curves` wrote; nothing where there is no such file. Raises `UserError` where it is damaged."""
    if not path.exists():
        return {}
    points: dict[tuple[float, str], list[tuple[int, float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                epoch, loss, iteration, norm = (row[column] for column in COLUMNS)
                points.setdefault((float(epoch), loss), []).append((int(iteration), float(norm)))
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is not the table of a probe ({error}): move it away to probe anew") from None
    return {key: Curve([x for x, _ in found], [y for _, y in found]) for key, found in points.items()}


def _facts(spec: RunSpec) -> dict[str, str]:
    return {
        "variant": spec.variant,
        "dataset": spec.dataset,
        "size": str(spec.size),
        "backbone": spec.backbone,
        "batch": str(spec.batch),
        "seed": str(spec.seed),
        "options": plain_text(spec.options),
        "id": spec.id,
    }
