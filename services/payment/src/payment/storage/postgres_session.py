"""Sessions of PostgreSQL: each round trip has a time limit, each transaction our time-outs and isolation.

A session on a direct connection is told the time-outs and the isolation once. A pooler (PgBouncer and its
like) lends sessions, and others get them next: so each transaction through one says for itself what it needs,
and nothing is prepared (docs/decisions/0012).
"""

import asyncio
import itertools
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import psycopg
from psycopg import waiting
from psycopg.abc import PQGen
from psycopg.generators import execute
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from payment.storage.postgres_answers import Answers

Result = TypeVar("Result")

CONNECT_TIMEOUT_S = 2
STATEMENT_TIMEOUT_MS = 5_000
LOCK_TIMEOUT_MS = 3_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
ROUND_TRIP_TIMEOUT_S = 7.0
"""The longest wait for PostgreSQL's answer: its own time-outs bound neither a server that has frozen nor a
COMMIT that waits for the synchronous standby."""

# Every wait has an end: a server that is gone or stuck must cost seconds, not requests that hang.
CONNECT_ARGUMENTS: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "application_name": "payment",
    "client_encoding": "utf8",  # whatever PGCLIENTENCODING says
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 5_000,
}

_LIMITS = {
    "statement_timeout": STATEMENT_TIMEOUT_MS,
    "lock_timeout": LOCK_TIMEOUT_MS,
    "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT_MS,
}
_SESSION_SETTINGS = _LIMITS | {"default_transaction_isolation": "read committed"}
_BEGIN = ("BEGIN",)
_BEGIN_WITH_SETTINGS = (
    "BEGIN ISOLATION LEVEL READ COMMITTED",
    *(f"SET LOCAL {name} = {value}" for name, value in _LIMITS.items()),
)
_NO_STATEMENT_TIMEOUT = "SET LOCAL statement_timeout = 0"

# A wait that ends early closes the socket and sends nothing. psycopg would ask the server to cancel, and then
# a COMMIT that waits for the standby "has already committed locally": visible, but lost in a failover.
_INTERRUPTED = (asyncio.CancelledError, KeyboardInterrupt, SystemExit)


class NoAnswer(psycopg.OperationalError):
    """PostgreSQL did not answer in time, and the connection was closed; nobody knows what it did."""


class Session(psycopg.Connection[Any]):
    """A connection whose every round trip has a time limit.

    One thread uses it at a time: whoever has it from the pool.

    Attributes:
        is_pooled: a pooler is between us and PostgreSQL. `open` sets it, the others read it.
        answer_within_s: how long a round trip may take; None for as long as it takes. A migration sets it,
            `wait` reads it.
    """

    is_pooled = False
    answer_within_s: float | None = ROUND_TRIP_TIMEOUT_S

    @classmethod
    def open(cls, *arguments: Any, **parameters: Any) -> Self:
        """Connect, and tell the session its time-outs and isolation if it is ours alone."""
        session = cls.connect(*arguments, autocommit=True, **parameters)
        try:
            row = session.execute(_tell_session(session.info.backend_pid)).fetchone()
            session.autocommit = False
        except BaseException:
            session.close()
            raise
        if row is None:
            session.is_pooled = True
            session.prepare_threshold = None  # the next transaction may be on another backend
        return session

    def wait(self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None) -> Result:
        """Wait for the server's answer; a `timeout`, in seconds, takes the place of `answer_within_s`.

        Raises:
            NoAnswer: there was none within `answer_within_s`; the connection is closed.
        """
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return waiting.wait(gen, self.pgconn.socket, interval, self.answer_within_s)
        except psycopg.errors._WaitTimeout:  # noqa: SLF001  # documented for `wait`
            self.pgconn.finish()
            raise NoAnswer(f"no answer within {self.answer_within_s:g} s") from None
        except _INTERRUPTED:
            self.pgconn.finish()
            raise


class AsyncSession(psycopg.AsyncConnection[Any]):
    """The same on the event loop, where one task uses it at a time.

    Attributes:
        prepared: the statements that the session has prepared, each with its name; batches add and read them.
        new_names: names that no statement of the session has had.
    """

    is_pooled = False

    def __init__(self, *arguments: Any, **parameters: Any) -> None:
        super().__init__(*arguments, **parameters)
        self.prepared: dict[str, str] = {}
        self.new_names = map("batch_{}".format, itertools.count())
        self._answers = Answers(self.pgconn)
        self._looking = select.poll()
        self._looking.register(self.pgconn.socket, select.POLLIN)

    @classmethod
    async def open(cls, *arguments: Any, **parameters: Any) -> Self:
        """See `Session.open`."""
        session = await cls.connect(*arguments, autocommit=True, **parameters)
        try:
            row = await (await session.execute(_tell_session(session.info.backend_pid))).fetchone()
        except BaseException:
            await session.close()
            raise
        session.is_pooled = row is None
        # psycopg lets go of all that is prepared after a rollback if it has prepared anything itself
        session.prepare_threshold = None
        return session

    async def wait(self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None) -> Result:  # noqa: ASYNC109  # psycopg's signature
        """See `Session.wait`."""
        self._answers.ignore()
        if timeout is not None:
            return await super().wait(gen, interval, timeout)
        with self._closed_without_answer():
            return await waiting.wait_async(gen, self.pgconn.socket, interval, ROUND_TRIP_TIMEOUT_S)

    async def close(self) -> None:
        """See `psycopg.AsyncConnection.close`."""
        self._answers.ignore()
        await super().close()

    @property
    def has_something_to_say(self) -> bool:
        """Say whether something comes that nobody has asked for, or has come: then it was the end, mostly."""
        return self._answers.was_spoken_to or bool(self._looking.poll(0))

    async def run_prepared(self, statement: str, values: Sequence[bytes | None] = ()) -> PGresult:
        """Run a statement alone, as a transaction of its own; it is prepared at the first time.

        psycopg's cursors take four times as much CPU for this, as they know no types.

        Args:
            statement: with parameters $1, $2, …
            values: theirs, in PostgreSQL's words and UTF-8; None is NULL.

        Returns:
            The rows. PostgreSQL has committed: libpq says that all results are there after it has.

        Raises:
            psycopg.DataError: a value has a NUL; nothing was sent.
            psycopg.Error: the statement or its COMMIT failed; or, as NoAnswer, nobody knows.
        """
        if b"\0" in b"".join(filter(None, values)):
            raise psycopg.DataError("PostgreSQL keeps no NUL, at which libpq would end a parameter")
        name = self.prepared.get(statement)
        if name is None:
            name = next(self.new_names)
            self.pgconn.send_prepare(name.encode(), statement.encode())
            await self._answer()
            self.prepared[statement] = name
        self.pgconn.send_query_prepared(name.encode(), values)
        return await self._answer()

    async def _answer(self) -> PGresult:
        if self.pgconn.flush():  # more than the socket takes at once
            results: list[PGresult] = await self.wait(execute(self.pgconn))
        else:
            with self._closed_without_answer():
                results = await self._answers.all(ROUND_TRIP_TIMEOUT_S)
        for result in results:  # a COMMIT that failed comes after the rows
            if result.status == ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(result, self.info.encoding)
        return results[0]

    @contextmanager
    def _closed_without_answer(self) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, psycopg.errors._WaitTimeout):  # noqa: SLF001  # documented for `wait`
            self._hang_up()
            raise NoAnswer(f"no answer within {ROUND_TRIP_TIMEOUT_S:g} s") from None
        except _INTERRUPTED:
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        self._answers.ignore()
        self.pgconn.finish()


def begin(session: Session | AsyncSession, *, is_slow: bool = False) -> tuple[str, ...]:
    """Return the statements that begin a transaction of ours, to be sent as one text.

    Args:
        session: where.
        is_slow: its statements have no time-out, though their locks do.
    """
    if is_slow:
        return (*_BEGIN_WITH_SETTINGS, _NO_STATEMENT_TIMEOUT)
    return _BEGIN_WITH_SETTINGS if session.is_pooled else _BEGIN


def with_time_outs(session: Session | AsyncSession, statement: str) -> str:
    """Return a text that runs one statement under our time-outs."""
    return "; ".join([*_BEGIN_WITH_SETTINGS, statement, "COMMIT"]) if session.is_pooled else statement


def _tell_session(backend_pid: int) -> bytes:
    """Return a query that sets up the session and returns a row, if this backend serves it.

    A pooler answers a new client itself, with a process id of its own making, before it has any session.
    """
    settings = ", ".join(
        f"set_config('{name}', '{value}', false)" for name, value in _SESSION_SETTINGS.items()
    )
    return f"SELECT {settings} WHERE pg_backend_pid() = {backend_pid}".encode()
