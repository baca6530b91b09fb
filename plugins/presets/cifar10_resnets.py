"""CIFAR-10 without labels on residual networks, as WGAN-GP and SNGAN were published."""

from __future__ import annotations

from ganbench import Entry, Preset, Published, hookimpl

WGAN_GP = Preset(
    name="wgan-gp-cifar10",
    summary="CIFAR-10: WGAN-GP's residual networks without labels, 100,000 updates of G",
    source="Gulrajani et al. 2017, arXiv:1704.00028, and gan_cifar_resnet.py of igul222/improved_wgan_training: the "
    "Inception score of 50,000 samples in ten parts, as Miyato et al. 2018, arXiv:1802.05957, table 2, quote it",
    datasets=("cifar10",),
    entries=(Entry("wgan-gp", ("lr=2e-4", "decay=true", "norm=none", "generator_batch=2", "dequantise=true")),),
    request={
        "backbone": "resnet",
        "budget": "100k-updates",
        "batch": 64,
        "seeds": 3,
        "samples": 50_000,
        "metrics": ("is", "fid"),
        "marks": 5,
    },
    settings=("resnet.generator_width=32", "resnet.pool=mean"),
    published=(Published("cifar10", "wgan-gp", "is", 7.86, 0.08),),
    departures="The authors' program has labels as it stands; this is the setting with CONDITIONAL off. Rates fall at "
    "every update of D, there at every one of G. FID has no number beside it: it is that of 50,000 samples to the test "
    "split, and others give theirs to the training split",
)

SNGAN = Preset(
    name="sngan-cifar10",
    summary="CIFAR-10: SNGAN's residual networks and hinge loss without labels, 100,000 updates of G",
    source="Miyato et al. 2018, arXiv:1802.05957, table 2: FID of 5,000 samples to 10,000 real images; "
    "sn_cifar10_unconditional.yml of pfnet-research/sngan_projection",
    datasets=("cifar10",),
    entries=(Entry("sngan", ("generator_batch=2", "dequantise=true")),),
    request={
        "backbone": "resnet",
        "budget": "100k-updates",
        "batch": 64,
        "seeds": 3,
        "samples": 5000,
        "metrics": ("fid", "is"),
        "marks": 5,
    },
    published=(Published("cifar10", "sngan", "fid", 21.7, 0.21),),
    departures="FID is to the 10,000 images of the test split; which 10,000 the paper takes was not read. Its "
    "Inception score, 8.22 ± 0.05, averages ten sets of 5,000 samples; ours is of one set in ten parts, and lower for "
    "that. The authors' file stops after 50,000 updates; there G's update comes before D's five, and rates fall with "
    "those of G",
)


@hookimpl
def ganbench_presets() -> list[Preset]:
    return [WGAN_GP, SNGAN]
