"""Numbers, units and tables as plain text that Markdown shows as it is meant."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from ganbench.errors import ADDRESS


def figure(mean: float, half_width: float | None = None, *, short: bool = False) -> str:
    """Write a mean with as many digits as its interval allows, `12.34 ± 0.56`; without an interval four.

    `short`: half-widths have one digit instead of two unless that is a 1, `12.3 ± 0.6` and `12.34 ± 0.13`.
    """
    if half_width is None:
        return f"{mean:.4g}"
    if not 1e-4 <= max(abs(mean), half_width) < 1e6:
        return f"{mean:.3g} ± {half_width:.2g}"
    if half_width < 1e-6 * abs(mean):
        return f"{mean:.7g} ± {half_width:.1g}"
    digits = 1 if short and f"{half_width:e}"[0] != "1" else 2
    decimals = max(0, digits - 1 - math.floor(math.log10(half_width)))
    return f"{round(mean, decimals) + 0.0:.{decimals}f} ± {half_width:.{decimals}f}"


def thousands(amount: float) -> str:
    """Write a number with commas between thousands."""
    return f"{amount:,.0f}"


def scaled(amount: float) -> str:
    """Write a number with a suffix for its power of ten."""
    for power, suffix in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if amount >= 10**power:
            return f"{amount / 10**power:.3g}{suffix}"
    return f"{amount:.3g}"


def duration(seconds: float) -> str:
    """Write seconds in the unit that suits them."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"


def memory(amount: float) -> str:
    """Write bytes in MiB or GiB."""
    return f"{amount / 2**30:.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:.0f} MiB"


def aligned(header: Sequence[str], lines: Sequence[Sequence[str]], *, right: bool = True) -> str:
    """Write a Markdown table whose columns line up; `right`: all but the first are set to the right."""
    widths = [max(3, *(len(line[column]) for line in [header, *lines])) for column in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + (":" if right else "-") for width in widths[1:])]
    padded = [
        [
            cell.rjust(width) if column and right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in [header, rule, *lines]
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def folded(text: str, indent: str = "", width: int = 100) -> str:
    """Fold a paragraph of Markdown at so many columns, where a word follows that cannot be taken for markup."""
    lines = [""]
    for part in re.split(r" (?=[A-Za-z(]|[0-9]+(?![0-9.)]))", text):
        if lines[-1] and len(lines[-1]) + 1 + len(part) > width:
            lines.append(indent + part)
        else:
            lines[-1] = f"{lines[-1]} {part}" if lines[-1] else part
    return "\n".join(lines)


def quoted(text: str) -> str:
    """Make a sentence that came from elsewhere stand so as well, its addresses as they are, in angle brackets."""
    parts, end = [], 0
    for found in ADDRESS.finditer(text):
        parts += [escape(text[end : found.start()]), f"<{found[0]}>" if found[0].isprintable() else escape(found[0])]
        end = found.end()
    return "".join([*parts, escape(text[end:])])


def escape(text: str) -> str:
    """Make text that came from elsewhere stand in a Markdown table as itself, on one line."""
    text = "".join(char if char.isprintable() else " " for char in text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("://", "&#58;//")
    text = re.sub(r"([\\`*\[\]|~#$])", r"\\\1", text)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
