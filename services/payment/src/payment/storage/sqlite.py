"""SQLite: a file with one writer at a time (docs/decisions/0005)."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

from payment.core.metrics import note_database_wait, watch_connections
from payment.storage.base import Database
from payment.storage.batch import BatchTransaction
from payment.storage.copy_side import Side
from payment.storage.moves import find_move
from payment.storage.sqlite_batch import SqliteBatch
from payment.storage.sqlite_copy import SqliteSide
from payment.storage.sqlite_engine import sqlite_engine
from payment.storage.sqlite_file import file_of, why_read_only

Given = TypeVar("Given")
Result = TypeVar("Result")

SQLITE_QUEUE_TIMEOUT_S = 2.0


class Sqlite(Database):
    """A file. It has one writer at a time, in this process and in all."""

    migrates_itself = True
    _batch = SqliteBatch

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        self._file = file_of(url)
        self._engine = sqlite_engine(url, self._file)
        # Every thread that writes takes it, in `write`. Waiting ends at once when it is free; SQLite's busy
        # handler, where writers of other processes wait, sleeps up to 100 ms between looks.
        self._writing = threading.Lock()
        # The event loop hands its work to these; each has threads of its own.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="reader")
        self._short_readers = ThreadPoolExecutor(2, thread_name_prefix="short-reader")
        watch_connections("threads", self._engine.pool)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """See `Database.write`."""
        if not self._writing.acquire(timeout=SQLITE_QUEUE_TIMEOUT_S):
            raise OperationalError("BEGIN", None, sqlite3.OperationalError("database is locked"))
        try:
            with self._engine.begin() as connection:
                yield connection
        finally:
            self._writing.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """See `Database.read`; all of it sees one state of the database."""
        with self._engine.connect().execution_options(sqlite_begin="DEFERRED") as connection:
            yield connection

    def migrating(self) -> AbstractContextManager[Connection]:
        """See `Database.migrating`: all of it is one transaction."""
        return self.write()

    @contextmanager
    def copying(self) -> Iterator[Side]:
        """See `Database.copying`: a transaction has the file's lock."""
        with self._engine.connect() as connection:
            yield SqliteSide(connection)

    async def run_write(self, work: Callable[[Connection], Result]) -> Result:
        """See `Database.run_write`."""
        return await self._run("booking", self._writer, self.write, work)

    async def run_batch(self, work: Callable[[BatchTransaction], Result]) -> Result:
        """See `Database.run_batch`."""
        return await self._run("booking", self._writer, self.batch, work)

    async def run_read(self, work: Callable[[Connection], Result], *, is_short: bool = False) -> Result:
        """See `Database.run_read`."""
        if is_short:
            return await self._run("short", self._short_readers, self.read, work)
        return await self._run("long", self._readers, self.read, work)

    async def _run(
        self,
        pool: str,
        threads: ThreadPoolExecutor,
        transaction: Callable[[], AbstractContextManager[Given]],
        work: Callable[[Given], Result],
    ) -> Result:
        began_s = time.perf_counter()

        def run() -> Result:
            note_database_wait(pool, time.perf_counter() - began_s)
            with transaction() as given:
                return work(given)

        return await asyncio.get_running_loop().run_in_executor(threads, run)

    def announce(self) -> None:
        """Do nothing, see `listen`."""

    def listen(self, heard: Callable[[], None], stop: threading.Event) -> None:
        """Do nothing: SQLite does not tell other processes; they look now and then."""

    def why_read_only(self, connection: Connection) -> str | None:
        """See `Database.why_read_only`."""
        move = find_move(connection)
        return str(move) if move else why_read_only(self._file)

    def refuse_foreign(self) -> None:
        """Do nothing: the first connection has looked, before it wrote anything."""

    def close(self) -> None:
        """See `Database.close`."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._short_readers.shutdown()
        self._engine.dispose()

    async def aclose(self) -> None:
        """See `Database.aclose`."""
        self.close()
