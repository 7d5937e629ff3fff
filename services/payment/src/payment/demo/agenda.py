"""Simulated time: what is to be done waits in a heap and is done in order, many steps in one transaction."""

import heapq
from collections.abc import Callable, Iterator
from itertools import count

from sqlalchemy import Connection

from payment.storage.base import Database

Step = Callable[[Connection, int], None]
"""What is done at a time (microseconds since the epoch), in a transaction that may write."""

STEPS_AT_ONCE = 100
"""How many steps are committed together: if each were, that would take most of the time."""


class Agenda:
    """What is to be done until now; nothing is done after it.

    Args:
        now_us: the last moment, microseconds since the epoch.
    """

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us
        self._due: list[tuple[int, int, Step]] = []
        self._numbers = count()  # of two steps at one time, the one that was thought of first comes first

    def at(self, time_us: int, step: Step) -> None:
        """Do it at this time, unless that is after now."""
        if time_us <= self._now_us:
            heapq.heappush(self._due, (time_us, next(self._numbers), step))

    def is_past(self, time_us: int) -> bool:
        """Say whether a time is not after now."""
        return time_us <= self._now_us

    def run(self, database: Database) -> Iterator[int]:
        """Do all of it, and what comes up meanwhile.

        Yields:
            After each transaction: until when everything is done.
        """
        while self._due:
            with database.write() as connection:
                for _ in range(STEPS_AT_ONCE):
                    time_us, _, step = heapq.heappop(self._due)
                    step(connection, time_us)
                    if not self._due:
                        break
            yield time_us
