"""Presets: what they name is there, their numbers are those of the tables, and their rows train as the authors do."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path

import pytest
import torch
from ganbench_plugins.presets import pacgan_synthetic, stacked_mnist

from ganbench import DataSpec, ImageSet, Preset
from ganbench.runs.options import resolve
from ganbench.runs.plan import Request
from ganbench.runs.presets import plan_preset
from ganbench.runs.registry import discover
from ganbench.training.budget import Budget
from ganbench.training.networks import build_variant
from ganbench.training.trainer import Trainer

PRESETS = [*pacgan_synthetic.ganbench_presets(), *stacked_mnist.ganbench_presets()]


def named(name: str) -> Preset:
    (found,) = (preset for preset in PRESETS if preset.name == name)
    return found


def config(preset: Preset, label: str) -> object:
    """The options with which a row is trained."""
    (entry,) = (entry for entry in preset.entries if (entry.label or entry.variant) == label)
    item = discover().get("variant", entry.variant).item
    return resolve(item, entry.variant, dict(setting.split("=", 1) for setting in entry.settings))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_what_a_preset_names_is_there(preset):
    registry = discover()
    assert registry.get("preset", preset.name)
    labels = [entry.label or entry.variant for entry in preset.entries]
    assert len(set(labels)) == len(labels)
    for label in labels:
        config(preset, label)
    assert {p.label for p in preset.published} <= set(labels)
    assert {p.metric for p in preset.published} <= registry.entries["metric"].keys()
    assert {p.dataset for p in preset.published} <= set(preset.datasets)
    assert max(Counter((p.dataset, p.label, p.metric) for p in preset.published).values()) == 1
    assert all(p.value <= 1 for p in preset.published if p.metric == "high-quality")
    assert preset.request["backbone"] in registry.entries["backbone"]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_row_can_be_trained_with_the_networks_of_its_preset(preset):
    backbone = copy.copy(discover().get("backbone", preset.request["backbone"]).item)
    owned = [setting.partition(".")[2] for setting in preset.settings if setting.startswith(f"{backbone.name}.")]
    backbone.config = resolve(type(backbone), backbone.name, dict(setting.split("=", 1) for setting in owned))
    on_points = "ring" in preset.datasets
    images = torch.randn(64, 2) if on_points else torch.randint(0, 256, (64, 3, 28, 28), dtype=torch.uint8)
    for entry in preset.entries:
        cls, options = discover().get("variant", entry.variant).item, config(preset, entry.label or entry.variant)
        variant = build_variant(cls, backbone, DataSpec(tuple(images.shape[1:])), seed=0, config=options)
        budget = Budget.parse("2-updates")
        run = Trainer(variant, ImageSet(images), budget, seed=0, batch=4, device=torch.device("cpu"))
        *_, last = run.train(1.0)
        assert not run.diverged and last.meters.updates["G"] >= 2, entry
        assert variant.sample(3).shape == (3, *images.shape[1:])


def test_points_are_trained_as_the_authors_do():
    preset = named("pacgan-synthetic")
    for label in ("gan", "pacgan2", "pacgan3", "pacgan4"):
        options = config(preset, label)
        assert (options.lr, options.betas, options.simultaneous) == (1e-4, (0.8, 0.999), True)
    assert [config(preset, f"pacgan{m}").packing for m in (2, 3, 4)] == [2, 3, 4]
    assert all(config(preset, f"pacgan{m}").apart for m in (2, 3, 4))
    ali = config(preset, "ali")
    assert (ali.lr, ali.betas, ali.deviation) == (1e-4, (0.8, 0.999), "input")
    unrolled = config(preset, "unrolled")
    assert (unrolled.generator_lr, unrolled.discriminator_lr, unrolled.betas) == (1e-3, 1e-4, (0.5, 0.999))
    assert unrolled.steps == 5
    veegan = config(preset, "veegan")
    assert (veegan.lr, veegan.betas, veegan.reduction, veegan.reconstructor) == (1e-3, (0.5, 0.999), "sum", "distance")


def test_stacked_mnist_of_veegan_is_trained_as_pacgan_s_authors_do():
    """50 epochs of 128,000 packs in batches of 64, of a uniform prior, with two updates of G in each step."""
    preset = named("pacgan-stacked-mnist")
    for m, label in enumerate(("dcgan", "pacdcgan2", "pacdcgan3", "pacdcgan4"), 1):
        options = config(preset, label)
        assert (options.packing, options.generator_steps, options.prior) == (m, 2, "uniform")
        assert (options.lr, options.generator_lr, options.betas) == (2e-4, None, (0.5, 0.999))
        assert options.same_latents and options.apart and not options.simultaneous
    assert preset.request["batch"] == 64 and preset.request["budget"] == f"{2 * 50 * 128_000 // 64 // 1000}k-updates"


@pytest.mark.parametrize(("name", "width"), [("unrolled-stacked-mnist", 2), ("unrolled-stacked-mnist-half", 4)])
def test_stacked_mnist_of_unrolled_gan_is_trained_as_pacgan_s_authors_do(name, width):
    preset = named(name)
    for label in ("dcgan", "pacdcgan2", "pacdcgan3", "pacdcgan4"):
        options = config(preset, label)
        assert (options.lr, options.generator_lr, options.betas) == (2e-4, 1e-4, (0.5, 0.99))
        assert (options.generator_steps, options.prior, options.same_latents) == (1, "normal", True)
    for steps in (1, 5, 10):
        options = config(preset, f"unrolled{steps}")
        assert (options.discriminator_lr, options.generator_lr, options.betas) == (2e-4, 1e-4, (0.5, 0.99))
        assert (options.steps, options.norm) == (steps, "batch")
    assert f"unrolled-mnist.discriminator_width={width}" in preset.settings
    assert (preset.request["batch"], preset.request["budget"]) == (128, "500k-updates")


def test_errors_are_said_to_be_what_their_papers_say_they_are():
    """10 runs for points and VEEGAN's protocol, 50 for Unrolled GAN's; of the rows of Metz et al. nothing is known."""
    for name, runs in (("pacgan-synthetic", 10), ("pacgan-stacked-mnist", 10), ("unrolled-stacked-mnist", 50)):
        for number in named(name).published:
            known = (None, "") if number.label.startswith("unrolled") else (runs, "standard error")
            assert (number.runs, number.kind) == known, number


def test_the_order_of_the_published_numbers_is_that_of_the_papers():
    """Packing more finds more modes, but for the fourth sample with the larger D; so do more steps ahead."""
    for name, packed in (("unrolled-stacked-mnist", 4), ("unrolled-stacked-mnist-half", 3)):
        modes = {p.label: p.value for p in named(name).published if p.metric == "modes"}
        kl = {p.label: p.value for p in named(name).published if p.metric == "mode-kl"}
        for labels in (
            ["dcgan", *(f"pacdcgan{m}" for m in range(2, packed + 1))],
            ["unrolled1", "unrolled5", "unrolled10"],
        ):
            assert sorted(labels, key=modes.__getitem__) == labels
            assert sorted(labels, key=kl.__getitem__, reverse=True) == labels


@pytest.mark.parametrize("name", ["pacgan-stacked-mnist", "unrolled-stacked-mnist", "unrolled-stacked-mnist-half"])
def test_a_preset_of_stacked_mnist_can_be_planned(name, data_root: Path):
    if not (data_root / "MNIST").is_dir():
        pytest.skip("no MNIST here")
    made = plan_preset(name, 1e-4, Request((), (), data_root=data_root), {"seeds": 1}, discover())
    assert not made.skips and len(made.jobs) == len(named(name).entries)
    assert {job.spec.backbone for job in made.jobs} == {named(name).request["backbone"]}
    assert all(set(job.published["values"]) == {"modes", "mode-kl"} for job in made.jobs)
    assert {job.samples for job in made.jobs} == {26_000 if name.startswith("pacgan") else 25_600}
