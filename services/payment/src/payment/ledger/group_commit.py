"""Group commit: requests that wait while a batch is being written become the next batch.

No timer, no added delay when idle, a bounded size and a bounded queue (docs/decisions/0002).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from payment.core.errors import Unavailable

Request = TypeVar("Request")
Outcome = TypeVar("Outcome")

WAIT_MAX_S = 6.0
"""The longest a request waits to be written, however many batches fail in turn before its own."""


class GroupCommit(Generic[Request, Outcome]):
    """Gathers requests into batches for one writer.

    Args:
        write: writes a batch and returns its outcomes in order; if it raises, nothing of the batch may be
            answered as done.
        batch_max: the most requests in a batch.
        queue_max: the most requests that wait; one more is refused with `Unavailable`.
        wait_max_s: the longest that a request waits, seconds; then it is told `Unavailable`, and is not
            written unless that has begun already.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Request]], Awaitable[Sequence[Outcome]]],
        *,
        batch_max: int,
        queue_max: int,
        wait_max_s: float = WAIT_MAX_S,
    ) -> None:
        self._write = write
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._wait_max_s = wait_max_s
        self._queue: deque[tuple[Request, asyncio.Future[Outcome]]] = deque()
        self._batch: list[tuple[Request, asyncio.Future[Outcome]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._has_ended = False

    async def submit(self, request: Request) -> Outcome:
        """Have a request written with the next batch.

        Raises:
            Unavailable: too many requests wait already, or this one has waited too long: it may be written
                nevertheless.
            Exception: what `write` raised for the batch.
        """
        if self._has_ended or len(self._queue) >= self._queue_max:
            raise Unavailable
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Outcome] = loop.create_future()
        timer = loop.call_later(self._wait_max_s, _give_up, outcome)
        self._queue.append((request, outcome))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        try:
            return await outcome
        finally:
            timer.cancel()

    def end(self) -> None:
        """Tell all who still wait, and all who come, that it is too late."""
        self._has_ended = True
        for _, outcome in (*self._batch, *self._queue):
            _give_up(outcome)

    async def drain(self) -> None:
        """Wait until everything submitted is written."""
        while self._writing is not None:
            await asyncio.shield(self._writing)  # who stops waiting for the end does not end the writing

    async def _write_all(self) -> None:
        try:
            while self._queue:
                waiting = self._queue.popleft()
                if not _was_told(waiting[1]):
                    self._batch.append(waiting)
                if self._batch and (len(self._batch) == self._batch_max or not self._queue):
                    await self._write_batch(self._batch)
                    self._batch = []
        finally:
            self._writing = None

    async def _write_batch(self, batch: list[tuple[Request, asyncio.Future[Outcome]]]) -> None:
        try:
            outcomes = await self._write([request for request, _ in batch])
            answered = list(zip(batch, outcomes, strict=True))  # before anybody gets somebody else's answer
        except Exception as error:  # noqa: BLE001  # every waiting request must be answered
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), outcome in answered:
            if not future.done():  # a caller that gave up no longer waits
                future.set_result(outcome)


def _give_up(outcome: asyncio.Future[Outcome]) -> None:
    if not outcome.done():
        outcome.set_exception(Unavailable())


def _was_told(outcome: asyncio.Future[Outcome]) -> bool:
    """Say whether the caller has its answer; one that went away has none, and its request stands."""
    return outcome.done() and not outcome.cancelled()
