"""What discriminators forget: D of each mark of a run judges samples of G at every other, by AUC.

AUC is the probability that D ranks a held-out real image above a sample. One half is chance, whatever the scale of D's
output is, so that logits and critics compare.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganbench.contract.data import to_float
from ganbench.contract.experiments import Made
from ganbench.contract.variant import Variant
from ganbench.errors import UserError
from ganbench.seeds import derive, seeded

Statistics = Literal["running", "batch"]
"""By which a batch norm works: those it keeps, or those of the batch that it is given."""
PURPOSE = "forgetting"
"""What latents and real images are drawn for."""
_NORMS = {
    "running": "its batch norm by the statistics kept at that mark, so that an image's value hangs on no other image",
    "batch": "its batch norm by batches of real images or of samples of one mark alone, of the size of the run's",
}
_MISFITS = (TypeError, ValueError, RuntimeError, AssertionError, IndexError, AttributeError)


@dataclass(frozen=True)
class JudgedMarks:
    """What D of each mark can tell of samples of each mark.

    `auc`: `[i][j]` of D at mark i on samples of G at mark j; `own_train`: of D on those of its own mark, with training
    images in the place of held-out ones; `sign`: -1 where D is low for real images, and was turned round; `real`: so
    many held-out images.
    """

    shares: Sequence[float]
    auc: Sequence[Sequence[float]]
    own_train: Sequence[float]
    sign: int
    real: int

    @property
    def matrix(self) -> NDArray[np.float64]:
        """`auc` as an array."""
        return np.array(self.auc, float)

    def pairs(self) -> list[dict[str, Any]]:
        """Return a row for each pair of marks; `forgotten`: what D had at an earlier mark on its samples, less what it
        has. That old samples are poor and easy to tell thus hides nothing.
        """
        return [
            {
                "D_at": D_at,
                "G_at": G_at,
                "auc": self.auc[i][j],
                "auc_of_training_images": self.own_train[i] if i == j else None,
                "forgotten": self.auc[j][j] - self.auc[i][j] if j < i else None,
                "sign": self.sign,
                "real": self.real,
            }
            for i, D_at in enumerate(self.shares)
            for j, G_at in enumerate(self.shares)
        ]

    def summary(self) -> dict[str, float]:
        """Return what the matrix comes to.

        `own`, `older`, `newer`: mean AUC on the samples of D's own mark, of earlier and of later ones; `forgetting`:
        mean of what was forgotten over all pairs, `worst`: the largest of it; `own_train`: its mean.
        """
        auc = self.matrix
        older = np.tril_indices(len(auc), -1)
        lost = np.diag(auc)[older[1]] - auc[older]
        found = {"own": np.diag(auc).mean(), "older": auc[older].mean()}
        found |= {"newer": auc[np.triu_indices(len(auc), 1)].mean(), "forgetting": lost.mean(), "worst": lost.max()}
        return {name: float(value) for name, value in found.items()} | {"own_train": float(np.mean(self.own_train))}


def judge_marks(made: Made, n: int, statistics: Statistics = "running") -> Mapping[str, Any]:
    """Let D of each mark of a run judge `n` samples of each; what is returned are the facts of `JudgedMarks`.

    Samples are those of the raw weights of G in evaluation mode, not quantised, as D meets them in training, of the
    same latents at every mark; real images are `n` held-out and `n` training images, alike for all runs. D is turned
    round where it ranks training images below samples of its own mark, in the mean over marks. Raises `UserError` where
    there are not two marks, no D, or one that does not judge images alone.
    """
    spec, data = made.record.spec, made.data
    if len(made.shares) < 2:
        raise UserError("its weights lie at one mark alone, and two are the least: leave --runs out, or raise --marks")
    real, train = (
        _drawn(part.images, n, derive(0, PURPOSE, name)).to(made.device)
        for name, part in (("test", data.test), ("train", data.train))
    )
    variants = [made.at(share) for share in made.shares]
    if variants[0].task == "translate":
        raise UserError("it translates: its samples are as old as its sources")
    fakes = [_samples(variant, data.train.cond, n, derive(spec.seed, PURPOSE, "samples")) for variant in variants]
    auc, own_train = [], []
    for mark, variant in enumerate(variants):
        D = discriminator_of(variant, statistics)
        held_out, known, *values = (outputs_of(D, images, spec.batch) for images in (real, train, *fakes))
        auc.append([auc_of(held_out, each) for each in values])
        own_train.append(auc_of(known, values[mark]))
    if turned := float(np.mean(own_train)) < 0.5:
        auc, own_train = [[1 - each for each in row] for row in auc], [1 - each for each in own_train]
    sign = -1 if turned else 1
    return {"shares": list(made.shares), "auc": auc, "own_train": own_train, "sign": sign, "real": len(real)}


def protocol_of_marks(n: int, real: int, statistics: Statistics) -> dict[str, str]:
    """Say how `n` samples of each mark and so many real images were judged."""
    return {
        "auc": "P(D(real) > D(sample)) + P(=)/2, from ranks, float64",
        "n": f"{real} held-out real images, {n} samples a mark, alike for all D",
        "samples": "raw weights of G, evaluation mode, not quantised, as D meets them in training",
        "D": f"raw weights, evaluation mode; {_NORMS[statistics]}",
        "sign": "that by which D ranks training images above the samples of its own mark, in the mean over marks",
        "intervals": "95 % Student t over seeds",
    }


def auc_of(real: Tensor, fake: Tensor) -> float:
    """Return the probability that a value of `real` is above one of `fake`, ties half; NaN where one is not a number.

    From the sum of ranks (Mann & Whitney 1947), in float64.
    """
    from scipy.stats import rankdata  # it takes a second to import

    values = torch.cat([real, fake]).double().cpu().numpy()
    if np.isnan(values).any():
        return math.nan
    ranks, n = rankdata(values)[: len(real)], len(real)
    return float((ranks.sum() - n * (n + 1) / 2) / (n * len(fake)))


def outputs_of(network: nn.Module, images: Tensor, batch: int) -> Tensor:
    """Return D of each image, `[n]`, on the host. Raises `UserError` where D does not give images alone one number."""
    found = []
    for part in images.split(batch):
        try:
            with torch.no_grad():
                output = network(part)
        except _MISFITS as error:
            said = str(error).splitlines() or [type(error).__name__]
            raise UserError(f"its D does not judge images alone ({said[0]})") from None
        if not isinstance(output, Tensor) or output.numel() != len(part):
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UserError(f"its D gives {shape} for {len(part)} images, not a number each")
        found.append(output.flatten().cpu())
    return torch.cat(found)


def discriminator_of(variant: Variant, statistics: Statistics) -> nn.Module:
    """Return the network `D`, ready to judge by these statistics of its batch norms. Raises `UserError` without one."""
    network = getattr(variant, "D", None)
    if not isinstance(network, nn.Module):
        raise UserError("it has no discriminator D")
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.train(statistics == "batch")
    return network


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
