"""A plugin of one file for the tests: a preset over in-tree variants and the embedded ring."""

from ganbench import Entry, Preset, Published, hookimpl

PRESET = Preset(
    name="tiny-table",
    summary="two GANs on a ring",
    source="Nobody et al. 2026, table 3",
    datasets=("ring", "grid"),
    entries=(Entry("gan", ("lr=1e-3",)), Entry("wgan", ("clip=0.1",), "loose"), Entry("wgan", ("clip=0.2",))),
    request={"budget": "1k-images", "batch": 16, "seeds": 2, "samples": 50, "metrics": ("modes",), "marks": 1},
    settings=("mlp.width=16",),
    published=(
        Published("ring", "gan", "modes", 6.3, 0.5),
        Published("ring", "loose", "modes", 7),
        Published("grid", "gan", "high-quality", 0.9),
        Published("grid", "loose", "modes", 20.0, 1.0, runs=10, kind="standard error"),
    ),
    departures="Smaller networks",
)


@hookimpl
def ganbench_presets():
    return [PRESET]
