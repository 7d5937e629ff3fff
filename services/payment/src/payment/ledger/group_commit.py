"""Group commit: requests that wait while a batch is being written become the next batch.

No timer, no added delay when idle, a bounded size and a bounded queue (docs/decisions/0002).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from math import ceil
from typing import Generic, TypeVar

from payment.core.errors import PaymentError, Unavailable
from payment.core.logs import facts_of, get_logger

Item = TypeVar("Item")
Result = TypeVar("Result")

WAIT_MAX_S = 6.0
"""The longest a request waits to be written, however many batches fail in turn before its own."""

_log = get_logger()


class GroupCommit(Generic[Item, Result]):
    """Gathers requests into batches for one writer. All of it runs on one event loop.

    Args:
        write: writes a batch and returns its results in order; if it raises, every request of the batch gets
            that error.
        batch_max: the most requests in a batch.
        queue_max: the most requests that wait; one more is refused with `Unavailable`.
        wait_max_s: the longest that a request waits, seconds; then it is told `Unavailable`, and is not
            written unless that has begun already.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        batch_max: int,
        queue_max: int,
        wait_max_s: float = WAIT_MAX_S,
    ) -> None:
        self._write = write
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._wait_max_s = wait_max_s
        # `submit` adds to the right, the writing task takes from the left; `end` reads it.
        self._queue: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        # What is being written. Only the writing task changes it; `end` reads it.
        self._batch: list[tuple[Item, asyncio.Future[Result]]] = []
        # The writing task. `submit` sets it when there is none, the task itself clears it; `drain` reads it.
        self._writing: asyncio.Task[None] | None = None
        self._has_ended = False  # `end` sets it, `submit` reads it

    async def submit(self, request: Item) -> Result:
        """Have a request written with the next batch.

        Raises:
            Unavailable: too many requests wait already, or this one has waited too long: it may be written
                nevertheless.
            Exception: what `write` raised for the batch.
        """
        if self._has_ended or len(self._queue) >= self._queue_max:
            raise Unavailable
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Result] = loop.create_future()
        timer = loop.call_later(self._wait_max_s, _give_up, result)
        self._queue.append((request, result))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all(), context=Context())  # nobody's request
        try:
            return await result
        finally:
            timer.cancel()

    def waiting(self) -> int:
        """Return how many requests wait for a batch."""
        return len(self._queue)

    def end(self) -> None:
        """Answer everybody who waits, and everybody who comes from now on, with `Unavailable`."""
        self._has_ended = True
        for _, result in (*self._batch, *self._queue):
            _give_up(result)

    async def drain(self) -> None:
        """Wait until everything submitted is written."""
        while self._writing is not None:
            await asyncio.shield(self._writing)  # who stops waiting for the end does not end the writing

    async def _write_all(self) -> None:
        written = 0  # by the batch before
        try:
            while self._queue:
                # Half of those who wait and those who, just answered, may come again: so the others come
                # while these are written, and neither we nor the database wait for each other.
                size = ceil((written + len(self._queue)) / 2) if written else len(self._queue)
                self._batch = self._take(min(size, self._batch_max))
                if self._batch:
                    await self._write_batch(self._batch)
                written = len(self._batch)
                self._batch = []
        finally:
            self._writing = None

    def _take(self, size: int) -> list[tuple[Item, asyncio.Future[Result]]]:
        """Take so many from the queue, but nobody who was told already."""
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._queue and len(batch) < size:
            waiting = self._queue.popleft()
            if not _was_told(waiting[1]):
                batch.append(waiting)
        return batch

    async def _write_batch(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._write([request for request, _ in batch])
            answered = list(zip(batch, results, strict=True))  # before anybody gets somebody else's answer
        except Exception as error:  # noqa: BLE001  # every waiting request must be answered
            waiting = [future for _, future in batch if not future.done()]
            for future in waiting:
                future.set_exception(error)
            if not waiting and not isinstance(error, PaymentError):  # no caller is left who would log it
                _log.error("a batch failed", size=len(batch), **facts_of(error), exc_info=error)
            return
        for (_, future), result in answered:
            if not future.done():  # a caller that gave up no longer waits
                future.set_result(result)


def _give_up(result: asyncio.Future[Result]) -> None:
    if not result.done():
        result.set_exception(Unavailable())


def _was_told(result: asyncio.Future[Result]) -> bool:
    """Say whether the caller has its answer. One that went away has none, so its request is still written."""
    return result.done() and not result.cancelled()
