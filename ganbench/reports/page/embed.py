"""What lets a page hold foreign data safely: JSON that cannot end its element, and a policy that names each script."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from markupsafe import Markup

from ganbench.streams import visible

_ESCAPES = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


def embedded(content: Any) -> Markup:
    """Return JSON for a `script` element of data. Raises `ValueError` for what is no number."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_ESCAPES))


def policy(scripts: Iterable[str]) -> str:
    """Return a Content-Security-Policy: nothing is loaded, and only these scripts run, by their hashes.

    Styles may be inline, for the library of charts sets some; nothing of a record is ever part of one.
    """
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    hashes = " ".join(f"'sha256-{each}'" for each in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def finalize(value: Any) -> Any:
    """Spell out the characters in a text that would turn the direction of what follows, before it is escaped."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
