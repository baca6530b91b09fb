"""Comparisons of the literature: their protocols and what was published."""

from __future__ import annotations

from ganbench import Entry, Preset, Published, hookimpl

ADAM = ("lr=1e-4", "betas=0.8,0.999")
NOTEBOOK = ("generator_lr=1e-3", "discriminator_lr=1e-4", "betas=0.5,0.999")  # of the authors of Unrolled GAN
AT_ONCE = (*ADAM, "simultaneous=true")
METRICS = ("modes", "high-quality", "mode-kl")

# Lin et al. 2018, table 1: modes, high-quality samples in percent, reverse KL; with standard errors over 10 runs.
TABLE = {
    "ring": {
        "gan": ((6.3, 0.5), (98.2, 0.2), (0.45, 0.09)),
        "ali": ((6.6, 0.3), (97.6, 0.4), (0.36, 0.04)),
        "pacgan2": ((7.9, 0.1), (95.6, 2.0), (0.07, 0.03)),
        "pacgan3": ((7.8, 0.1), (97.7, 0.3), (0.10, 0.02)),
        "pacgan4": ((7.8, 0.1), (95.9, 1.4), (0.07, 0.02)),
    },
    "grid": {
        "gan": ((17.3, 0.8), (94.8, 0.7), (0.70, 0.07)),
        "ali": ((24.1, 0.4), (95.7, 0.6), (0.14, 0.03)),
        "pacgan2": ((23.8, 0.7), (91.3, 0.8), (0.13, 0.04)),
        "pacgan3": ((24.6, 0.4), (94.2, 0.4), (0.06, 0.02)),
        "pacgan4": ((24.8, 0.2), (93.6, 0.6), (0.04, 0.01)),
    },
}


def published() -> list[Published]:
    """Return the table, high-quality samples as a share."""
    return [
        Published(dataset, label, metric, value / scale, error / scale, runs=10, kind="standard error")
        for dataset, rows in TABLE.items()
        for label, row in rows.items()
        for metric, scale, (value, error) in zip(METRICS, (1, 100, 1), row, strict=True)
    ]


PACGAN = Preset(
    name="pacgan-synthetic",
    summary="2-D ring and grid: lost modes of GAN, ALI, PacGAN and others after 400,000 updates",
    source="Lin et al. 2018, arXiv:1712.04086, table 1: 10 runs, standard errors",
    datasets=("ring", "grid"),
    entries=(
        Entry("gan", AT_ONCE),
        Entry("unrolled", NOTEBOOK),
        Entry("veegan", ("lr=1e-3",)),  # of ports of its authors' notebook
        Entry("ali", (*ADAM, "deviation=input")),
        *(Entry("pacgan", (*AT_ONCE, "apart=true", f"packing={m}"), f"pacgan{m}") for m in (2, 3, 4)),
        Entry("wgan-gp", ("penalty=0.1",)),  # that of its authors' own experiments with points
        Entry("r3gan"),
    ),
    request={
        "backbone": "pacgan",
        "budget": "400k-updates",
        "batch": 100,
        "seeds": 10,
        "samples": 2500,
        "metrics": METRICS,
        "marks": 5,
    },
    published=published(),
    departures="Packs are made anew in each step, where the authors make them once; the running statistics of G move "
    "once for each place in the pack, theirs by the mean over places; every run has evaluation latents of its own, "
    "where the authors have one fixed set. Variants that are not in that table run under its protocol with their own "
    "papers' options",
)


@hookimpl
def ganbench_presets() -> list[Preset]:
    return [PACGAN]
