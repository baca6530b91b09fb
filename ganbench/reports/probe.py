"""What a reader sees of a probe: a table in Markdown, and a picture of the curves."""

from __future__ import annotations

from ganbench.files import write_atomically
from ganbench.reports.words import aligned
from ganbench.results.rows import plain_text
from ganbench.runs.probe import Curves, Probe

SHOWN = (0, 10, 100, 1000, 10_000)
"""The table shows the norms after so many updates of D, and after the last."""


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
