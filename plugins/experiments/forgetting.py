"""Whether a discriminator forgets what it could tell: D of one mark on the samples of G at every other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganbench import (
    Claim,
    Count,
    Experiment,
    Finding,
    Lab,
    Made,
    Table,
    UserError,
    Variant,
    derive,
    hookimpl,
    mean_with_interval,
    seeded,
    to_float,
)

Matrix = NDArray[np.float64]
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SUMMARIES = ("own", "older", "newer", "forgetting", "worst", "own_train")
LIANG = (
    "Liang et al. 2018, arXiv:1811.11083, abstract: D loses the ability to remember samples of earlier instances of G"
)
PENALISED = ("wgan-gp", "r1")
THANH_TUNG = "Thanh-Tung & Tran 2020, arXiv:1807.04015, abstract: gradient penalties prevent forgetting"


@dataclass(frozen=True)
class Config:
    """Options.

    marks: looks at each run, evenly spread over its budget; `--marks` says the same.
    samples: of G at each mark, and held-out real images at most.
    statistics: by which D's batch norm works: those it keeps ("running"), or those of a batch of real images or of
        samples alone, of the size of the run's ("batch").
    """

    marks: Count = 8
    samples: Count = 1000
    statistics: Literal["running", "batch"] = "running"


class Forgetting(Experiment):
    """AUC of D at mark i on samples of G at mark j, for all i and j.

    It is the probability that D ranks a held-out real image above a sample: one half is chance, whatever the scale of
    D's output is, so that logits and critics compare. Forgetting of a pair i > j is what D had at mark j on these very
    samples less what it has at mark i. That old samples are poor and easy to tell thus hides nothing.
    """

    name = "forgetting"
    summary = "D of each mark judges the samples of G at every other: what it knew and knows no more"
    paper = "Liang et al. 2018, arXiv:1811.11083; Thanh-Tung & Tran 2020, arXiv:1807.04015"
    config: Config = Config()
    variants = ("gan", "lsgan", "hinge", "wgan-gp", "r1")
    makes_runs = True

    def runs(self, options: Config, asked: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        marks = asked.get("marks", options.marks)
        keep = [k / marks for k in range(1, marks)]
        request = {"variants": self.variants, "dataset": ["digits"], "budget": "100k-images", "seeds": 3}
        return [{**request, "metrics": ["grad-norm-g"], **asked, "marks": 1, "keep": keep or None}]

    def find(self, lab: Lab) -> Finding:
        left_out, matrices = dict(lab.failed), dict[str, list[Matrix]]()
        measured, summaries = list[dict[str, Any]](), dict[str, dict[int, dict[str, float]]]()
        shares: Sequence[float] = ()
        for label, runs in _short(lab.rows).items():
            for made in runs:
                lab.tell(f"the discriminators of {label}, seed {made.record.spec.seed}")
                key = {"run": made.record.spec.id, "shares": made.shares}
                try:
                    seen = lab.once(key, lambda made=made: _judged(made, lab.options))  # type: ignore[misc]
                except UserError as error:
                    left_out[label] = str(error)
                    break
                matrix = np.array(seen["auc"], float)
                if len(matrix) < 2:
                    left_out[label] = (
                        "its weights lie at one mark alone, and two are the least: leave --runs out, or raise --marks"
                    )
                    break
                shares = made.shares
                matrices.setdefault(label, []).append(matrix)
                measured += _rows(label, made, matrix, seen)
                own_train = float(np.mean(seen["own_train"]))
                summaries.setdefault(label, {})[made.record.spec.seed] = summarise(matrix, own_train)
        if not matrices:
            raise UserError(f"{self.name}: nobody has a part: {'; '.join(dict.fromkeys(left_out.values()))}")
        protocol = {
            "auc": "P(D(real) > D(sample)) + P(=)/2, from ranks, float64",
            "n": f"{measured[0]['real']} held-out real images, {lab.options.samples} samples a mark, alike for all D",
            "samples": "raw weights of G, evaluation mode, not quantised, as D meets them in training",
            "D": "raw weights, evaluation mode; " + STATISTICS[lab.options.statistics],
            "sign": "that by which D ranks training images above the samples of its own mark, in the mean over marks",
            "intervals": "95 % Student t over seeds",
        }
        notes = (
            [f"Runs that have no end and no part: {len(lab.failed)}; means are over the others"] if lab.failed else []
        )
        if turned := sorted({each["variant"] for each in measured if each["sign"] < 0}):
            notes.append(f"D is low for real images, and was turned round: {', '.join(turned)}")
        figures = {"matrices": _maps(matrices, shares), "ages": _ages(matrices)}
        return Finding([_table(summaries)], measured, _claims(summaries), figures, protocol, left_out, notes)


STATISTICS = {
    "running": "its batch norm by the statistics kept at that mark, so that an image's value hangs on no other image",
    "batch": "its batch norm by batches of real images or of samples of one mark alone, of the size of the run's",
}


def auc(real: Tensor, fake: Tensor) -> float:
    """Return the probability that a value of `real` is above one of `fake`, ties half; NaN where one is not a number.

    From the sum of ranks (Mann & Whitney 1947).
    """
    values = torch.cat([real, fake]).double().cpu().numpy()
    if np.isnan(values).any():
        return math.nan
    ranks, n = rankdata(values)[: len(real)], len(real)
    return float((ranks.sum() - n * (n + 1) / 2) / (n * len(fake)))


def judge(network: nn.Module, images: Tensor, batch: int) -> Tensor:
    """Return D of each image, `[n]`, on the host. Raises `UserError` where D does not give images alone one number."""
    found = []
    for part in images.split(batch):
        try:
            with torch.no_grad():
                output = network(part)
        except (TypeError, ValueError, RuntimeError, AssertionError, IndexError, AttributeError) as error:
            raise UserError(f"its D does not judge images alone ({str(error).splitlines()[0]})") from None
        if not isinstance(output, Tensor) or output.numel() != len(part):
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UserError(f"its D gives {shape} for {len(part)} images, not a number each")
        found.append(output.flatten().cpu())
    return torch.cat(found)


def discriminator_of(variant: Variant, statistics: str) -> nn.Module:
    """Return the network `D`, ready to judge. Raises `UserError` where there is none."""
    network = getattr(variant, "D", None)
    if not isinstance(network, nn.Module):
        raise UserError("it has no discriminator D")
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.train(statistics == "batch")
    return network


def _judged(made: Made, options: Config) -> dict[str, Any]:
    """Return the matrix of a run: row i is D of mark i, column j the samples of mark j."""
    spec, data, n = made.record.spec, made.data, options.samples
    real, train = (
        _drawn(part.images, n, derive(0, "forgetting", name)).to(made.device)
        for name, part in (("test", data.test), ("train", data.train))
    )
    variants = [made.at(share) for share in made.shares]
    if variants[0].task == "translate":
        raise UserError("it translates: its samples are as old as its sources")
    fakes = [_samples(variant, data.train.cond, n, derive(spec.seed, "forgetting", "samples")) for variant in variants]
    rows, own_train = [], []
    for mark, variant in enumerate(variants):
        D = discriminator_of(variant, options.statistics)
        held_out, known, *values = (judge(D, images, spec.batch) for images in (real, train, *fakes))
        rows.append([auc(held_out, each) for each in values])
        own_train.append(auc(known, values[mark]))
    if turned := float(np.mean(own_train)) < 0.5:
        rows, own_train = [[1 - each for each in row] for row in rows], [1 - each for each in own_train]
    return {"auc": rows, "own_train": own_train, "sign": -1 if turned else 1, "real": len(real)}


def _drawn(images: Tensor, n: int, seed: int) -> Tensor:
    """Draw `n` images, all where there are fewer, as a variant is served them."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return to_float(images[order[:n]])


def _samples(variant: Variant, labels: Tensor | None, n: int, seed: int) -> Tensor:
    """Draw `n` samples, of the same latents at every mark; labels as often as in the training images."""
    with torch.no_grad(), seeded(seed):
        cond = None
        if variant.task == "label" and labels is not None:
            cond = labels[torch.randint(len(labels), (n,))].to(variant.device)
        torch.manual_seed(seed)  # that of the device too
        return variant.sample(n, cond)


def _short(rows: Mapping[str, Sequence[Made]]) -> dict[str, Sequence[Made]]:
    """Name rows by their variant and by what not all rows have in their names."""
    shared = set.intersection(*(set(name.split()[1:]) for name in rows))
    return {" ".join(fact for fact in name.split() if fact not in shared): runs for name, runs in rows.items()}


def _rows(label: str, made: Made, auc: Matrix, seen: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each pair of marks."""
    spec = made.record.spec
    return [
        {
            "variant": label,
            "method": spec.variant,
            "seed": spec.seed,
            "D_at": made.shares[i],
            "G_at": made.shares[j],
            "auc": auc[i, j],
            "auc_of_training_images": seen["own_train"][i] if i == j else None,
            "forgotten": auc[j, j] - auc[i, j] if j < i else None,
            "sign": seen["sign"],
            "real": seen["real"],
        }
        for i in range(len(auc))
        for j in range(len(auc))
    ]


def summarise(auc: Matrix, own_train: float) -> dict[str, float]:
    """Return what a matrix comes to.

    `own`, `older`, `newer`: mean AUC on the samples of D's own mark, of earlier and of later ones; `forgetting`: mean
    over pairs i > j of what D had at mark j on its samples less what D of mark i has; `worst`: the largest of these.
    """
    older = np.tril_indices(len(auc), -1)
    lost = np.diag(auc)[older[1]] - auc[older]
    own, newer = np.diag(auc).mean(), auc[np.triu_indices(len(auc), 1)].mean()
    found = (own, auc[older].mean(), newer, lost.mean(), lost.max(), own_train)
    return dict(zip(SUMMARIES, map(float, found), strict=True))


def _text(values: Sequence[float]) -> str:
    mean, half = mean_with_interval(values)
    return f"{mean:.3f}" + ("" if half is None else f" ± {half:.3f}")


def _table(found: Mapping[str, Mapping[int, Mapping[str, float]]]) -> Table:
    columns = [
        "variant", "runs", "own samples", "older", "newer", "forgetting", "worst pair", "own, training images",
    ]  # fmt: skip
    rows = [
        [label, str(len(runs)), *(_text([run[key] for run in runs.values()]) for key in SUMMARIES)]
        for label, runs in found.items()
    ]
    note = (
        "AUC of D on held-out real images against samples of G at D's own mark, at earlier and at later ones; "
        "forgetting: what D had on old samples when they were new, less what it has. Means over seeds ± half-widths of "
        "95 % Student-t intervals."
    )
    return Table("What D can tell", columns, rows, note)


def _claims(found: Mapping[str, Mapping[int, Mapping[str, float]]]) -> list[Claim]:
    lost = {label: {seed: run["forgetting"] for seed, run in runs.items()} for label, runs in found.items()}
    told = "; ".join(f"{label} {_text([*runs.values()])}" for label, runs in lost.items())
    signs = [_sign([*runs.values()]) for runs in lost.values()]
    holds = True if all(each == 1 for each in signs) else False if -1 in signs else None
    reason = f"Intervals above 0: {signs.count(1)} of {len(signs)} variants; below: {signs.count(-1)}."
    claims = [Claim(f"{LIANG}.", f"forgetting in AUC: {told}.", holds, "" if holds else reason)]
    for name in PENALISED:
        if name in lost and "gan" in lost and (seeds := sorted(lost[name].keys() & lost["gan"].keys())):
            gaps = [lost["gan"][seed] - lost[name][seed] for seed in seeds]
            sign = _sign(gaps)
            less = f"forgetting of gan less that of {name}: {_text(gaps)}, {len(gaps)} seeds."
            reason = "" if sign == 1 else "One seed." if len(gaps) == 1 else "The interval holds 0 or lies below."
            claims.append(Claim(f"{THANH_TUNG}; of {name}.", less, {1: True, -1: False}.get(sign), reason))
    return claims


def _sign(values: Sequence[float]) -> int:
    """Return on which side of zero the interval of the mean lies, 0 where it holds zero or there is none."""
    mean, half = mean_with_interval(values)
    return 0 if half is None or not abs(mean) > half else int(math.copysign(1, mean))


def _maps(matrices: Mapping[str, Sequence[Matrix]], shares: Sequence[float]) -> tuple[Figure, str]:
    across = min(3, len(matrices))
    down = -(-len(matrices) // across)
    figure = Figure(figsize=(8, 0.5 + 7.2 / across * down), layout="constrained")
    places = list(figure.subplots(down, across, squeeze=False).flat)
    ticks = [f"{share:.0%}" for share in shares]
    for axes, (label, of) in zip(places, matrices.items(), strict=False):
        mean = np.mean(of, axis=0)
        drawn = axes.imshow(mean, cmap="RdBu", vmin=0, vmax=1, origin="lower")
        every = range(0, len(mean), -(-len(mean) // 8))
        axes.set_xticks([*every], [ticks[k] for k in every], fontsize=7, rotation=90)
        axes.set_yticks([*every], [ticks[k] for k in every], fontsize=7)
        axes.set_title(f"{label}, {len(of)} run{'s' * (len(of) > 1)}", fontsize=9)
        if len(mean) <= 10:
            for (i, j), value in np.ndenumerate(mean):
                colour = "white" if abs(value - 0.5) > 0.38 else "black"
                axes.text(j, i, f"{value:.2f}".lstrip("0"), ha="center", va="center", fontsize=6, color=colour)
    for axes in places[len(matrices) :]:
        axes.remove()
    figure.supxlabel("samples of G at this share of the budget", fontsize=9)
    figure.supylabel("judged by D at this share", fontsize=9)
    figure.colorbar(drawn, ax=places[: len(matrices)], label="AUC (0.5: chance)", shrink=0.8, aspect=30)
    return (
        figure,
        "AUC of D (rows) on samples of G (columns), means over seeds; left of the diagonal G is older than D.",
    )


def _ages(matrices: Mapping[str, Sequence[Matrix]]) -> tuple[Figure, str]:
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for number, (label, of) in enumerate(matrices.items()):
        ages = np.arange(1 - len(of[0]), len(of[0]))
        line = [mean_with_interval([float(auc.diagonal(-int(age)).mean()) for auc in of]) for age in ages]
        mean, half = np.array([[m, h or 0] for m, h in line]).T
        colour, stroke = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
        axes.plot(ages, mean, stroke, color=colour, marker="o", markersize=3, label=label)
        axes.fill_between(ages, mean - half, mean + half, color=colour, alpha=0.14, linewidth=0)
    axes.axhline(0.5, color="#555555", linestyle=(0, (3, 2)), linewidth=0.8)
    axes.axvline(0, color="#C4C4C4", linewidth=0.8)
    axes.set(xlabel="age of the samples, in marks (below 0: newer than D)", ylabel="AUC of D (0.5: chance)")
    axes.grid(color="#E8E8E8", linewidth=0.5)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return (
        figure,
        "AUC by how much older than D the samples are, means over marks, then over seeds with 95 % intervals.",
    )


@hookimpl
def ganbench_experiments() -> list[Experiment]:
    return [Forgetting()]
