"""How PostgreSQL's answers are waited for: whatever comes, or does not, on a socket that stays watched."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL

from payment.storage import postgres_session
from payment.storage.postgres_answers import Answers
from payment.storage.postgres_session import AsyncSession, NoAnswer

PID = "SELECT pg_backend_pid()"
SLEEP = "SELECT pg_sleep(60)"

Work = Callable[[AsyncSession], Awaitable[None]]


@pytest.fixture
def with_session(postgres: URL) -> Callable[[Work], None]:
    """A function that runs a task with a session of its own."""

    def run(work: Work) -> None:
        async def opened() -> None:
            async with a_session(postgres) as session:
                await work(session)

        asyncio.run(opened())

    return run


@asynccontextmanager
async def a_session(url: URL) -> AsyncIterator[AsyncSession]:
    session = await AsyncSession.open(url.render_as_string(hide_password=False))
    try:
        yield session
    finally:
        await session.close()


async def answer(session: AsyncSession, statement: str, *values: str) -> bytes | None:
    return (await session.run_prepared(statement, [value.encode() for value in values])).get_value(0, 0)


async def heard_of_its_end(session: AsyncSession, postgres: URL) -> None:
    """End the session, and wait until the event loop has heard of it."""
    async with a_session(postgres) as other:
        await answer(other, f"SELECT pg_terminate_backend({session.info.backend_pid}, 5000)")
    for _ in range(1000):
        if session.info.status != psycopg.pq.ConnStatus.OK:
            return
        await asyncio.sleep(0.01)
    pytest.fail("nobody heard that the session has ended")


def test_what_psycopg_waits_for_comes_between(with_session: Callable[[Work], None]) -> None:
    async def work(session: AsyncSession) -> None:
        for _ in range(3):
            pid = await answer(session, PID)
            row = await (await session.execute(PID.encode())).fetchone()
            assert row is not None
            assert pid == str(row[0]).encode()

    with_session(work)


def test_a_statement_may_be_larger_than_what_the_socket_takes(with_session: Callable[[Work], None]) -> None:
    async def work(session: AsyncSession) -> None:
        size = 20_000_000
        assert await answer(session, "SELECT length($1), repeat($1, 1)", "x" * size) == str(size).encode()
        assert await answer(session, PID) is not None

    with_session(work)


def test_a_wrong_statement_leaves_the_session_good(with_session: Callable[[Work], None]) -> None:
    async def work(session: AsyncSession) -> None:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await answer(session, "SELECT 1 / CAST($1 AS integer)", "0")
        assert await answer(session, PID) is not None

    with_session(work)


def test_a_session_that_ends_unasked_is_heard_and_costs_nothing_more(
    with_session: Callable[[Work], None], postgres: URL
) -> None:
    async def work(session: AsyncSession) -> None:
        await answer(session, PID)
        await heard_of_its_end(session, postgres)
        began_s = time.thread_time()
        await asyncio.sleep(0.5)
        assert time.thread_time() - began_s < 0.25, "what is at its end would be read again and again"
        with pytest.raises(psycopg.OperationalError):
            await answer(session, PID)

    with_session(work)


def test_a_session_that_ends_in_the_middle_says_why(with_session: Callable[[Work], None]) -> None:
    async def work(session: AsyncSession) -> None:
        with pytest.raises(psycopg.errors.AdminShutdown):
            await answer(session, "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(9)")

    with_session(work)


def test_no_answer_in_time_ends_the_session_and_disturbs_no_other(
    with_session: Callable[[Work], None], postgres: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next session has the same file descriptor: nobody may watch it for the one before."""

    async def work(session: AsyncSession) -> None:
        descriptor = session.fileno()
        with monkeypatch.context() as patched:
            patched.setattr(postgres_session, "ROUND_TRIP_TIMEOUT_S", 0.2)
            with pytest.raises(NoAnswer):
                await answer(session, SLEEP)
        assert session.closed
        async with a_session(postgres) as other:
            assert other.fileno() == descriptor
            assert await answer(other, PID) == str(other.info.backend_pid).encode()

    with_session(work)


def test_who_waits_no_longer_ends_the_session(with_session: Callable[[Work], None]) -> None:
    async def work(session: AsyncSession) -> None:
        waiting = asyncio.create_task(answer(session, SLEEP))
        await asyncio.sleep(0.2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert session.closed

    with_session(work)


def test_what_comes_unasked_is_known_after_the_loop_has_heard_it(
    with_session: Callable[[Work], None], postgres: URL
) -> None:
    """As the end of a session is, before its socket is closed: nothing is to be written there unread."""

    async def work(session: AsyncSession) -> None:
        await session.execute(b"LISTEN unasked")
        await answer(session, PID)
        said = [session.has_something_to_say]
        async with a_session(postgres) as other:
            await answer(other, "SELECT pg_notify('unasked', '')")
        for _ in range(1000):
            await asyncio.sleep(0.02)  # the loop hears it, and reads it away
            if session.has_something_to_say:
                break
        await asyncio.sleep(0.02)
        said.append(session.has_something_to_say)
        await session.execute(PID.encode())
        said.append(session.has_something_to_say)
        assert said == [False, True, False], "and it was no end"

    with_session(work)


def test_the_time_is_over_also_if_it_ends_while_a_part_of_the_answer_is_taken() -> None:
    """Both come in one turn of a loop that was busy; here the connection is a socket that we fill."""

    class Slow:
        """A connection whose results come one by one."""

        def __init__(self) -> None:
            self._ours, self.theirs = socket.socketpair()
            self._ours.settimeout(0)
            self.socket = self._ours.fileno()
            self._heard = self._given = 0

        def consume_input(self) -> None:
            self._heard += len(self._ours.recv(10))

        def is_busy(self) -> bool:
            return self._given >= self._heard

        def get_result(self) -> Any:
            self._given += 1
            return SimpleNamespace(status=psycopg.pq.ExecStatus.TUPLES_OK)

        def close(self) -> None:
            self._ours.close()
            self.theirs.close()

    async def work() -> None:
        slow: Any = Slow()
        answers = Answers(slow)
        waiting = asyncio.create_task(answers.all(0.2))
        await asyncio.sleep(0.05)
        slow.theirs.send(b"x")
        time.sleep(0.3)  # noqa: ASYNC251  # the loop is busy past the end of the time
        done, _ = await asyncio.wait([waiting], timeout=5)
        answers.ignore()
        slow.close()
        assert done
        assert isinstance(waiting.exception(), TimeoutError)

    asyncio.run(work())
