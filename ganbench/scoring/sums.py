"""Arithmetic with latents, counted: how often a - b + c has what it is to have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from ganbench.errors import UserError
from ganbench.scoring.latents import Latents
from ganbench.seeds import derive
from ganbench.toolbox.judges import Judge

SUM, NOISE, ALONE = "a - b + c", "r - r + c", "c alone"
"""What is counted: the sum; with means of any samples for a and b, so that c moves as far; c by itself."""

SUMS_NOTE = (
    "X, from Y to no Y: (X, Y) - (no X, Y) + (no X, no Y). Shares of sums whose image has all that it is to have; "
    "moved, kept: by part; r - r + c: means of any samples in place of a and b; random: of all samples. A dash: fewer "
    "samples fit a, b or c than there are to be exemplars"
)
"""What the shares of sums are, for a table of them."""

Conditions = Mapping[str, bool]
"""By class or attribute whether a sample is to have it."""


@dataclass(frozen=True)
class Sum:
    """What samples have that are exemplars of a, b and c, and what a - b + c is to have, what is moved first."""

    text: str
    a: Conditions
    b: Conditions
    c: Conditions
    wanted: Conditions


def sums_of(judge: Judge, texts: Sequence[str]) -> list[Sum]:
    """Return the sums that a judge can tell: of each class and the next, else those of attributes that `texts` name."""
    if judge.attributes:
        return [attribute_sum(text) for text in texts]
    names = [name for each in judge.classifiers for name in each.names]
    pairs = zip(names, [*names[1:], *names[:1]], strict=True)
    return [Sum("class - other + other", {i: True}, {j: True}, {j: True}, {i: True}) for i, j in pairs]


def attribute_sum(text: str) -> Sum:
    """Read X/Y, which takes X from samples with Y to those without; X/-Y takes it from those without Y.

    Raises `UserError` where it is neither.
    """
    x, _, of = (part.strip() for part in text.partition("/"))
    y, has = of.removeprefix("-"), not of.startswith("-")
    if not x or not y or x == y:
        raise UserError(f"{text.strip()!r} is no X/Y or X/-Y of two attributes, as Smiling/-Male is")
    of_a, of_c = (y, f"no {y}") if has else (f"no {y}", y)
    return Sum(
        f"{x}, from {of_a} to {of_c}",
        {x: True, y: has},
        {x: False, y: has},
        {x: False, y: not has},
        {x: True, y: not has},
    )


def attributes_of(texts: Sequence[str]) -> list[str]:
    """Return the attributes that sums are of, each once. Raises as `attribute_sum`."""
    return list(dict.fromkeys(name for text in texts for name in attribute_sum(text).wanted))


def fit(has: Mapping[str, Tensor], wanted: Conditions) -> Tensor:
    """Return which samples are as wanted, bool `[N]`."""
    return torch.stack([has[name] == value for name, value in wanted.items()]).all(0)


def means(z: Tensor, rows: Tensor, k: int, trials: int, seed: int) -> Tensor:
    """Return means of `k` different latents each, `[trials, …]`, out of some rows."""
    order = torch.rand(trials, len(rows), generator=torch.Generator().manual_seed(seed)).argsort(1)
    return z[rows[order[:, :k]].to(z.device)].mean(1)


def arithmetic_shares(
    latents: Latents, judge: Judge, sums: Sequence[Sum], exemplars: Sequence[int], samples: int, trials: int
) -> tuple[list[dict[str, float | str]], dict[tuple[str, int], Tensor]]:
    """Count which of `trials` sums of means of so many exemplars are as wanted, beside what that is worth.

    A row a sum and number of exemplars: the shares of `SUM`, `NOISE` and `ALONE` that are as wanted, and of all
    `samples` (`random`); of the sum those that have what is `moved`, and that `kept` the rest; how many samples fit a,
    b and c. Shares are missing where fewer fit than there are to be exemplars. With them images, by text and exemplars:
    of one a, b and c, and of as many sums as there are, uint8. Raises as `Latents.sampled`.

    The prior's own length has a - b + c of means of three: three times the variance over three.
    """
    z, images = latents.sampled(samples, "latent")
    has, found, shown = judge(images).has, list[dict[str, float | str]](), dict[tuple[str, int], Tensor]()
    for n, (each, k) in enumerate(product(sums, exemplars)):
        groups = [fit(has, of).nonzero()[:, 0] for of in (each.a, each.b, each.c)]
        row: dict[str, float | str] = {"sum": each.text, "wanted": _told(each.wanted), "exemplars": k}
        row |= {**dict(zip("abc", map(len, groups), strict=True)), "random": _share(fit(has, each.wanted))}
        found.append(row)
        if min(map(len, groups)) < k or len(z) < k:
            continue
        everybody = torch.arange(len(z))
        a, b, c, r, s = (
            means(z, of, k, trials, derive(latents.seed, "latent", n, term))
            for term, of in enumerate((*groups, everybody, everybody))
        )
        for name, at in {NOISE: r - s + c, ALONE: c, SUM: a - b + c}.items():
            images = latents.made_of(at)
            of_sums = judge(images).has
            row[name] = _share(fit(of_sums, each.wanted))
        for part, (name, value) in zip(("moved", "kept"), each.wanted.items(), strict=False):
            row[part] = _share(of_sums[name] == value)
        shown.setdefault((each.text, k), torch.cat([latents.made_of(torch.cat([a[:1], b[:1], c[:1]])), images]))
    return found, shown


def examples(shown: Mapping[tuple[str, int], Tensor], exemplars: int, n: int) -> dict[str, list[Tensor]]:
    """Return by text the images of a, of b, of c and of the first `n` sums, of means of so many exemplars.

    `shown`: as `arithmetic_shares` returns them. Where a sum has none of so many, those of the most that it has.
    """
    best = dict(sorted(shown, key=lambda key: (key[1] == exemplars, key[1])))  # the last of each text counts
    images = {text: shown[text, k][: 3 + n] for text, k in best.items()}
    return {text: list(of.split([1, 1, 1, len(of) - 3])) for text, of in images.items()}


def _told(conditions: Conditions) -> str:
    return ", ".join(f"{'' if value else 'no '}{name}" for name, value in conditions.items())


def _share(which: Tensor) -> float:
    return float(which.double().mean())
