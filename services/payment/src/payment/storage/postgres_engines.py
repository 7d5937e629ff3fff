"""PostgreSQL's connection pools, for threads and for the event loop, and how their transactions begin."""

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from payment.storage.json_rows import json_of
from payment.storage.postgres_session import CONNECT_ARGUMENTS, AsyncSession, Session, begin

POOL_SIZE = 12
POOL_TIMEOUT_S = 3

BOOKING_POOL_SIZE = 2
"""A batch, and a NOTIFY."""

SHORT_POOL_SIZE = 3
LONG_POOL_SIZE = 7


def thread_engine(url: URL) -> Engine:
    """Return an engine for threads."""
    engine = create_engine(
        _psycopg(url),
        json_serializer=json_of,
        pool_pre_ping=True,
        connect_args=CONNECT_ARGUMENTS,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
    )

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, parameters: Any) -> Any:
        return Session.open(*arguments, **parameters)

    event.listen(engine, "begin", _begin)
    return engine


def event_loop_engine(url: URL, pool_size: int, *, begins: bool = True) -> AsyncEngine:
    """Return an engine of the event loop; through a thread the same costs twice as much.

    It says no BEGIN of its own, which would be a round trip for each read and each batch; behind a pooler a
    read needs one.

    Args:
        url: names the database.
        pool_size: the most connections.
        begins: what uses it does not say BEGIN itself.
    """
    engine = create_async_engine(
        _psycopg(url),
        json_serializer=json_of,
        connect_args={"async_creator_fn": AsyncSession.open, **CONNECT_ARGUMENTS},
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=False,  # a batch that failed is rolled back by the pool
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
    )
    if begins:
        event.listen(engine.sync_engine, "begin", _begin)
    return engine


def session_of(connection: Connection) -> Session:
    """Return the session of a thread's connection."""
    session = connection.connection.driver_connection
    assert isinstance(session, Session)
    return session


def _psycopg(url: URL) -> URL:
    return url.set(drivername="postgresql+psycopg")


def _begin(connection: Connection) -> None:
    """Say BEGIN, with its settings, where the session does not have them: behind a pooler, or in a migration.

    Elsewhere psycopg says BEGIN for a thread, and on the event loop a statement alone needs none.
    """
    session: Any = connection.connection.driver_connection
    options = connection.get_execution_options()
    is_slow: bool = options.get("is_slow", False)
    if (session.is_pooled or is_slow) and options.get("isolation_level") != "AUTOCOMMIT":
        if isinstance(session, Session):
            session.autocommit = True  # psycopg says nothing; one of the event loop never does
        connection.exec_driver_sql("; ".join(begin(session, is_slow=is_slow)))
