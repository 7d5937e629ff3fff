"""PostgreSQL: a server, or a primary and its standbys."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from payment.core.metrics import note_database_wait, watch_connections
from payment.storage.base import Database
from payment.storage.batch import BatchTransaction
from payment.storage.copy_side import Side
from payment.storage.errors import NotBegun, UnfitDatabase, before_the_first_write, was_gone
from payment.storage.hung_commits import HungCommits
from payment.storage.kept_connection import KeptConnection
from payment.storage.moves import find_move
from payment.storage.ownership import OUR_TABLES, ForeignDatabase, refuse_foreign
from payment.storage.postgres_batch import PostgresBatch
from payment.storage.postgres_copy import PostgresSide
from payment.storage.postgres_engines import (
    BOOKING_POOL_SIZE,
    LONG_POOL_SIZE,
    SHORT_POOL_SIZE,
    event_loop_engine,
    thread_engine,
)
from payment.storage.postgres_migrations import migrating
from payment.storage.postgres_notify import Announcer, Listener

Result = TypeVar("Result")

READ_ONLY = text("""
    SELECT pg_is_in_recovery() AS is_standby, current_setting('transaction_read_only') = 'on' AS is_read_only
""")
ENCODING = text("SHOW server_encoding")
THERE = text("SELECT name FROM unnest(CAST(:names AS text[])) AS name WHERE to_regclass(name) IS NOT NULL")


class Postgres(Database):
    """A server, or a primary and its standbys (several `host=` in the URL)."""

    migrates_itself = False

    def __init__(self, url: URL, listen_url: URL | None = None) -> None:
        super().__init__(url)
        self._engine = thread_engine(url)  # every thread's
        self._listening = thread_engine(listen_url) if listen_url else None  # the listener's
        # The event loop's: each has connections of its own, as reports and lists may take all of theirs for
        # seconds.
        self._booking = event_loop_engine(url, BOOKING_POOL_SIZE, begins=False)
        self._kept = KeptConnection(self._booking, partial(note_database_wait, "booking"))
        self._short = event_loop_engine(url, SHORT_POOL_SIZE)
        self._long = event_loop_engine(url, LONG_POOL_SIZE)
        self._announcer = Announcer(self._booking)
        self._hung_commits = HungCommits()
        watch_connections("threads", self._engine.pool)
        for name, engine in (("booking", self._booking), ("short", self._short), ("long", self._long)):
            watch_connections(name, engine.pool)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """See `Database.write`.

        Raises:
            StandbyAway: an earlier commit still waits for the standby.
        """
        with self._hung_commits.watch(), self._engine.begin() as connection:
            self._hung_commits.refuse_behind_one(connection)
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """See `Database.read`."""
        with self._engine.connect() as connection:
            yield connection

    def migrating(self) -> AbstractContextManager[Connection]:
        """See `Database.migrating`.

        Raises:
            Migrating: another process migrates, and takes long.
        """
        return migrating(self._engine)

    @contextmanager
    def copying(self) -> Iterator[Side]:
        """See `Database.copying`: it has the lock of migrations."""
        with migrating(self._engine) as connection:
            yield PostgresSide(connection)

    async def run_write(self, work: Callable[[Connection], Result]) -> Result:
        """See `Database.run_write`.

        Raises:
            StandbyAway: an earlier commit still waits for the standby.
        """

        def run() -> Result:
            with self.write() as connection:
                return work(connection)

        return await asyncio.to_thread(run)

    async def run_batch(self, work: Callable[[BatchTransaction], Result]) -> Result:
        """See `Database.run_batch`.

        Raises:
            StandbyAway: an earlier commit still waits for the standby.
        """

        def run(connection: Connection) -> Result:
            with before_the_first_write():
                self._hung_commits.refuse_behind_one(connection)
            return work(PostgresBatch(connection))

        try:
            with self._hung_commits.watch():
                return await self._kept.run(run)
        except SQLAlchemyError as error:
            if isinstance(error, NotBegun) or getattr(error, "connection_invalidated", False):
                await (
                    self._booking.dispose()
                )  # its other connections are as old, or the server is as silent there
            raise

    async def run_read(self, work: Callable[[Connection], Result], *, is_short: bool = False) -> Result:
        """See `Database.run_read`."""
        engine = self._short if is_short else self._long
        began_s = time.perf_counter()
        try:
            async with engine.connect() as connection:
                note_database_wait("short" if is_short else "long", time.perf_counter() - began_s)
                return await connection.run_sync(work)
        except DBAPIError as error:
            if not was_gone(error):
                raise
        async with engine.connect() as connection:
            return await connection.run_sync(work)

    def announce(self) -> None:
        """See `Database.announce`."""
        self._announcer.announce()

    def listen(self, heard: Callable[[], None], stop: threading.Event) -> None:
        """See `Database.listen`: LISTEN on a connection of its own.

        Behind a pooler that needs an address of its own; without one, workers look now and then.
        """
        engine = self._listening or self._engine
        is_past_pooler = self._listening is not None
        Listener(engine, is_past_pooler=is_past_pooler, heard=heard, stop=stop).start()

    def why_read_only(self, connection: Connection) -> str | None:
        """See `Database.why_read_only`."""
        row = connection.execute(READ_ONLY).one()
        if row.is_standby:
            return "it is a standby"
        if move := find_move(connection):
            return str(move)
        return "default_transaction_read_only is on" if row.is_read_only else None

    def refuse_foreign(self) -> None:
        """See `Database.refuse_foreign`; others' tables may stand beside ours, but not have our names.

        Raises:
            UnfitDatabase: it keeps only some of all characters.
        """
        with self.read() as connection:
            encoding = connection.execute(ENCODING).scalar_one()
        if encoding != "UTF8":
            raise UnfitDatabase(
                f"the encoding of {self.url.database} is {encoding}, not UTF8, so it cannot hold every text; "
                "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0 makes one that can"
            )
        try:
            self._refuse_foreign()
        except ForeignDatabase:
            self._refuse_foreign()  # a first migration may have been committed between the two looks

    def _refuse_foreign(self) -> None:
        revision = self.schema_revision()
        with self.read() as connection:
            tables = connection.execute(THERE, {"names": sorted(OUR_TABLES)}).scalars().all()
        refuse_foreign(f"the database {self.url.database}", tables, revision)

    def close(self) -> None:
        """See `Database.close`."""
        self._engine.dispose()
        if self._listening is not None:
            self._listening.dispose()

    async def aclose(self) -> None:
        """See `Database.aclose`."""
        self.close()
        await self._announcer.aclose()
        await self._kept.aclose()
        for engine in (self._booking, self._short, self._long):
            await engine.dispose()
