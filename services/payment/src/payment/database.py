"""The database: engine, transactions, and what SQLite needs to keep its word.

`write()` is one transaction that may write, `read()` one that sees a single state. Both give a SQLAlchemy
Core connection; nothing above this file knows which database it is, but for `insert`, whose
`ON CONFLICT` both databases spell alike.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
SCHEMA_REVISION = "0001"
"""The newest migration. A test holds it against `migrations/`, so that a start need not load Alembic."""

BUSY_TIMEOUT_MS = 5_000


class Database:
    """A pool of connections to one database."""

    def __init__(self, url: URL, pool_size: int = 20) -> None:
        self.url = url
        self._engine = _sqlite_engine(url, pool_size)
        # SQLite has one writer. Writers of this process queue here, where waiting ends at once, and not
        # in SQLite's busy handler, which sleeps up to 100 ms between looks.
        self._writer = threading.Lock()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that may write; committed at the end, rolled back on an error."""
        with self._writer, self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads, and sees one state of the database."""
        with self._engine.connect().execution_options(sqlite_begin="DEFERRED") as connection:
            yield connection

    def schema_revision(self) -> str | None:
        """Return the migration that the database is at, None if it is empty."""
        with self.read() as connection:
            try:
                row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
            except OperationalError as error:
                if "no such table" in str(error.orig):
                    return None
                raise
        return row[0] if row else None

    def migrate(self) -> bool:
        """Bring the schema to the newest migration, safely beside another process that does the same.

        Returns:
            True if there was something to do.
        """
        if self.schema_revision() == SCHEMA_REVISION:
            return False
        from alembic import command  # noqa: PLC0415  # 150 ms that a start seldom needs
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self.write() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return True

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def insert(table: Table) -> sqlite.Insert:
    """Return an INSERT that knows ON CONFLICT."""
    return sqlite.insert(table)


def _sqlite_engine(url: URL, pool_size: int) -> Engine:
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
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
