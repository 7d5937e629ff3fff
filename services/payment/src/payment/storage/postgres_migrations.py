"""Migrations of PostgreSQL: one process at a time, and as long as it takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

from payment.core.logs import get_logger
from payment.storage.errors import Migrating
from payment.storage.postgres_engines import session_of

MIGRATION_PAUSE_S = 0.2
MIGRATION_WAIT_S = 600.0
"""The longest that a migration waits for another one."""

# The lock's number is -1; what is booked has positive ones.
LOCK_MIGRATIONS = text("SELECT pg_try_advisory_xact_lock(-1)")
HOLDER_OF_MIGRATIONS = text("""
    SELECT format('process %s (%s) of %s, since %s', pid, application_name,
        coalesce(host(client_addr), 'a socket'), date_trunc('second', xact_start))
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND datname = current_database()
        AND CAST(classid AS bigint) << 32 | CAST(objid AS bigint) = -1 AND objsubid = 1 LIMIT 1
""")

_log = get_logger()


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """Give the connection on which the schema may be changed: each migration is a transaction.

    A statement may take its time, as an index of a large table takes minutes. What waits for a lock on a
    table may not: everybody else would wait behind it.

    Raises:
        Migrating: another process migrates, and takes long.
    """
    with _alone_migrating(engine), engine.connect() as connection:
        session = session_of(connection)
        session.answer_within_s = None
        if not session.is_pooled:  # for what runs outside of a transaction, and keeps nobody waiting
            connection.execute(text("SET statement_timeout = 0"))
            connection.execute(text("SET lock_timeout = 0"))
            connection.commit()
        try:
            yield connection.execution_options(is_slow=True)
        finally:
            connection.invalidate()  # it does not go back to the pool


@contextmanager
def _alone_migrating(engine: Engine) -> Iterator[None]:
    """Hold the lock of migrations, in a transaction of its own.

    Behind a pooler a lock of the session would outlive us. The transaction holds no snapshot, so an index
    that is built CONCURRENTLY does not wait for it, as it would if we waited for the lock in the database.
    """
    deadline_s = time.monotonic() + MIGRATION_WAIT_S
    said = ""
    with engine.connect() as connection:
        while not connection.execute(LOCK_MIGRATIONS).scalar_one():
            holder = connection.execute(HOLDER_OF_MIGRATIONS).scalar() or "one that has just ended"
            connection.rollback()
            if time.monotonic() > deadline_s:
                raise Migrating(f"another migration takes more than {MIGRATION_WAIT_S:g} s: {holder}")
            if holder != said:
                _log.warning("another migration runs", holder=holder)
                said = holder
            time.sleep(MIGRATION_PAUSE_S)
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield
