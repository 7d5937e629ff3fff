"""What comes of a run."""

from typing import NamedTuple

HOLDS, BROKEN, INVALID = 0, 1, 2


class InvalidRunError(Exception):
    """The run says nothing about the contract; the message says why and what to do."""


class Result(NamedTuple):
    """What came of one interaction; `faults` is empty if the contract holds."""

    description: str
    request: str
    faults: list[tuple[str, str, str]]  # what was expected, what came, where
