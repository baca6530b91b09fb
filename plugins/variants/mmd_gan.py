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
    Autoencoder,
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
    gradient_norms,
    hookimpl,
    mean_over_ranks,
    mmd_squared,
    points_between,
    rational_quadratic_kernel,
    witness,
)

SHAPES = (0.2, 0.5, 1.0, 2.0, 5.0)
DEVIATIONS = {"binkowski": (2.0, 5.0, 10.0, 20.0, 40.0, 80.0), "li": (1.0, 2.0, 4.0, 8.0, 16.0)}


@dataclass(frozen=True)
class Config:
    """Options; the defaults are Bińkowski's, and Li's where `form` is "li".

    form: "binkowski" (Bińkowski et al. 2018) or "li" (Li et al. 2017, arXiv:1705.08584).
    kernel: "rq" sums rational quadratic kernels with α of 0.2, 0.5, 1, 2 and 5, "rq+dot" adds the inner product, "rbf"
        sums Gaussian kernels; None is "rq+dot", and "rbf" for Li (paper; α of 0.1, 1 and 10 in gan/core/mmd.py of
        the authors).
    lr: learning rate of both players; None is 1e-4, and 5e-5 for Li (gan/main.py of the authors; util.py of Li's).
    critic_steps: updates of D before each of G (gan/main.py of the authors; util.py of Li's).
    betas: of Adam; Li's has RMSprop (gan/core/model.py of the authors).
    features: outputs of D; in Li's form the code is as wide as z (gan/main.py of the authors).
    penalty: λ, on slopes per unit of pixels in [0, 1]; not in Li's form (cifar10.sh of the authors).
    feature_penalty: weight of the mean square of features; not in Li's form (cifar10.sh of the authors).
    clip: box of the encoder's weights, in Li's form alone (mmd_gan.py of Li's).
    autoencoder_weight: of the autoencoder's error on real and on fake, in Li's form alone (mmd_gan.py of Li's).
    rank_weight: of the excess of fake over real mean codes, in Li's form alone (mmd_gan.py of Li's).
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

    Bińkowski: the unbiased MMD², and a penalty on the gradient norm of its witness function w between real and fake
    images. Slopes are measured per unit of pixels in [0, 1], the authors' range: twice those of ours, in [-1, 1]. So
    λ (‖∇w‖ - 1)² there is 4λ (‖∇w‖ - ½)² in our units. On points the unit is that of the data.

    Li: the root of the biased MMD² on the codes of an autoencoder whose encoder is clipped to a box, its error on both
    batches, and a penalty where mean codes of fakes exceed those of real images (§3.3). Encoder and decoder are
    batch-normalised, the code is as wide as z, and the decoder is like G.

    Objective: min_G MMD²(D(x), D(G(z))), min_D λ E (‖∇w(x̂)‖ - 1)² + E D(x)² + E D(G(z))² - MMD² (Bińkowski); min_G
    √MMD² - 16 E max(0, E f(G(z)) - E f(x)), and min_D minus that + 8 (autoencoder's errors), f the codes (Li)
    Departures: Bińkowski's program also clips gradients, adds hidden layers to the penalty on features, takes the norm
    of gradients over one axis of the image alone, leaves the squares of features in its unbiased estimate, and lowers
    learning rates when its score stalls. Li's trains D a hundred times for each of the first 25 updates of G and every
    500, clips before D's update and not after it, and draws other real images for G's update. Li's images are in
    [-1, 1], as here.
    Budget: 150,000 updates of G after five of D with 64 images each, 48M images (gan/main.py)
    Published: no number that was read under a protocol that can be run here
    """

    name = "mmd-gan"
    summary = "maximum mean discrepancy between features that D learns"
    paper = "Bińkowski et al. 2018, arXiv:1801.01401"
    family = "mmd"
    paper_images = 48_000_000
    config: Config
    D: Any

    def build(self, parts: Parts) -> None:
        self.G = parts.generator()
        if self.config.form == "li":
            self.D = Autoencoder(parts.encoder(outputs=parts.z_dim), parts.generator(inputs=parts.z_dim))
        else:
            self.D = parts.discriminator(outputs=self.config.features, norm="none")
        self.unit = 2.0 if parts.data.is_image else 1.0  # the authors' unit of the data in ours
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
        excess = relu(mean_over_ranks(fake.mean(0) - real.mean(0))).mean()
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
            places = points_between(real, fake)
            slopes = gradient_norms(lambda x: witness(self.kernel, self.D(x), on_real, on_fake), places)
            penalty = (self.unit * slopes - 1).square().mean()
            squares = on_real.square().mean() + on_fake.square().mean()
            regulariser = config.penalty * penalty + config.feature_penalty * squares
        log = {"distance": distance.detach(), "regulariser": regulariser.detach()}
        yield Update("D", regulariser - distance, log)
        if (clock.step + 1) % config.critic_steps == 0:
            yield Update("G", self.distance(self.features(real).detach(), self.features(self.sample(n))))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [MMDGAN]
