"""Whether the next batch is written unread: while that mostly turns out to be right. Pure."""

from typing import Literal

PAUSE_MAX = 32
"""The most batches that are read first after one was wrong, and then the next one that was tried."""

Mode = Literal["auto", "always", "never"]


class Unread:
    """Remembers how it went. All of it on one event loop.

    Args:
        mode: `always` and `never` whatever happens; `auto` pauses after each time that it was wrong, twice as
            long if the next one is wrong too.
    """

    def __init__(self, mode: Mode = "auto") -> None:
        self._mode = mode
        self._pause = 0  # how many batches the last failure made us read first
        self._left = 0  # how many of them are still to come

    def is_due(self) -> bool:
        """Say whether to write the next batch unread."""
        if self._mode != "auto":
            return self._mode == "always"
        if self._left:
            self._left -= 1
            return False
        return True

    def note(self, *, was_right: bool) -> None:
        """Note how the last one that was written unread turned out."""
        self._pause = 0 if was_right else min(max(1, self._pause * 2), PAUSE_MAX)
        self._left = self._pause
