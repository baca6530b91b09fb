"""The literature's two comparisons of modes on stacked MNIST."""

from __future__ import annotations

from dataclasses import replace

from ganbench import Entry, Preset, Published, hookimpl

METRICS = ("modes", "mode-kl")
PACKINGS = (1, 2, 3, 4)
OURS = (
    "Packs are made anew in each step, where the authors of PacGAN make them once for VEEGAN's protocol; digits are "
    "told by the classifier that ganbench ships"
)

# Lin et al. 2018, table 2: modes, KL; with standard errors over 10 runs.
OF_VEEGAN = {
    "dcgan": ((78.9, 6.46), (4.50, 0.127)),
    "pacdcgan2": ((1000.0, 0.00), (0.06, 0.003)),
    "pacdcgan3": ((1000.0, 0.00), (0.06, 0.003)),
    "pacdcgan4": ((1000.0, 0.00), (0.07, 0.005)),
}
# The same, table 3, of 50 runs, for D a quarter of G and a half; what is of Unrolled GAN is of Metz et al. 2017, of
# whose runs and errors nothing is said there.
OF_UNROLLED = {
    "quarter": {
        "dcgan": ((78.5, 17.56), (5.21, 0.19)),
        "pacdcgan2": ((484.5, 32.99), (2.61, 0.22)),
        "pacdcgan3": ((601.3, 32.18), (2.00, 0.17)),
        "pacdcgan4": ((667.4, 29.00), (1.81, 0.15)),
        "unrolled1": ((65.4, 34.75), (5.91, 0.14)),
        "unrolled5": ((236.4, 63.30), (4.67, 0.43)),
        "unrolled10": ((327.2, 74.67), (4.66, 0.46)),
    },
    "half": {
        "dcgan": ((487.7, 34.59), (2.24, 0.15)),
        "pacdcgan2": ((840.7, 15.92), (1.00, 0.05)),
        "pacdcgan3": ((866.6, 12.10), (0.90, 0.04)),
        "pacdcgan4": ((820.2, 25.50), (1.15, 0.14)),
        "unrolled1": ((523.6, 55.77), (2.44, 0.26)),
        "unrolled5": ((732.0, 44.98), (1.66, 0.09)),
        "unrolled10": ((817.4, 37.91), (1.43, 0.12)),
    },
}
Table = dict[str, tuple[tuple[float, float], tuple[float, float]]]


def published(table: Table, runs: int) -> list[Published]:
    """Return what a table gives for its rows; of how many runs, and with which errors, where they are its authors'."""
    found = []
    for label, row in table.items():
        own = not label.startswith("unrolled")
        for metric, (value, error) in zip(METRICS, row, strict=True):
            known = Published("stacked-mnist", label, metric, value, error)
            found.append(replace(known, runs=runs, kind="standard error") if own else known)
    return found


def packed(*settings: str) -> tuple[Entry, ...]:
    """Return the rows of DCGAN, which packs one sample, and of PacDCGAN, as the authors' programs train them."""
    labels = {packing: f"pacdcgan{packing}" if packing > 1 else "dcgan" for packing in PACKINGS}
    shared = ("same_latents=true", "apart=true", *settings)
    return tuple(Entry("pacgan", (f"packing={packing}", *shared), label) for packing, label in labels.items())


PACGAN = Preset(
    name="pacgan-stacked-mnist",
    summary="modes of stacked MNIST found by DCGAN and PacDCGAN with VEEGAN's networks, 100,000 updates of D",
    source="Lin et al. 2018, arXiv:1712.04086, table 2: 10 runs, standard errors",
    datasets=("stacked-mnist",),
    entries=packed("prior=uniform", "generator_steps=2"),
    settings=("stacked-mnist.preset=veegan-26k", "stacked-mnist.positive=true"),
    request={
        "backbone": "veegan",
        "budget": "200k-updates",  # of G, which makes two in each of the 100,000 steps
        "batch": 64,
        "seeds": 10,
        "metrics": METRICS,
        "marks": 5,
    },
    published=published(OF_VEEGAN, 10),
    departures=OURS,
)


def unrolled(share: str, suffix: str, width: int) -> Preset:
    """Return the comparison for D a `share` of G, which is so wide."""
    steps = tuple(Entry("unrolled", (f"steps={k}", "norm=batch"), f"unrolled{k}") for k in (1, 5, 10))
    return Preset(
        name=f"unrolled-stacked-mnist{suffix}",
        summary=f"modes of stacked MNIST found with a D of a {share} of G: DCGAN, PacDCGAN, Unrolled GAN",
        source="Lin et al. 2018, arXiv:1712.04086, table 3: 50 runs, standard errors; Unrolled GAN: Metz et al. 2017, "
        "arXiv:1611.02163",
        datasets=("stacked-mnist",),
        entries=(*packed("generator_lr=1e-4", "betas=0.5,0.99"), *steps),
        settings=(
            "stacked-mnist.preset=unrolled-25.6k",
            f"unrolled-mnist.discriminator_width={width}",
            "unrolled-mnist.batch_statistics=true",
        ),
        request={
            "backbone": "unrolled-mnist",
            "budget": "500k-updates",
            "batch": 128,
            "seeds": 10,
            "metrics": METRICS,
            "marks": 5,
        },
        published=published(OF_UNROLLED[share], 50),
        departures=f"{OURS}. The program of Metz et al. was not published; unrolled has the rates of PacGAN's authors",
    )


@hookimpl
def ganbench_presets() -> list[Preset]:
    return [PACGAN, unrolled("quarter", "", 2), unrolled("half", "-half", 4)]
