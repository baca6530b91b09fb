"""MMD GAN: maximum mean discrepancy on learnt features (Bińkowski et al., 2018; Li et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, relu
from torch.optim import Adam, Optimizer, RMSprop

from ganbench import (
    Batch,
    Clock,
    Count,
    Fraction,
    NonNegative,
    Parts,
    Positive,
    Update,
    Variant,
    dot_kernel,
    gaussian_kernel,
    gradient_penalty,
    hookimpl,
    mmd_squared,
    rational_quadratic_kernel,
    witness,
)

SHAPES = (0.2, 0.5, 1.0, 2.0, 5.0)
DEVIATIONS = {"binkowski": (2.0, 5.0, 10.0, 20.0, 40.0, 80.0), "li": (1.0, 2.0, 4.0, 8.0, 16.0)}


@dataclass(frozen=True)
class Config:
    """Options; the defaults are Bińkowski's, and Li's where `form` is "li".

    `kernel`: "rq" sums rational quadratic kernels with α of 0.2, 0.5, 1, 2 and 5 (0.1, 1 and 10 in the authors' code),
    "rq+dot" adds the inner product, "rbf" sums Gaussian kernels; None is "rq+dot", and "rbf" for Li. `lr`: None is
    1e-4, and 5e-5 for Li. Bińkowski's alone: `betas`, `features` of D, `penalty` λ, `feature_penalty` on squared
    features. Li's alone: `clip` of the encoder's weights, `autoencoder_weight` and `rank_weight` as in that code.
    """

    form: Literal["binkowski", "li"] = "binkowski"
    kernel: Literal["rq", "rq+dot", "rbf"] | None = None
    lr: Positive | None = None
    critic_steps: Count = 5
    betas: tuple[Fraction, Fraction] = (0.5, 0.9)
    features: Count = 16
    penalty: NonNegative = 1.0
    feature_penalty: NonNegative = 1.0
    clip: Positive = 0.01
    autoencoder_weight: NonNegative = 8.0
    rank_weight: NonNegative = 16.0


class MMDGAN(Variant):
    """G minimises, and D maximises, the MMD between real and fake features. G meets the batch that D has just seen.

    Bińkowski: the unbiased MMD², and a penalty on the gradient norm of its witness function between real and fake
    images. Their code also clips gradients, adds hidden layers to the penalty on features, and lowers learning rates
    when its score stalls.
    Li: the root of the biased MMD² on the codes of an autoencoder whose encoder is clipped to a box, its error on both
    batches, and a penalty where mean codes of fakes exceed those of real images (§3.3 and code, less its warm-up).
    """

    name = "mmd-gan"
    summary = "maximum mean discrepancy between features that D learns"
    paper = "Bińkowski et al. 2018, arXiv:1801.01401"
    family = "mmd"
    config: Config
    D: Any

    def build(self, parts: Parts) -> None:
        self.G = parts.generator()
        if self.config.form == "li":
            self.D = parts.autoencoder()
        else:
            self.D = parts.discriminator(outputs=self.config.features, norm="none")
        self.period = self.config.critic_steps

    def optimizers(self) -> dict[str, Optimizer]:
        config, parameters = self.config, {"G": self.G.parameters(), "D": self.D.parameters()}
        if config.form == "binkowski":
            return {player: Adam(weights, config.lr or 1e-4, config.betas) for player, weights in parameters.items()}
        optimizers = {player: RMSprop(weights, config.lr or 5e-5) for player, weights in parameters.items()}
        optimizers["D"].register_step_post_hook(self.clip_encoder)
        return {**optimizers}

    @torch.no_grad()
    def clip_encoder(self, *_: Any) -> None:
        """Clip the encoder's parameters, not the decoder's."""
        for parameter in self.D.encoder.parameters():
            parameter.clamp_(-self.config.clip, self.config.clip)

    def noise(self, n: int) -> Tensor:
        """Draw latents from U(-1, 1), and from N(0, I) in Li's form."""
        if self.config.form == "li":
            return super().noise(n)
        return torch.rand(n, self.z_dim, device=self.device) * 2 - 1

    def features(self, x: Tensor) -> Tensor:
        """Return D's output, or in Li's form the code."""
        output: Tensor = self.D.encoder(x) if self.config.form == "li" else self.D(x)
        return output.float()

    def kernel(self, x: Tensor, y: Tensor) -> Tensor:
        """Return k on features, `[len(x), len(y)]`."""
        kind = self.config.kernel or ("rbf" if self.config.form == "li" else "rq+dot")
        if kind == "rbf":
            return gaussian_kernel(x, y, DEVIATIONS[self.config.form])
        values = rational_quadratic_kernel(x, y, SHAPES)
        return values + dot_kernel(x, y) if kind == "rq+dot" else values

    def distance(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return what G minimises and D maximises, of features."""
        if self.config.form == "binkowski":
            return mmd_squared(self.kernel, real, fake)
        excess = relu(fake.mean(0) - real.mean(0)).mean()
        root = (relu(mmd_squared(self.kernel, real, fake, biased=True)) + 1e-12).sqrt()
        return root - self.config.rank_weight * excess

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n, real, config = len(batch.real), batch.real, self.config
        fake = self.sample(n).detach()
        on_real, on_fake = self.features(real), self.features(fake)
        distance = self.distance(on_real, on_fake)
        if config.form == "li":
            errors = mse_loss(self.D.decoder(on_real).float(), real) + mse_loss(self.D.decoder(on_fake).float(), fake)
            regulariser = config.autoencoder_weight * errors
        else:
            penalty = gradient_penalty(lambda x: witness(self.kernel, self.D(x), on_real, on_fake), real, fake)
            squares = on_real.square().mean() + on_fake.square().mean()
            regulariser = config.penalty * penalty + config.feature_penalty * squares
        log = {"distance": distance.detach(), "regulariser": regulariser.detach()}
        yield Update("D", regulariser - distance, log)
        if (clock.step + 1) % config.critic_steps == 0:
            yield Update("G", self.distance(self.features(real).detach(), self.features(self.sample(n))))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [MMDGAN]
