"""Waiting for what happens next: one look at the log for all who wait, whatever they read."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context

from payment.core.errors import Unavailable
from payment.ledger.event_log import Place

LOOK_EVERY_S = 0.2
"""How soon what another process wrote is seen."""

LOOK_AGAIN_S = 0.03
"""How soon after a look what this process writes is looked for."""


class FeedWatch:
    """Lets readers of the feed wait for what comes after the place that they have got to. On one event loop.

    Args:
        look: returns the place of the newest event.
        readers_max: the most whose answer is held back at a time; one more is told `Unavailable`.
    """

    def __init__(self, look: Callable[[], Awaitable[Place]], *, readers_max: int) -> None:
        self._look = look
        self._readers_max = readers_max
        self._readers = 0  # each counts itself in and out
        # One future for each that waits, and the place after which it waits: `wait` adds and removes it; the
        # looking task and `end` set their results.
        self._waiting: dict[asyncio.Future[bool], Place] = {}
        # The looking task. `wait` sets it when there is none, the task itself clears it.
        self._looking: asyncio.Task[None] | None = None
        self._noticed = asyncio.Event()  # `notice` and `end` set it, the looking task clears it
        self._has_ended = False  # `end` sets it, all read it

    @property
    def has_ended(self) -> bool:
        """Say whether nobody may wait any longer."""
        return self._has_ended

    @contextmanager
    def reader(self) -> Iterator[None]:
        """Be one of the readers while the block lasts.

        Raises:
            Unavailable: there are too many, or the process ends.
        """
        if self._has_ended or self._readers >= self._readers_max:
            raise Unavailable
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1

    async def wait(self, after: Place, within_s: float) -> bool:
        """Return True once there is an event after this one; False if that takes longer, or at the end."""
        if self._has_ended:
            return False
        came: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[came] = after
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_for_all(), context=Context())  # nobody's request
        try:
            async with asyncio.timeout(within_s):
                return await came
        except TimeoutError:
            return False
        finally:
            del self._waiting[came]

    def notice(self) -> None:
        """Look now: this process has written something."""
        self._noticed.set()

    def end(self) -> None:
        """Let nobody wait any longer."""
        self._has_ended = True
        self._answer(came=False)

    async def _look_for_all(self) -> None:
        try:
            while self._waiting:
                self._noticed.clear()
                with suppress(Unavailable):  # the database is away: the next look may see it again
                    self._answer(came=True, until=await self._look())
                await asyncio.sleep(LOOK_AGAIN_S)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._noticed.wait()
        finally:
            self._looking = None

    def _answer(self, *, came: bool, until: Place | None = None) -> None:
        for each, after in self._waiting.items():
            if not each.done() and (until is None or after < until):
                each.set_result(came)
