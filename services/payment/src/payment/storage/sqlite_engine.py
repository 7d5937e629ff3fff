"""SQLite's connections: how each is set up, and how its transactions begin."""

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext

from payment.storage.errors import MOVED_TO, NOT_WHOLE, NotServed
from payment.storage.json_rows import json_of
from payment.storage.sqlite_file import make_private, refuse_foreign_file

SQLITE_BUSY_TIMEOUT_S = 4.0
SQLITE_WAL_TIMEOUT_S = 5.0
POOL_SIZE = 12
POOL_TIMEOUT_S = 3


def sqlite_engine(url: URL, file: Path) -> Engine:
    """Return the engine of a file.

    Args:
        url: names the file.
        file: where it lies, see `file_of`.
    """
    engine = create_engine(
        url,
        json_serializer=json_of,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_S, "check_same_thread": False},
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
    )
    is_ours = False  # each thread that connects reads it, and sets it once its connection has looked

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

    @event.listens_for(engine, "handle_error")
    def tell_moved(context: ExceptionContext) -> None:
        refuse_if_moved(context.original_exception)

    return engine


def refuse_if_moved(error: BaseException) -> None:
    """Say of an error that it was a guard of `moves`, if it was, and no trigger of somebody else's.

    Raises:
        NotServed: it was.
    """
    is_of_trigger = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CONSTRAINT_TRIGGER
    if is_of_trigger and str(error).startswith((MOVED_TO, NOT_WHOLE)):
        raise NotServed(str(error)) from error


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
