"""What `validation.py` compares of the Inception network, and of metrics that look at a training."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
import torch
from fid import by_torch_fidelity, embed, prepared, seeded_weights
from ganbench_plugins.backbones.dcgan import DCGAN, Config as Convolutions
from ganbench_plugins.extractors.inception import GENUINE, Inception64, Inception192, Inception768, find
from ganbench_plugins.metrics.inception import SPLITS, inception_score
from ganbench_plugins.variants.wgan import WGAN
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchvision.models.feature_extraction import create_feature_extractor
from validation_references import Float64, frechet_by_products, largest, named, unfolded
from validation_scenes import CPU, Line, Lines, World, told

from ganbench import Features, ImageSet, Past, Variant, frechet_distance, to_float
from ganbench.runs.options import resolve
from ganbench.scoring.samples import generate
from ganbench.training.budget import Budget
from ganbench.training.networks import build_variant
from ganbench.training.trainer import Trainer

LAYERS = {64: Inception64, 192: Inception192, 768: Inception768}
MARKS = (0.2, 0.4, 0.6, 0.8, 1.0)
PROBED = 1000
"""Images of each split that the linear probe sees."""


def early_layers(world: World, name: str) -> Lines:
    """`fid-64`, `fid-192` and `fid-768` from images on, with the genuine weights, beside torch-fidelity's network."""
    path = folded(world)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.pth"
        torch.save(unfolded(path), whole)
        network = FeatureExtractorInceptionV3("x", list(map(str, LAYERS)), feature_extractor_weights_path=str(whole))

    def theirs(images: Tensor) -> dict[int, Tensor]:
        return dict(zip(LAYERS, network(images), strict=True))

    yield from layers(world, name, theirs, named("torch-fidelity"))


def exact_layers(world: World, name: str) -> Lines:
    """The same beside the network written out in float64."""
    yield from layers(world, name, Float64(folded(world)), "the network in float64")


def folded(world: World) -> Path:
    """Return the file of genuine weights. Raises `UserError` where there is none."""
    return find(GENUINE._replace(full=GENUINE.folded), world.weights, whole=False)[0]


def layers(world: World, name: str, theirs: Callable[[Tensor], dict[int, Tensor]], by: str) -> Lines:
    """Extract features of both splits by both networks, and compare the distances of each layer."""
    fake, real = (Features(*each) for each in world.pair(name, world.deep))
    found: list[dict[int, Tensor]] = []
    with torch.no_grad():
        for each in (fake, real):
            parts = [theirs(part.expand(-1, 3, -1, -1)) for part in each.images.split(8)]
            found.append({width: torch.cat([part[width] for part in parts]) for width in LAYERS})
    passes: dict[tuple[Path, str], object] = {}
    for width, extractor in LAYERS.items():
        ready = extractor(passes=passes).prepare(name, world.splits(name), world.weights, CPU)
        a, b = (Features(each.images, embed(ready, each.images, CPU)) for each in (fake, real))
        value = world.measure(f"fid-{width}", name, a, b)[f"fid-{width}"]
        yield Line(f"fid-{width}", by, told(name, a, b), value, frechet_by_products(*(f[width] for f in found)), 1e-4)


def whole_network(world: World, name: str) -> Lines:
    """`fid` and `is` from images on, beside torch-fidelity.

    Where the whole genuine file is not there, of weights drawn from a seed, and the line says so.
    """
    fake, real = (each.images.expand(-1, 3, -1, -1) for each in world.pair(name, world.deep))
    with tempfile.TemporaryDirectory() as folder:
        genuine = whole_weights(world.weights)
        known = GENUINE if genuine else seeded_weights(Path(folder))
        path = genuine or Path(folder) / known.full.path
        embedding = prepared(known, path.parent, fake, CPU)
        features, probs = (torch.cat(parts) for parts in zip(*map(embedding, fake.split(256)), strict=True))
        ours = frechet_distance(features, embed(embedding, real, CPU)), inception_score(probs, SPLITS)
        found = by_torch_fidelity(fake, real, path, CPU, isc=True, samples_shuffle=False, cache=False)
    weights = "" if genuine else "weights drawn from a seed"
    where = told(name, Features(fake), Features(real), weights)
    for metric, value, key in zip(
        ("fid", "is"), ours, ("frechet_inception_distance", "inception_score_mean"), strict=True
    ):
        yield Line(metric, named("torch-fidelity"), where, value, float(found[key]), 1e-3)


def whole_weights(folder: Path | None) -> Path | None:
    """Return the file of all genuine weights under any of its names, or None."""
    names = (form.path for form in (GENUINE.full, *GENUINE.full.also))
    return next((folder / name for name in names if folder is not None and (folder / name).is_file()), None)


class Training(NamedTuple):
    """A short training of WGAN: the trainer, its marks, and the norms of all gradients by player, measured apart."""

    trainer: Trainer
    past: list[Past]
    norms: dict[str, list[float]]


@cache
def training(world: World, name: str) -> Training:
    """Train for 50 updates of the critic, narrow, with five marks; a hook of PyTorch looks at each optimizer's step."""
    data, found = world.splits(name), dict[str, list[float]]()
    trainer = Trainer(built(world, name), data.train, Budget.parse("1600-images"), seed=0, batch=32, device=CPU)
    players = {id(optimizer): player for player, optimizer in trainer.optimizers.items()}

    def look(optimizer: torch.optim.Optimizer, *_: object) -> None:
        gradients = [p.grad.double() for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        found.setdefault(players[id(optimizer)], []).append(norm)

    hook, past = register_optimizer_step_pre_hook(look), []
    try:
        for share in MARKS:
            for _ in trainer.train(share):
                pass
            fake, real = (Features(images.images) for images in (drawn(world, name, trainer), world.pair(name)[1]))
            extractor = world.registry.get("extractor", "pixels").item.prepare(name, data, None, CPU)
            a, b = (Features(each.images, extractor(each.images)[0]) for each in (fake, real))
            past.append(Past(share, dict(trainer.meters.updates), world.measure("fd-pixels", name, a, b)))
    finally:
        hook.remove()
    return Training(trainer, past, found)


def built(world: World, name: str) -> Variant:
    backbone = DCGAN()
    backbone.config = Convolutions(width=8, z_dim=16)
    return build_variant(WGAN, backbone, world.splits(name).spec(), seed=0, config=resolve(WGAN, "wgan", {}))


def drawn(world: World, name: str, trainer: Trainer) -> ImageSet:
    """Samples of the generator as it is, a few hundred."""
    return generate(trainer.snapshot("raw"), min(world.n, 500), world.splits(name), seed=0)


def gradient_norms(world: World, name: str) -> Lines:
    """The median of the norms of all updates, beside PyTorch's norm of what the optimizer was given, in float64."""
    trainer, _, norms = training(world, name)
    blank = Features(world.pair(name)[1].images[:1])
    for player in ("G", "D"):
        metric = f"grad-norm-{player.lower()}"
        values = world.measure(metric, name, blank, blank, traces=trainer.traces())
        where = f"wgan on {name}, {len(norms[player])} updates"
        logs = np.log10(norms[player])
        slope = scipy.stats.linregress(np.linspace(0, 1, len(logs)), logs).slope
        by = "torch.nn.utils.get_total_norm, float64"
        yield Line(metric, by, where, values[metric], float(np.median(norms[player])), 1e-6)
        yield Line(f"{metric}-trend", f"{by}; scipy linregress", where, values[f"{metric}-trend"], slope, 1e-5)


def wasserstein(world: World, name: str) -> Lines:
    """The critic's estimate, and its rank correlation with the distance at the marks."""
    trainer, past, _ = training(world, name)
    blank, trace = (
        Features(world.pair(name)[1].images[:1]),
        pd.Series(trainer.traces()["log/wasserstein"].astype(float)),
    )
    values = world.measure("wasserstein-estimate", name, blank, blank, traces=trainer.traces(), past=past)
    last = [trace[: mark.updates["D"]].tail(max(1, round(mark.updates["D"] / 10))).median() for mark in past]
    rank = pd.Series(last).corr(pd.Series([mark.values["fd-pixels"] for mark in past]), method="spearman")
    where = f"wgan on {name}, {len(trace)} updates of D, {len(past)} marks"
    for metric, theirs in (("wasserstein-estimate", last[-1]), ("wasserstein-estimate-rank", rank)):
        yield Line(metric, named("pandas"), where, values[metric], float(theirs), 1e-6)


def probe(world: World, name: str) -> Lines:
    """A linear classifier on features of D and on pixels, solved in the primal form and not in the dual."""
    trainer = training(world, name).trainer
    train, test = (Features(each.images, labels=each.cond) for each in world.pair(name, PROBED))
    scene = {
        "training": lambda: iter([train]),
        "generator": lambda: trainer.snapshot("raw"),
        "fresh": lambda: built(world, name).train(),
    }
    values = world.measure("linear-probe", name, test, test, **scene)
    cost = world.metrics["linear-probe"].config.cost
    for metric, features in (
        ("linear-probe", of_convolutions(trainer.snapshot("raw"))),
        ("linear-probe-pixels", of_pixels),
    ):
        x, y = features(train.images), features(test.images)
        size = LinearSVC(C=cost / x.shape[1], dual=False, intercept_scaling=x.shape[1] ** 0.5, tol=1e-6)
        machine = make_pipeline(StandardScaler(), size).fit(x, train.labels)
        where = told(name, train, test)
        theirs = machine.score(y, test.labels)
        yield Line(
            metric, named("scikit-learn", "LinearSVC, primal"), where, values[metric], theirs, 0.004, absolute=True
        )


def of_pixels(images: Tensor) -> np.ndarray:
    return images.double().flatten(1).numpy()


def of_convolutions(variant: Variant) -> Callable[[Tensor], np.ndarray]:
    """Return what takes the outputs of all convolutions of D, by torch.fx, each pooled to 4×4 maxima."""
    layers = [name for name, layer in variant.D.named_modules() if isinstance(layer, torch.nn.Conv2d)]
    extract = create_feature_extractor(variant.D.eval(), return_nodes=layers)

    def features(images: Tensor) -> np.ndarray:
        with torch.no_grad():
            return np.concatenate([largest(maps, 4) for maps in extract(to_float(images)).values()], 1).astype(float)

    return features
