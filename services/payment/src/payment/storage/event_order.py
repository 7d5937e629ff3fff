"""The order of events: up to which id of `events` all are there, and none comes later (docs/decisions/0014).

SQLite has one writer, so its ids come in the order of the commits. On PostgreSQL a transaction that got its
ids earlier may commit later. So each takes a lock, before its first id, whose number says which id was the
newest then; what is above the least of these numbers is not shown before the lock is gone.
"""

from sqlalchemy import Connection, func, select, text

from payment.storage.statements import is_postgres
from payment.storage.tables import events

BEGIN_EVENTS = text("""
    SELECT pg_advisory_xact_lock_shared(-2 - CASE WHEN is_called THEN last_value ELSE last_value - 1 END)
    FROM events_id_seq
""")
"""PostgreSQL: to be run before the ids of events are taken, in the same transaction.

Before the first id was taken, `last_value` is the one that will be taken first.
"""

# Three statements, in this order: each sees what the one before it did not miss.
_NEWEST_ID = text("SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM events_id_seq")
_OLDEST_LOCK = text("""
    SELECT min(-2 - (CAST(classid AS bigint) << 32 | CAST(objid AS bigint))) FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (CAST(classid AS bigint) << 32 | CAST(objid AS bigint)) < -1
""")
_LAST_OF_ALL = select(func.max(events.c.id))


def begin_events(connection: Connection) -> None:
    """Say that this transaction is going to write events."""
    if is_postgres(connection):
        connection.execute(BEGIN_EVENTS)


def last_final_id(connection: Connection) -> int:
    """Return an id up to which no event is missing that will be there later; 0 if there is none.

    What is read after this, in a statement of its own, has all of them.
    """
    if not is_postgres(connection):
        last: int | None = connection.execute(_LAST_OF_ALL).scalar_one()
        return last or 0
    return _newest_and_final(connection)[1]


def events_behind(connection: Connection) -> int:
    """Return how many ids are taken beyond the last final one: those of transactions that are under way."""
    if not is_postgres(connection):
        return 0
    newest, final = _newest_and_final(connection)
    return newest - final


def _newest_and_final(connection: Connection) -> tuple[int, int]:
    newest: int = connection.execute(_NEWEST_ID).scalar_one()
    oldest_lock: int | None = connection.execute(_OLDEST_LOCK).scalar_one()
    return newest, newest if oldest_lock is None else min(newest, oldest_lock)
