"""The database: connections, transactions, and what each of the two needs to keep its word.

`write()` is one transaction that may write, `read()` one that only reads; `run_write` and `run_read` are the
same for the event loop. All give a SQLAlchemy Core connection, and the functions at the end are the few
things that the two databases spell differently: nothing above this file knows which one it is.
"""

import asyncio
import json
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Column,
    Connection,
    Dialect,
    Engine,
    Insert,
    Integer,
    Select,
    Table,
    TableValuedAlias,
    Update,
    bindparam,
    column,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import await_only

from payment.logs import facts_of, get_logger
from payment.ownership import OUR_TABLES, is_revision, refuse_foreign
from payment.postgres_session import CONNECT_ARGUMENTS, AsyncSession, NoAnswer, Session, alone, begin
from payment.sqlite_file import file_of, make_private, refuse_foreign_file, why_read_only

Result = TypeVar("Result")

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
SCHEMA_REVISION = "0004"
"""The newest migration. A test holds it against `migrations/`, so that a start need not load Alembic."""

SQLITE_BUSY_TIMEOUT_S = 4.0
SQLITE_QUEUE_TIMEOUT_S = 2.0
SQLITE_WAL_TIMEOUT_S = 5.0
POOL_SIZE = 12
BOOKING_POOL_SIZE = 2
"""A batch, and a NOTIFY."""

SHORT_POOL_SIZE = 3
LONG_POOL_SIZE = 7
POOL_TIMEOUT_S = 3
CHANNEL = "payment_outbox"
LISTEN_PAUSE_S = 1.0
ANNOUNCE_PAUSE_S = 0.05

MIGRATION_TRIES = 5
MIGRATION_PAUSE_S = 0.2
MIGRATION_WAIT_S = 600.0
"""The longest that a migration waits for another one."""

_MIGRATION_LOCK = -1  # what is booked has positive numbers
_log = get_logger()


class OldSchemaError(Exception):
    """The schema is older than the one that this version works with."""

    def __init__(self, revision: str | None) -> None:
        super().__init__(f"{revision or 'empty'}, not {SCHEMA_REVISION}")


class StandbyAway(SQLAlchemyError):
    """A commit still waits for the synchronous standby, so another one would wait behind it."""


class Migrating(SQLAlchemyError):
    """Another process migrates, and takes long."""


class NotBegun(SQLAlchemyError):
    """The connection was gone before anything was written: it can be tried again on another."""


class Database(ABC):
    """One database, with its connections."""

    migrates_itself: bool
    """True if a start brings the schema up to date; else it refuses an old one."""

    def __init__(self, url: URL) -> None:
        self.url = url

    @abstractmethod
    def write(self) -> AbstractContextManager[Connection]:
        """Open a transaction that may write; committed at the end, rolled back on an error."""

    @abstractmethod
    def read(self) -> AbstractContextManager[Connection]:
        """Open a transaction that only reads."""

    @abstractmethod
    def migrating(self) -> AbstractContextManager[Connection]:
        """Give the connection on which the schema may be changed; one at a time, the others wait."""

    @abstractmethod
    async def run_write(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a transaction that may write, off the event loop."""

    @abstractmethod
    async def run_batch(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` as `run_write` does, made for many; one at a time.

        The transaction begins where `work` calls `lock_and_read`.
        """

    @abstractmethod
    async def run_read(self, work: Callable[[Connection], Result], *, is_short: bool = False) -> Result:
        """Run `work`, which only reads, off the event loop; short reads do not wait for long ones."""

    @abstractmethod
    def announce(self) -> None:
        """Tell the workers of other processes that something was booked, soon; called on the event loop.

        It may get lost: workers look now and then.
        """

    @abstractmethod
    def listen(self, heard: Callable[[], None], stop: threading.Event) -> None:
        """Call `heard` whenever another process has booked something, until `stop`; returns at once."""

    @abstractmethod
    def why_read_only(self, connection: Connection) -> str | None:
        """Return why nothing can be written, None if something can."""

    @abstractmethod
    def refuse_foreign(self) -> None:
        """Refuse a database that belongs to another program.

        Raises:
            ForeignDatabase: it does.
        """

    @abstractmethod
    def close(self) -> None:
        """Close every connection that `write` and `read` opened."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close every connection, those of the event loop too."""

    def schema_revision(self) -> str | None:
        """Return the migration that the database is at, None if it is empty."""
        with self.read() as connection:
            return schema_revision(connection)

    def migrate(self) -> bool:
        """Bring the schema to the newest migration, safely beside another process that does the same.

        Returns:
            True if there was something to do.

        Raises:
            ForeignDatabase: it belongs to another program.
            Migrating: another process migrates, and takes long.
        """
        self.refuse_foreign()
        if is_current(self.schema_revision()):
            return False
        from alembic import command  # noqa: PLC0415  # 150 ms that a start seldom needs
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self.migrating() as connection:
            config.attributes["connection"] = connection
            for tries_left in reversed(range(MIGRATION_TRIES)):
                try:
                    command.upgrade(config, "head")
                    break
                except DBAPIError as error:  # what runs beside it locks the same tables in another order
                    if not (can_be_repeated(error) and tries_left):
                        raise
        return True


class Sqlite(Database):
    """A file. It has one writer at a time, in this process and in all."""

    migrates_itself = True

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        self._file = file_of(url)
        self._engine = _sqlite_engine(url, self._file)
        # Writers of this process queue here, where waiting ends at once, and not in SQLite's busy
        # handler, which sleeps up to 100 ms between looks.
        self._writing = threading.Lock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="reader")
        self._short_readers = ThreadPoolExecutor(2, thread_name_prefix="short-reader")

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

    async def run_write(self, work: Callable[[Connection], Result]) -> Result:
        """See `Database.run_write`."""
        return await self._run(self._writer, self.write, work)

    async def run_batch(self, work: Callable[[Connection], Result]) -> Result:
        """See `Database.run_batch`."""
        return await self.run_write(work)

    async def run_read(self, work: Callable[[Connection], Result], *, is_short: bool = False) -> Result:
        """See `Database.run_read`."""
        return await self._run(self._short_readers if is_short else self._readers, self.read, work)

    async def _run(
        self,
        threads: ThreadPoolExecutor,
        transaction: Callable[[], AbstractContextManager[Connection]],
        work: Callable[[Connection], Result],
    ) -> Result:
        def run() -> Result:
            with transaction() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(threads, run)

    def announce(self) -> None:
        """Do nothing, see `listen`."""

    def listen(self, heard: Callable[[], None], stop: threading.Event) -> None:
        """Do nothing: SQLite does not tell other processes; they look now and then."""

    def why_read_only(self, connection: Connection) -> str | None:
        """See `Database.why_read_only`."""
        del connection
        return why_read_only(self._file)

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


class Postgres(Database):
    """A server, or a primary and its standbys (several `host=` in the URL)."""

    migrates_itself = False

    def __init__(self, url: URL, listen_url: URL | None = None) -> None:
        super().__init__(url)
        self._engine = _postgres_engine(url)
        self._listening = _postgres_engine(listen_url) if listen_url else None
        # each has connections of its own: reports and lists may take all of theirs for seconds
        self._booking = _async_engine(url, BOOKING_POOL_SIZE, begins=False)
        self._short = _async_engine(url, SHORT_POOL_SIZE)
        self._long = _async_engine(url, LONG_POOL_SIZE)
        self._is_suspect = False  # a write had no answer: its commit may still wait for the standby
        self._has_news = False
        self._announcing: asyncio.Task[None] | None = None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """See `Database.write`.

        Raises:
            StandbyAway: an earlier commit still waits for the standby.
        """
        with self._suspecting(), self._engine.begin() as connection:
            self._look_for_hung_commits(connection)
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """See `Database.read`."""
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """See `Database.migrating`: each migration is a transaction.

        A statement may take its time, as an index of a large table takes minutes. What waits for a lock on a
        table may not: everybody else would wait behind it.

        Raises:
            Migrating: another process migrates, and takes long.
        """
        with self._alone_migrating(), self._engine.connect() as connection:
            session = _session(connection)
            session.answer_within_s = None
            if not session.is_pooled:  # for what runs outside of a transaction, and keeps nobody waiting
                connection.execute(text("SET statement_timeout = 0"))
                connection.execute(text("SET lock_timeout = 0"))
                connection.commit()
            try:
                yield connection.execution_options(takes_its_time=True)
            finally:
                connection.invalidate()  # it does not go back to the pool

    @contextmanager
    def _alone_migrating(self) -> Iterator[None]:
        """Hold the lock of migrations, in a transaction of its own: a pooler's session would outlive us.

        The transaction holds no snapshot, so an index that is built CONCURRENTLY does not wait for it, as it
        would if we waited for the lock in the database.
        """
        deadline_s = time.monotonic() + MIGRATION_WAIT_S
        said = ""
        with self._engine.connect() as connection:
            while not connection.execute(_LOCK_MIGRATIONS).scalar_one():
                holder = connection.execute(_HOLDER_OF_MIGRATIONS).scalar() or "one that has just ended"
                connection.rollback()
                if time.monotonic() > deadline_s:
                    raise Migrating(f"another migration takes more than {MIGRATION_WAIT_S:g} s: {holder}")
                if holder != said:
                    _log.warning("another migration runs", holder=holder)
                    said = holder
                time.sleep(MIGRATION_PAUSE_S)
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            yield

    async def run_write(self, work: Callable[[Connection], Result]) -> Result:
        """See `Database.run_write`.

        Raises:
            StandbyAway: an earlier commit still waits for the standby.
        """

        def run() -> Result:
            with self.write() as connection:
                return work(connection)

        return await asyncio.to_thread(run)

    async def run_batch(self, work: Callable[[Connection], Result]) -> Result:
        """See `Database.run_batch`.

        Raises:
            StandbyAway: an earlier commit still waits for the standby.
        """

        def run(connection: Connection) -> Result:
            with _nothing_written():
                self._look_for_hung_commits(connection)
            result = work(connection)
            with _translated(connection, "COMMIT", {}):
                connection.connection.commit()  # does nothing if the rows took it along
            return result  # what raises goes back to the pool, which rolls back

        try:
            with self._suspecting():
                async with self._booking.connect() as connection:
                    return await connection.run_sync(run)
        except SQLAlchemyError as error:
            if isinstance(error, NotBegun) or getattr(error, "connection_invalidated", False):
                await self._booking.dispose()  # those that wait in the pool are as old, or would be as silent
            raise

    async def run_read(self, work: Callable[[Connection], Result], *, is_short: bool = False) -> Result:
        """See `Database.run_read`."""
        engine = self._short if is_short else self._long
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(work)
        except DBAPIError as error:
            if not _was_gone(error):
                raise
        async with engine.connect() as connection:
            return await connection.run_sync(work)

    @contextmanager
    def _suspecting(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            self._is_suspect = self._is_suspect or isinstance(error.orig, NoAnswer)
            raise

    def _look_for_hung_commits(self, connection: Connection) -> None:
        """Refuse to write while an unanswered commit is known to hang; each more would hold a connection."""
        if self._is_suspect:
            if connection.execute(_HUNG_COMMIT).first():
                raise StandbyAway("a commit still waits for the synchronous standby")
            self._is_suspect = False

    def announce(self) -> None:
        """See `Database.announce`.

        A NOTIFY in the payment's own transaction would make all commits wait in one line.
        """
        self._has_news = True
        if self._announcing is None or self._announcing.done():
            self._announcing = asyncio.create_task(self._announce())

    async def _announce(self) -> None:
        while self._has_news:
            self._has_news = False
            try:
                async with self._booking.connect() as connection:
                    await connection.run_sync(_notify)
            except SQLAlchemyError as error:
                _log.debug("not announced", **facts_of(error))
            await asyncio.sleep(ANNOUNCE_PAUSE_S)  # one for all that is booked meanwhile

    def listen(self, heard: Callable[[], None], stop: threading.Event) -> None:
        """See `Database.listen`: LISTEN on a connection of its own, made again when it breaks.

        Behind a pooler that needs an address of its own; without one, workers look now and then.
        """
        thread = threading.Thread(target=self._listen, args=(heard, stop), name="listener", daemon=True)
        thread.start()

    def _listen(self, heard: Callable[[], None], stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                with (self._listening or self._engine).connect() as connection:
                    session = _session(connection)
                    if session.is_pooled and self._listening is None:
                        _log.info("not listening through a pooler, see DATABASE_LISTEN_URL")
                        return
                    connection.detach()  # it waits for ever, so it is none of the pool's
                    try:
                        self._hear(session, heard, stop)
                    except psycopg.Error as error:
                        session.close()
                        connection.invalidate(error)  # there is nothing to roll back
                        raise
            except (SQLAlchemyError, psycopg.Error) as error:
                _log.warning("not listening", **facts_of(error))
                stop.wait(LISTEN_PAUSE_S)

    def _hear(self, session: Session, heard: Callable[[], None], stop: threading.Event) -> None:
        session.autocommit = True
        session.execute(f"LISTEN {CHANNEL}".encode())
        heard()  # what was booked while nobody listened
        while not stop.is_set():
            for _ in session.notifies(timeout=1.0, stop_after=1):
                heard()
            session.execute("SELECT 1")  # a frozen server is silent too, and would be for ever

    def why_read_only(self, connection: Connection) -> str | None:
        """See `Database.why_read_only`."""
        row = connection.execute(_READ_ONLY).one()
        if row.is_standby:
            return "it is a standby"
        return "default_transaction_read_only is on" if row.is_read_only else None

    def refuse_foreign(self) -> None:
        """See `Database.refuse_foreign`; others' tables may stand beside ours, but not have our names."""
        revision = self.schema_revision()
        with self.read() as connection:
            tables = connection.execute(_THERE, {"names": sorted(OUR_TABLES)}).scalars().all()
        refuse_foreign(f"the database {self.url.database}", tables, revision)

    def close(self) -> None:
        """See `Database.close`."""
        self._engine.dispose()
        if self._listening is not None:
            self._listening.dispose()

    async def aclose(self) -> None:
        """See `Database.aclose`."""
        self.close()
        if self._announcing is not None:
            self._announcing.cancel()
        for engine in (self._booking, self._short, self._long):
            await engine.dispose()


def open_database(url: URL, listen_url: URL | None = None) -> Database:
    """Return the database that the URL names; nothing is connected yet.

    Args:
        url: names it.
        listen_url: leads to the same PostgreSQL past its pooler.
    """
    return Sqlite(url) if url.get_backend_name() == "sqlite" else Postgres(url, listen_url)


def open_current(url: URL, listen_url: URL | None = None) -> Database:
    """Return the database that `open_database` does, its schema current, or newer: see `is_current`.

    Raises:
        OldSchemaError: it is older, and this database does not migrate itself.
        ForeignDatabase: it belongs to another program.
    """
    database = open_database(url, listen_url)
    with ExitStack() as failed:
        failed.callback(database.close)
        if database.migrates_itself:
            database.migrate()
        database.refuse_foreign()
        if not is_current(revision := database.schema_revision()):
            raise OldSchemaError(revision)
        failed.pop_all()
    return database


# --- what the two spell differently -------------------------------------------------------------------


def insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return the one INSERT into a table that knows ON CONFLICT."""
    return _insert(table, for_postgres=_is_postgres(connection))


@cache
def _insert(table: Table, *, for_postgres: bool) -> sqlite.Insert | postgresql.Insert:
    return postgresql.insert(table) if for_postgres else sqlite.insert(table)


Rows = Mapping[Table, Sequence[Mapping[str, Any]]]
"""Rows of several tables; those of one table have the same columns."""


def write_all(connection: Connection, *, new: Rows | None = None, changed: Rows | None = None) -> None:
    """Insert the new rows, those that others refer to first, then update the changed ones by primary key.

    PostgreSQL gets the rows as JSON: one statement for all that is new, one for each table of what changed.
    On its event loop they are one text that ends with COMMIT, so nothing may be written after this.

    Args:
        connection: holds a transaction.
        new: the rows of each table.
        changed: of each changed row its primary key and the columns to set.
    """
    new = {table: rows for table, rows in (new or {}).items() if rows}
    changed = {table: rows for table, rows in (changed or {}).items() if rows}
    if not _is_postgres(connection):
        for table, rows in new.items():
            connection.execute(table.insert(), rows)
        for table, rows in changed.items():
            connection.execute(_update_by_key(table, tuple(rows[0])), _as_given(rows))
        return
    statements: list[tuple[Insert | Update, Mapping[str, Any]]] = []
    if new:
        shape = tuple((table, tuple(rows[0])) for table, rows in new.items())
        statements.append((_insert_from_json(shape), {table.name: rows for table, rows in new.items()}))
    for table, rows in changed.items():
        statements.append((_update_from_json(table, tuple(rows[0])), {table.name: rows}))
    session = connection.connection.driver_connection
    if not isinstance(session, AsyncSession):
        for statement, values in statements:
            connection.execute(statement, values)
    elif statements:
        spelled = [
            _spelled(connection.dialect, statement, {name: json.dumps(rows) for name, rows in values.items()})
            for statement, values in statements
        ]
        with _translated(connection, *spelled[0]):
            await_only(_execute_and_commit(session, spelled))


def _rows_of_json(table: Table, names: tuple[str, ...]) -> TableValuedAlias:
    """Return the JSON array in the parameter of the table's name as rows with these columns."""
    given = func.json_to_recordset(bindparam(table.name, type_=JSON)).table_valued(
        *(column(name, table.c[name].type) for name in names), name="given"
    )
    return given.render_derived(with_types=True)


@lru_cache(maxsize=64)
def _insert_from_json(shape: tuple[tuple[Table, tuple[str, ...]], ...]) -> Insert:
    """Return an INSERT into each table, with its columns."""
    *others, last = (
        table.insert().from_select(names, select(*_rows_of_json(table, names).c)) for table, names in shape
    )
    return last.add_cte(*(other.cte() for other in others))


@lru_cache(maxsize=64)
def _update_from_json(table: Table, names: tuple[str, ...]) -> Update:
    """Return an UPDATE of the rows with these primary keys."""
    (key,) = table.primary_key
    given = _rows_of_json(table, names)
    return (
        table.update()
        .where(key == given.c[key.name])
        .values({name: given.c[name] for name in names if name != key.name})
    )


@lru_cache(maxsize=64)
def _update_by_key(table: Table, names: tuple[str, ...]) -> Update:
    """Return an UPDATE of one row, its values from `_as_given`."""
    (key,) = table.primary_key
    return (
        table.update()
        .where(key == bindparam(f"given_{key.name}"))
        .values({name: bindparam(f"given_{name}") for name in names if name != key.name})
    )


def _as_given(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{f"given_{name}": value for name, value in row.items()} for row in rows]


Query = tuple[Select[Any], Mapping[str, Any]]
"""A SELECT that is built once, and its parameters."""


def lock_and_read(connection: Connection, numbers: Collection[int], *queries: Query) -> list[Sequence[Any]]:
    """Let nobody else book what the numbers stand for until the transaction ends, then run the queries.

    The numbers are locked in ascending order, so that two batches never wait for each other; SQLite's writer
    has locked everything already. On PostgreSQL's event loop the transaction begins here, in one round trip
    with all of it.

    Returns:
        The rows of each query.
    """
    if not _is_postgres(connection):
        return [connection.execute(*query).all() for query in queries]
    locked = (_LOCKS, {"numbers": sorted(numbers)}), *queries
    session = connection.connection.driver_connection
    if not isinstance(session, AsyncSession):
        return [connection.execute(*query).all() for query in locked][1:]
    spelled = [_spelled(connection.dialect, *query) for query in locked]
    with _nothing_written(), _translated(connection, *spelled[0]):
        return await_only(_begin_and_fetch(session, spelled))[1:]


def read_ahead(connection: Connection, *query: Any) -> Sequence[Any]:
    """Return the rows of a query about what never changes, before the transaction of a batch begins."""
    session = connection.connection.driver_connection
    with _nothing_written():
        if not (isinstance(session, AsyncSession) and session.is_pooled):
            return connection.execute(*query).all()
        spelled = _spelled(connection.dialect, *query)
        with _translated(connection, *spelled):
            return await_only(_begin_and_fetch(session, [spelled], "COMMIT"))[0]


@contextmanager
def _nothing_written() -> Iterator[None]:
    """Raise NotBegun if the connection is gone."""
    try:
        yield
    except DBAPIError as error:
        if _was_gone(error):
            raise NotBegun from error
        raise


def _was_gone(error: DBAPIError) -> bool:
    """Say whether a connection had been lost, as all are when the server was restarted."""
    return error.connection_invalidated and not isinstance(error.orig, NoAnswer)


_LOCKS = select(func.pg_advisory_xact_lock(func.unnest(bindparam("numbers", type_=ARRAY(BigInteger)))))


def _spelled(
    dialect: Dialect, query: Select[Any] | Insert | Update, values: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any]]:
    state = _compiled(query, dialect).construct_expanded_state(dict(values))
    return state.statement, state.parameters


@contextmanager
def _translated(connection: Connection, text: str, values: Mapping[str, Any]) -> Iterator[None]:
    """Raise what goes wrong beside SQLAlchemy as it does, and drop a connection that is gone."""
    try:
        yield
    except BaseException as error:  # a wait that was cancelled has closed it too
        is_gone: bool = connection.connection.driver_connection.closed  # type: ignore[union-attr]  # psycopg's
        if is_gone:
            connection.invalidate(error)
        if not isinstance(error, psycopg.Error):
            raise
        raise DBAPIError.instance(
            text,
            values,
            error,
            psycopg.Error,
            dialect=connection.dialect,
            connection_invalidated=is_gone,
        ) from error


@lru_cache(maxsize=64)
def _compiled(query: Select[Any] | Insert | Update, dialect: Dialect) -> SQLCompiler:
    compiled = query.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)
    return compiled


# Several statements go as one text, with psycopg's quoting: each sees what was committed before it began, so
# the reads see what the locks waited for. psycopg's pipeline mode takes half as much CPU again.


async def _begin_and_fetch(
    session: AsyncSession, queries: Iterable[tuple[str, Mapping[str, Any]]], *then: str
) -> list[Sequence[Any]]:
    cursor = psycopg.AsyncClientCursor(session, row_factory=namedtuple_row)
    before = begin(session)
    texts = [cursor.mogrify(text.encode(), values) for text, values in queries]
    await cursor.execute("; ".join([*before, *texts, *then]).encode())
    for _ in before[1:]:
        cursor.nextset()
    rows: list[Sequence[Any]] = []
    for _ in texts:
        cursor.nextset()
        rows.append(await cursor.fetchall())
    return rows


async def _execute_and_commit(
    session: AsyncSession, statements: Iterable[tuple[str, Mapping[str, Any]]]
) -> None:
    cursor = psycopg.AsyncClientCursor(session)
    texts = [cursor.mogrify(text.encode(), values) for text, values in statements]
    await cursor.execute("; ".join([*texts, "COMMIT"]).encode())


def fresh_ids(connection: Connection, column: Column[int], size: int) -> Query:
    """Return the query for ids that no row of the column's table has, one in each of `size` rows."""
    if _is_postgres(connection):
        return _next_of_sequence(column), {"size": size}
    return _next_of_newest(column), {"numbers": json.dumps(list(range(1, size + 1)))}


@cache
def _next_of_sequence(column: Column[int]) -> Select[Any]:
    sequence = func.nextval(f"{column.table.name}_{column.name}_seq")
    return select(sequence).select_from(func.generate_series(1, bindparam("size", type_=Integer)).alias("n"))


@cache
def _next_of_newest(column: Column[int]) -> Select[Any]:
    newest = select(func.coalesce(func.max(column), 0)).scalar_subquery()
    numbers = func.json_each(bindparam("numbers")).table_valued("value")
    return select(newest + numbers.c.value)


def wait_for_standby(connection: Connection) -> None:
    """Have this transaction's COMMIT wait for the synchronous standby, even if it writes nothing else.

    What it read may be on the primary alone, and an answer that rests on that must not outlive it.
    """
    if _is_postgres(connection):
        connection.execute(text("SELECT pg_logical_emit_message(true, 'payment', '')"))


def can_be_repeated(error: BaseException) -> bool:
    """Say whether nothing was written, for a reason that is gone when it is tried again."""
    conflicts = psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected
    return isinstance(error, NotBegun) or isinstance(getattr(error, "orig", None), conflicts)


def schema_revision(connection: Connection) -> str | None:
    """Return the migration that the database is at, None if it is empty."""
    try:
        row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    except DatabaseError as error:
        if isinstance(error.orig, psycopg.errors.UndefinedTable) or "no such table" in str(error.orig):
            return None
        raise
    return row[0] if row else None


def is_current(revision: str | None) -> bool:
    """Say whether this version works with a schema at `revision`: its own, or a newer one.

    A newer version migrates while this one runs, and may have to restart, beside it (docs/operations.md).
    """
    return revision is not None and is_revision(revision) and revision >= SCHEMA_REVISION


def _is_postgres(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


# --- connections --------------------------------------------------------------------------------------

_POOL: dict[str, Any] = {"pool_size": POOL_SIZE, "max_overflow": 0, "pool_timeout": POOL_TIMEOUT_S}


_READ_ONLY = text(
    "SELECT pg_is_in_recovery() AS is_standby,"
    " current_setting('transaction_read_only') = 'on' AS is_read_only"
)
_THERE = text("SELECT name FROM unnest(CAST(:names AS text[])) AS name WHERE to_regclass(name) IS NOT NULL")
_LOCK_MIGRATIONS = select(func.pg_try_advisory_xact_lock(_MIGRATION_LOCK))
_HOLDER_OF_MIGRATIONS = text("""
    SELECT format('process %s (%s) of %s, since %s', pid, application_name,
        coalesce(host(client_addr), 'a socket'), date_trunc('second', xact_start))
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND datname = current_database()
        AND CAST(classid AS bigint) << 32 | CAST(objid AS bigint) = -1 AND objsubid = 1 LIMIT 1
""")
_HUNG_COMMIT = text(
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep' "
    "AND query_start < clock_timestamp() - interval '1 second' LIMIT 1"
)


def _psycopg(url: URL) -> URL:
    return url.set(drivername="postgresql+psycopg")


def _session(connection: Connection) -> Session:
    session = connection.connection.driver_connection
    assert isinstance(session, Session)
    return session


def _postgres_engine(url: URL) -> Engine:
    engine = create_engine(_psycopg(url), pool_pre_ping=True, connect_args=CONNECT_ARGUMENTS, **_POOL)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, parameters: Any) -> Any:
        return Session.open(*arguments, **parameters)

    event.listen(engine, "begin", _begin)
    return engine


def _async_engine(url: URL, pool_size: int, *, begins: bool = True) -> AsyncEngine:
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
        connect_args={"async_creator_fn": AsyncSession.open, **CONNECT_ARGUMENTS},
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=False,  # a batch that failed is rolled back by the pool
        **_POOL | {"pool_size": pool_size},
    )
    if begins:
        event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    """Begin a transaction that has to say what it needs; elsewhere psycopg does, or nobody need."""
    session: Any = connection.connection.driver_connection
    options = connection.get_execution_options()
    takes_its_time: bool = options.get("takes_its_time", False)
    if (session.is_pooled or takes_its_time) and options.get("isolation_level") != "AUTOCOMMIT":
        if isinstance(session, Session):
            session.autocommit = True  # psycopg says nothing; one of the event loop never does
        connection.exec_driver_sql("; ".join(begin(session, takes_its_time=takes_its_time)))


def _notify(connection: Connection) -> None:
    session: Any = connection.connection.driver_connection
    connection.exec_driver_sql(alone(session, f"NOTIFY {CHANNEL}"))


def _sqlite_engine(url: URL, file: Path) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_S, "check_same_thread": False},
        **_POOL,
    )
    is_ours = False

    @event.listens_for(engine, "do_connect")
    def make(_dialect: Any, _record: Any, _arguments: Any, _parameters: Any) -> None:
        if url.query.get("mode", "rwc") == "rwc":
            make_private(file)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        nonlocal is_ours
        connection.isolation_level = None  # we say BEGIN ourselves, below
        if not is_ours:
            try:
                refuse_foreign_file(connection, file)
            except BaseException:
                connection.close()
                raise
            is_ours = True
        cursor = connection.cursor()
        _use_wal(cursor)
        cursor.execute("PRAGMA synchronous=FULL")  # a commit is on the disk before 201 is sent
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # IMMEDIATE takes the write lock first: a plain BEGIN fails with "database is locked" as soon as
        # two transactions read and then both write.
        how = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
        connection.exec_driver_sql(f"BEGIN {how}")

    return engine


def _use_wal(cursor: Any) -> None:
    """Switch the file to a write-ahead log, once; the busy handler does not wait for that, so we do."""
    deadline_s = time.monotonic() + SQLITE_WAL_TIMEOUT_S
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.01)
