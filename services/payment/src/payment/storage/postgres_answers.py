"""Waits for PostgreSQL's answers with a reader that stays with the event loop from one statement to the next.

psycopg has the loop watch the socket anew for each wait, which is eight system calls of a payment alone.
"""

import asyncio

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult


class Answers:
    """Hears what comes on the socket of a connection; the task that uses the connection uses this.

    Args:
        pgconn: the connection, which does not block.

    Attributes:
        was_spoken_to: something came that nobody had asked for; mostly it is the end of the connection.
        _is_late: the time for the answer is over.
        _watched: where the socket is watched, and its descriptor, which libpq forgets when it closes it; None
            while it is not.
        _waiting: who waits for something to come, if anybody does. `_hear` resolves it.
    """

    def __init__(self, pgconn: PGconn) -> None:
        self._pgconn = pgconn
        self._watched: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._is_late = False
        self.was_spoken_to = False

    async def all(self, within_s: float) -> list[PGresult]:
        """Return the results of the statement that was sent, to the last.

        Raises:
            TimeoutError: they were not there in time; whatever is still to come is unread.
            psycopg.Error: the connection broke.
        """
        self._watch()
        results: list[PGresult] = []
        self._is_late = False
        timer = asyncio.get_running_loop().call_later(within_s, self._too_late)
        try:
            while True:
                while self._pgconn.is_busy():
                    await self._something()
                result = self._pgconn.get_result()
                if result is None:
                    return results
                results.append(result)
        except psycopg.OperationalError:
            if any(result.status == ExecStatus.FATAL_ERROR for result in results):
                return results  # these say why it broke
            raise
        finally:
            timer.cancel()

    def ignore(self) -> None:
        """Watch the socket no longer: before anybody else does, and before it is closed."""
        self.was_spoken_to = False
        watched, self._watched = self._watched, None
        if watched is not None:
            loop, descriptor = watched
            if not loop.is_closed():
                loop.remove_reader(descriptor)

    def _watch(self) -> None:
        if self._watched is None:
            self._watched = asyncio.get_running_loop(), self._pgconn.socket
            loop, descriptor = self._watched
            loop.add_reader(descriptor, self._hear)

    async def _something(self) -> None:
        if self._is_late:  # the timer came when nobody waited
            raise TimeoutError
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _too_late(self) -> None:
        self._is_late = True
        self._resolve(TimeoutError())

    def _hear(self) -> None:
        self.was_spoken_to = self.was_spoken_to or self._waiting is None
        try:
            self._pgconn.consume_input()
        except psycopg.Error as error:
            self.ignore()  # it would be heard without end
            self._resolve(error)
            return
        if not self._pgconn.is_busy():
            self._resolve()

    def _resolve(self, error: Exception | None = None) -> None:
        if self._waiting is None or self._waiting.done():
            return
        if error is None:
            self._waiting.set_result(None)
        else:
            self._waiting.set_exception(error)
