"""Connections that were refused for want of places: they are read again a few at a time.

Their callers were told when to come again. Those who come at once, in their thousands, would else keep the
event loop so busy with refusals that nothing is left for the payments that were let in.
"""

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable

PAUSE_S = 0.4
"""The least time that a refused connection is not read."""

LOOK_EVERY_S = 0.002
READ_AT_ONCE = 32
"""How many are read in a turn of the event loop: the longer a turn takes, the fewer refusals there are."""


class HeldBack:
    """The connections that are held back, in the order in which they were refused. On one event loop."""

    def __init__(self) -> None:
        # When each may be read, and how. `add` adds to the right, `_look` takes from the left.
        self._held: deque[tuple[float, Callable[[], None]]] = deque()

    def add(self, loop: AbstractEventLoop, read_on: Callable[[], None]) -> None:
        """Have this called in a while."""
        if not self._held:
            loop.call_later(PAUSE_S, self._look, loop)
        self._held.append((loop.time() + PAUSE_S, read_on))

    def _look(self, loop: AbstractEventLoop) -> None:
        now_s = loop.time()
        for _ in range(READ_AT_ONCE):
            if not self._held or self._held[0][0] > now_s:
                break
            _, read_on = self._held.popleft()
            read_on()
        if self._held:
            loop.call_later(LOOK_EVERY_S, self._look, loop)
