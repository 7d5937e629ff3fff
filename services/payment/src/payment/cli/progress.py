"""A bar that shows on a terminal how far a command is."""

import sys
from typing import Any

import click

STEPS = 1000


def progress(label: str) -> Any:
    """Return click's bar of STEPS steps; in a pipe it stays hidden."""
    return click.progressbar(length=STEPS, label=label, file=sys.stderr, hidden=not sys.stderr.isatty())


def steps(done: float, whole: float) -> int:
    """Return how many of the bar's STEPS are done."""
    return round(STEPS * min(1.0, done / whole)) if whole > 0 else STEPS
