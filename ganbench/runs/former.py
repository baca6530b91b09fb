"""What is known today of plugins that records of an older schema name by the hashes of their files."""

from __future__ import annotations

from typing import cast

from ganbench.results.schemas import Known, Lookup, shipped
from ganbench.runs.options import as_plain, resolve
from ganbench.runs.registry import Kind, Registry


def lookup_in(registry: Registry) -> Lookup:
    """Return what finds a plugin by the hash of its file: what came with ganbench, and what is installed unchanged."""

    def lookup(kind: str, name: str, sha256: str) -> Known | None:
        if (known := shipped(kind, name, sha256)) is not None:
            return known
        owners = registry.entries[cast(Kind, kind)].get(name, [])
        found = [entry for entry in owners if entry.origin.sha256 == sha256 != ""]
        if not found or len({entry.code for entry in found}) > 1:  # two plugins of one file, with other modules each
            return None
        owner = found[0].item if isinstance(found[0].item, type) else type(found[0].item)
        return Known(found[0].code, as_plain(resolve(owner, name, {})))

    return lookup
