"""How one process tells the workers of the others that something was booked: NOTIFY and LISTEN."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from payment.core.logs import facts_of, get_logger
from payment.storage.errors import as_sqlalchemy_raises
from payment.storage.kept_connection import KeptConnection
from payment.storage.postgres_engines import session_of
from payment.storage.postgres_session import Session, with_time_outs

CHANNEL = "payment_outbox"
NOTIFY = f"NOTIFY {CHANNEL}"
LISTEN_PAUSE_S = 1.0
ANNOUNCE_PAUSE_S = 0.05

_log = get_logger()


class Announcer:
    """Sends a NOTIFY soon after something was booked.

    A NOTIFY in the payment's own transaction would make all commits wait in one line.

    Attributes:
        _has_news: something was booked since the last NOTIFY. Written and read on the event loop only, as is
            `_announcing`.
        _announcing: the task that sends them, done when there is no more news.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._kept = KeptConnection(engine, waited=lambda _: None)
        self._has_news = False
        self._announcing: asyncio.Task[None] | None = None

    def announce(self) -> None:
        """See `Database.announce`."""
        self._has_news = True
        if self._announcing is None or self._announcing.done():
            self._announcing = asyncio.create_task(self._announce(), context=Context())  # nobody's request

    async def aclose(self) -> None:
        """Send no more."""
        if self._announcing is not None:
            self._announcing.cancel()
        await self._kept.aclose()

    async def _announce(self) -> None:
        while self._has_news:
            self._has_news = False
            try:
                await self._kept.run(_notify)
            except SQLAlchemyError as error:
                _log.debug("not announced", **facts_of(error))
            await asyncio.sleep(ANNOUNCE_PAUSE_S)  # one for all that is booked meanwhile


def _notify(connection: Connection) -> None:
    session: Any = connection.connection.driver_connection
    if session.is_pooled:
        connection.exec_driver_sql(with_time_outs(session, NOTIFY))
        return
    with as_sqlalchemy_raises(connection, session, (NOTIFY, {})):
        await_only(session.run_prepared(NOTIFY))


class Listener:
    """Hears the NOTIFY of other processes, in a thread, on a connection that is made again when it breaks.

    Args:
        engine: makes the connection.
        is_past_pooler: the engine's URL is known to lead past any pooler.
        heard: called in that thread after each NOTIFY, and whenever it begins to listen.
        stop: ends it.
    """

    def __init__(
        self, engine: Engine, *, is_past_pooler: bool, heard: Callable[[], None], stop: threading.Event
    ) -> None:
        self._engine = engine
        self._is_past_pooler = is_past_pooler
        self._heard = heard
        self._stop = stop

    def start(self) -> None:
        """Listen until `stop` is set; returns at once."""
        threading.Thread(target=self._listen, name="listener", daemon=True).start()

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                with self._engine.connect() as connection:
                    session = session_of(connection)
                    if session.is_pooled and not self._is_past_pooler:
                        _log.info("not listening through a pooler, see DATABASE_DIRECT_URL")
                        return
                    connection.detach()  # it waits for ever, so it is none of the pool's
                    try:
                        self._hear(session)
                    except psycopg.Error as error:
                        session.close()
                        connection.invalidate(error)  # there is nothing to roll back
                        raise
            except (SQLAlchemyError, psycopg.Error) as error:
                _log.warning("not listening", **facts_of(error))
                self._stop.wait(LISTEN_PAUSE_S)

    def _hear(self, session: Session) -> None:
        session.autocommit = True
        session.execute(f"LISTEN {CHANNEL}".encode())
        self._heard()  # what was booked while nobody listened
        while not self._stop.is_set():
            for _ in session.notifies(timeout=1.0, stop_after=1):
                self._heard()
            session.execute("SELECT 1")  # a frozen server is silent too, and would be for ever
