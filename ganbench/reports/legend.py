"""What stands under a table of its columns: a line a metric, or its whole protocol. Plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ganbench.errors import brief
from ganbench.reports.grid import Column
from ganbench.reports.words import thousands
from ganbench.results.rows import plain_text

_RULES = (
    *("statistic", "counted", "pairs", "rule", "estimate", "extrapolation"),
    *("copy", "authentic", "right", "classes", "balls", "classifier"),
)
"""Where a protocol says what is computed."""
_LONGEST = 75


def legend(columns: Iterable[Column]) -> Iterator[str]:
    """Say of each column in a line what is compared, how many, by which network, and its protocol's hash."""
    for column in columns:
        told = "; ".join(part for part in (_compared(column.any.protocol), _rule(column.any.protocol)) if part)
        yield f"{column.name} ({column.protocol}): {told or 'its protocol says nothing'}"


def whole(columns: Iterable[Column]) -> Iterator[str]:
    """Say of each column all that its protocol holds."""
    for column in columns:
        said = plain_text(column.any.protocol) or "nothing stated"
        yield f"{column.name}, protocol {column.protocol}: {said}"


def _compared(protocol: Mapping[str, Any]) -> str:
    fake, real = protocol.get("n_fake"), protocol.get("n_real")
    parts = [f"{thousands(fake)} samples"] if isinstance(fake, int) else []
    if parts and isinstance(real, int):
        split = protocol.get("reference")
        parts.append(f"against {thousands(real)} real" + (f" ({split})" if isinstance(split, str) else ""))
    if isinstance(direction := protocol.get("direction"), str):
        parts.append(f"from {direction}")
    if isinstance(extractor := protocol.get("extractor"), str):
        features = protocol.get("features", protocol.get("embedding"))
        parts.append(f"by {extractor}" + (f" ({features})" if isinstance(features, int | str) and features else ""))
    return brief(" ".join(parts), 2 * _LONGEST)


def _rule(protocol: Mapping[str, Any]) -> str:
    said = next((protocol[key] for key in _RULES if isinstance(protocol.get(key), str)), "")
    return brief(said, _LONGEST)


def width(protocol: Mapping[str, Any]) -> int | None:
    """Return the width of the features that a Fréchet distance is of; None for other metrics, or where it is not said.

    Protocols of before say it within words: `2048, mean over the image`, `penultimate, 64`.
    """
    if "covariance" not in str(protocol.get("statistics")):
        return None
    if isinstance(features := protocol.get("features"), int):
        return features
    found = re.search(r"\b\d+\b", str(protocol.get("embedding")))
    return int(found[0]) if found else None


def too_few(column: Column) -> str:
    """Say that a covariance has fewer samples than features, so that it has no full rank; nothing where it has."""
    protocol = column.any.protocol
    counts = [count for name in ("n_fake", "n_real") if isinstance(count := protocol.get(name), int)]
    wide = width(protocol)
    if wide is None or not counts or min(counts) >= wide:
        return ""
    return (
        f"{column.name}: {thousands(min(counts))} samples for {thousands(wide)} features: covariances without full "
        "rank, so that the distance compares rows of this table at best"
    )


def mixed(protocols: Mapping[str, Sequence[str]], *, dated: bool) -> Iterator[str]:
    """Say of metrics that were measured under several protocols that these are not compared."""
    for metric, hashes in protocols.items():
        newest = f" (the newest is {hashes[0]})" if dated else ""
        yield (
            f"{metric} was measured under {len(hashes)} protocols, which stand apart and are not compared{newest}; "
            f"ganbench explain {hashes[0]} {hashes[1]} says what differs"
        )
