"""Group commit: requests that wait while a batch is being written become the next batch.

No timer, no added delay when idle, a bounded size and a bounded queue (docs/decisions/0002).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from payment.errors import Unavailable

Request = TypeVar("Request")
Outcome = TypeVar("Outcome")


class GroupCommit(Generic[Request, Outcome]):
    """Gathers requests into batches for one writer.

    Args:
        write: writes a batch and returns its outcomes in order; if it raises, nothing of the batch may be
            answered as done.
        batch_max: the most requests in a batch.
        queue_max: the most requests that wait; one more is refused with `Unavailable`.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Request]], Awaitable[Sequence[Outcome]]],
        *,
        batch_max: int,
        queue_max: int,
    ) -> None:
        self._write = write
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._queue: deque[tuple[Request, asyncio.Future[Outcome]]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def submit(self, request: Request) -> Outcome:
        """Have a request written with the next batch.

        Raises:
            Unavailable: too many requests wait already.
            Exception: what `write` raised for the batch.
        """
        if len(self._queue) >= self._queue_max:
            raise Unavailable
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue.append((request, outcome))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        return await outcome

    async def drain(self) -> None:
        """Wait until everything submitted is written."""
        while self._writing is not None:
            await asyncio.shield(self._writing)  # who stops waiting for the end does not end the writing

    async def _write_all(self) -> None:
        try:
            while self._queue:
                size = min(len(self._queue), self._batch_max)
                batch = [self._queue.popleft() for _ in range(size)]
                await self._write_batch(batch)
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
