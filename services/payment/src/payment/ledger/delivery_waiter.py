"""Waiting until the neighbours were told of a payment (RFC 7240, `wait`): one query for all who wait."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextvars import Context

from payment.core.errors import Unavailable

LOOK_EVERY_S = 0.03


class DeliveryWaiter:
    """Lets requests wait until the neighbours were told of their payments. All of it runs on one event loop.

    Args:
        look: returns those of the payments of which all were told who are waited for.
        waiting_max: the most requests that wait; one more gets its answer at once. During an outage of a
            neighbour all of them wait as long as they may, and other requests still need room.
    """

    def __init__(
        self, look: Callable[[Collection[int]], Awaitable[Collection[int]]], *, waiting_max: int
    ) -> None:
        self._look = look
        self._waiting_max = waiting_max
        # By payment, one future for each request that waits: its `wait` adds and removes it; the looking task
        # and `end` read them and set their results.
        self._waiting: dict[int, set[asyncio.Future[bool]]] = {}
        # The looking task. `wait` sets it when there is none, the task itself clears it.
        self._looking: asyncio.Task[None] | None = None
        self._has_ended = False  # `end` sets it, `wait` reads it

    async def wait(self, payment_id: int, within_s: float) -> bool:
        """Return True once they were told of the payment, False if that takes longer or the server ends.

        False at once if too many wait already.
        """
        if self._has_ended or sum(map(len, self._waiting.values())) >= self._waiting_max:
            return False
        told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(payment_id, set()).add(told)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_for_all(), context=Context())  # nobody's request
        try:
            async with asyncio.timeout(within_s):
                return await told
        except TimeoutError:
            return False
        finally:
            others = self._waiting.get(payment_id, set())
            others.discard(told)
            if not others:
                self._waiting.pop(payment_id, None)

    def end(self) -> None:
        """Let nobody wait any longer."""
        self._has_ended = True
        for payment_id in list(self._waiting):
            self._answer(payment_id, was_told=False)

    async def _look_for_all(self) -> None:
        try:
            while self._waiting:
                try:
                    for payment_id in await self._look(list(self._waiting)):
                        self._answer(payment_id, was_told=True)
                except Unavailable:
                    pass  # the database is away: the next look may see it again
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            self._looking = None

    def _answer(self, payment_id: int, *, was_told: bool) -> None:
        for told in self._waiting.get(payment_id, ()):
            if not told.done():
                told.set_result(was_told)
