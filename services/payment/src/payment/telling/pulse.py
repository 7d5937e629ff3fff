"""Does a lane's thread still turn? Whoever watches the worker asks."""

import time

STUCK_AFTER_S = 60.0
"""A turn writes to the database, which itself gives up within seconds."""


class Pulse:
    """Says since when a thread is busy with one turn. The thread alone writes; anybody reads."""

    def __init__(self) -> None:
        self._busy_since_s: float | None = None

    def turns(self) -> None:
        """A turn begins."""
        self._busy_since_s = time.monotonic()

    def rests(self) -> None:
        """It waits for something to do."""
        self._busy_since_s = None

    @property
    def is_stuck(self) -> bool:
        """Say whether a turn has lasted longer than any should."""
        since_s = self._busy_since_s
        return since_s is not None and time.monotonic() - since_s > STUCK_AFTER_S
