"""The commands, one module each, imported when they are called; may import everything else."""

from ganbench.cli.group import main

__all__ = ["main"]
