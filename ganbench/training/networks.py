"""Networks at their first step: initial weights are a function of the seed and of what is asked for."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import nn

from ganbench.contract.backbone import Autoencoder, Backbone, Discriminator, Parts
from ganbench.contract.types import DataSpec, Norm
from ganbench.contract.variant import Variant
from ganbench.errors import UserError
from ganbench.seeds import derive, seeded
from ganbench.toolbox.layers import find_sigmas_exactly
from ganbench.training.arithmetic import want_channels_last
from ganbench.training.switches import kept


def build_variant(cls: type[Variant], backbone: Backbone, data: DataSpec, *, seed: int, config: Any = None) -> Variant:
    """Build a variant on the host, its initial weights a function of the seed; shared parts start alike."""
    with kept(), seeded(derive(seed, "init")):
        variant = cls(SeededParts(backbone(data), seed), config)
    find_sigmas_exactly(variant)
    return variant


def fit_variant(cls: type[Variant], backbone: Backbone, data: DataSpec, config: Any = None) -> Variant:
    """Build a variant to see whether it fits the data. Raises `UserError` that says why where it does not."""
    if reason := cls.misfit(data) or (None if cls.own_architecture else backbone.misfit(data)):
        raise UserError(reason)
    return build_variant(cls, backbone, data, seed=0, config=config)


class SeededParts(Parts):
    """Parts whose initial weights depend on the seed and on what is asked for, not on the variant that asks.

    So two variants start from the same generator, and seeds pair up in a comparison.
    """

    def __init__(self, parts: Parts, seed: int) -> None:
        super().__init__(parts.data, parts.z_dim)
        self._parts, self._seed, self._asked = parts, seed, Counter[str]()

    def _make(self, part: str, **arguments: Any) -> Any:
        number = self._asked[part]
        self._asked[part] += 1
        with seeded(derive(self._seed, "init", part, number)):
            network = getattr(self._parts, part)(**arguments)
        return want_channels_last(network) if self._parts.channels_last else network

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        """See `Parts.generator`."""
        network: nn.Module = self._make("generator", inputs=inputs)
        return network

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        """See `Parts.discriminator`."""
        network: Discriminator = self._make("discriminator", outputs=outputs, channels=channels, norm=norm)
        return network

    def encoder(self, *, outputs: int, channels: int | None = None) -> nn.Module:
        """See `Parts.encoder`."""
        wider = {} if channels is None else {"channels": channels}  # unknown to plugins written before there was such
        network: nn.Module = self._make("encoder", outputs=outputs, **wider)
        return network

    def autoencoder(self, *, norm: Norm = "none") -> Autoencoder:
        """See `Parts.autoencoder`."""
        asked = {} if norm == "none" else {"norm": norm}  # unknown to plugins written before there was such
        network: Autoencoder = self._make("autoencoder", **asked)
        return network

    def translator(self) -> nn.Module:
        """See `Parts.translator`."""
        network: nn.Module = self._make("translator")
        return network
