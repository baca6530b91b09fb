"""`ganbench probe`: train to given epochs, probe the generator's gradient at each, and write table, CSV and picture."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ganbench.budget import Budget
from ganbench.errors import UserError
from ganbench.execute import CHECKPOINT_SECONDS, Run
from ganbench.files import write_atomically
from ganbench.markdown import aligned
from ganbench.plan import Job, Request, open_dataset, plan
from ganbench.plugins import Registry
from ganbench.record import RunSpec
from ganbench.rows import plain_text
from ganbench.store import ResultStore
from ganbench.trainer import Trainer
from ganbench.types import Curve

COLUMNS = ("epoch", "loss", "iteration", "grad_norm")
SHOWN = (0, 10, 100, 1000, 10_000)
"""The table shows the norms after so many updates of D, and after the last."""

Curves = Mapping[tuple[float, str], Curve]
"""By the epochs of training before the look, and the generator's loss."""


@dataclass(frozen=True)
class Probe:
    """A run to be probed after so many `epochs` of `images` real images, by D's of so many `iterations`."""

    job: Job
    epochs: tuple[float, ...]
    images: int
    iterations: int
    results: Path

    def path(self, suffix: str) -> Path:
        """Return where a result of it lies."""
        record = ResultStore(self.results).path(self.job.spec)
        return record.with_name(f"{record.stem}-probe{self.iterations}{suffix}")


def plan_probe(
    request: Request, registry: Registry, *, epochs: Sequence[float], iterations: int, seed: int, results: Path
) -> Probe:
    """Turn a request for one variant and one data set into a probe. Raises `UserError` where it cannot be made."""
    if not epochs or not all(0 < epoch < math.inf for epoch in epochs):
        raise UserError(f"--at {','.join(f'{epoch:g}' for epoch in epochs)}: name epochs above 0, as in 1,10,25")
    made = plan(replace(request, budget="1-images", metrics=("grad-norm-g",), seeds=1), registry)
    if not made.jobs:
        raise UserError(f"{made.skips[0].variant} on {made.skips[0].dataset}: {made.skips[0].reason}")
    if len(made.jobs) > 1:
        raise UserError("a probe is of one variant on one data set; several were named")
    job = made.jobs[0]
    dataset = open_dataset(job.dataset, registry, job.settings["dataset"])
    images = len(dataset.load(job.data_root, job.spec.size or dataset.size).train.images)
    budget = Budget(max(1, round(max(epochs) * images)), "images")
    spec = replace(job.spec, budget=budget, seed=seed)
    return Probe(replace(job, spec=spec), tuple(sorted(set(epochs))), images, iterations, results / "probe")


def run_probe(probe: Probe, registry: Registry, *, threads: int, tell: Callable[[str], object]) -> Curves:
    """Train, from the last checkpoint where that is not too late, and probe; the CSV grows by each epoch probed.

    Training is that of `ganbench run`: what a probe trains is a copy.
    """
    store = ResultStore(probe.results)
    curves = dict(read_curves(probe.path(".csv")))
    missing = [epoch for epoch in probe.epochs if not any(epoch == done for done, _ in curves)]
    if not missing:
        return curves
    with store.lock(probe.job.spec, blocking=False) as free:
        if not free:
            raise UserError(f"another command is making this probe: {probe.path('.csv')}")
        run = Run(probe.job, store, registry, threads)
        trainer = run.begin()
        if _is_beyond(trainer, missing[0] * probe.images):
            tell(f"the checkpoint is of a later time than epoch {missing[0]:g}: training starts anew")
            run.saved = None
            trainer = run.begin()
        for epoch in missing:
            _advance(trainer, run, epoch * probe.images / probe.job.spec.budget.amount)
            if trainer.diverged:
                raise UserError(f"{probe.job.spec.variant} diverged before epoch {epoch:g}: {trainer.diverged}")
            tell(f"epoch {epoch:g}: probing with {probe.iterations} updates of a fresh discriminator")
            found = run.probe(trainer.snapshot(), probe.iterations)
            curves |= {(epoch, loss): curve for loss, curve in found.items()}
            run.checkpoint(trainer)
            write_curves(probe, curves)
            for loss, curve in found.items():
                tell(f"epoch {epoch:g}: {loss}  {curve.norms[0]:.3g} → {curve.norms[-1]:.3g}")
    return curves


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


def write_curves(probe: Probe, curves: Curves) -> None:
    """Write one row a measurement, with all that defines it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    facts = _facts(probe.job.spec)
    writer.writerow([*facts, *COLUMNS])
    for (epoch, loss), curve in sorted(curves.items()):
        for iteration, norm in zip(curve.iterations, curve.norms, strict=True):
            writer.writerow([*facts.values(), f"{epoch:g}", loss, iteration, repr(norm)])
    write_atomically(probe.path(".csv"), lambda file: file.write(text.getvalue().encode()))


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


def table(probe: Probe, curves: Curves) -> str:
    """Return the norms as Markdown, a row for each epoch and loss, with the protocol below."""
    at = [*(number for number in SHOWN if number < probe.iterations), probe.iterations]
    header = ["epochs", "loss of G", *(f"{number:,} updates of D" for number in at), "decades"]
    lines = []
    for (epoch, loss), curve in sorted(curves.items()):
        places = [max(k for k, x in enumerate(curve.iterations) if x <= max(n, curve.iterations[0])) for n in at]
        norms = [f"{curve.norms[place]:.3g}" for place in places]
        lines.append((f"{epoch:g}", loss, *norms, f"{curve.decades:+.2f}"))
    spec = probe.job.spec
    title = f"### Gradient of G against a fresh D: {spec.variant}, {spec.dataset}, {spec.size} px, {spec.backbone}"
    note = (
        "Norm of the gradient of all of G's weights, G fixed in training mode after so many epochs, by updates of a D "
        f"that starts anew: the backbone's with batch norm, Adam 2e-4 (0.5, 0.999), batch {spec.batch}, on one fixed "
        "batch of latents, through logits; `own`: the variant's own D, step and loss, on latents that its step draws. "
        f"Seed {spec.seed}{', ' + text if (text := plain_text(spec.options)) else ''}; data {spec.data[:12]}; "
        f"{probe.images:,} images an epoch; id {spec.id}."
    )
    return f"{title}\n\n{aligned(header, lines)}\n\n- {note}"


def draw(probe: Probe, curves: Curves) -> None:
    """Write the curves as a PNG, both axes logarithmic; zeros have no place on it."""
    from matplotlib.figure import Figure

    losses = sorted({loss for _, loss in curves})
    figure = Figure(figsize=(4.5 * len(losses), 4), layout="constrained")
    for number, loss in enumerate(losses):
        axes = figure.add_subplot(1, len(losses), number + 1)
        for epoch in sorted(epoch for epoch, other in curves if other == loss):
            curve, unit = curves[epoch, loss], "epoch" if epoch == 1 else "epochs"
            axes.plot([x + 1 for x in curve.iterations], curve.norms, label=f"after {epoch:g} {unit}")
        axes.set(xscale="log", yscale="log", title=f"loss of G: {loss}", xlabel="updates of the fresh D, plus 1")
        axes.set_ylabel("norm of the gradient of G")
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend()
    write_atomically(probe.path(".png"), lambda file: figure.savefig(file, format="png", dpi=110))
