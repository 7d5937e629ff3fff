"""A batch on PostgreSQL's event loop, in two round trips: BEGIN and all reads, then all writes and COMMIT.

Several statements go as one text, with psycopg's quoting: each sees what was committed before it began, so
the reads see what the locks waited for. psycopg's pipeline mode takes half as much CPU again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import orjson
import psycopg
from psycopg.pq import ConnStatus
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection, Select, TextClause
from sqlalchemy.util import await_only

from payment.storage.batch import BatchTransaction, NotFirst, Rows
from payment.storage.errors import as_sqlalchemy_raises, before_the_first_write
from payment.storage.event_order import BEGIN_EVENTS
from payment.storage.json_rows import insert_from_json, json_of, update_from_json
from payment.storage.postgres_session import AsyncSession, begin
from payment.storage.spelling import Spelled, numbered, spelled
from payment.storage.statements import WAIT_FOR_STANDBY, Query, lock_query
from payment.storage.tables import ONE_REFERENCE, bills, events, idempotency_keys, payments
from payment.storage.unread_insert import insert_alone, insert_unread

_MAY_BE_THERE = {bills.primary_key.name, idempotency_keys.primary_key.name, ONE_REFERENCE}

Write = tuple[TextClause, Mapping[str, str]]
"""A statement, and the rows of each of its parameters as JSON."""


def _array(numbers: Iterable[int]) -> str:
    """Return an array as PostgreSQL writes it."""
    return f"{{{','.join(map(str, numbers))}}}"


class PostgresBatch(BatchTransaction):
    """A batch on the event loop, over a connection whose engine says no BEGIN of its own.

    Its methods wait as SQLAlchemy's do, so they are called inside of `AsyncConnection.run_sync`.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        session = connection.connection.driver_connection
        assert isinstance(session, AsyncSession)
        self._session = session

    def read_unlocked(self, query: Query) -> Sequence[Any]:
        """See `BatchTransaction.read_unlocked`; the transaction begins later."""
        with before_the_first_write():
            if not self._session.is_pooled:
                return self._connection.execute(*query).all()
            said = self._spelled(*query)
            with self._as_sqlalchemy_raises(said):
                return await_only(self._begin_and_fetch([said], "COMMIT"))[0]

    def read(self, locks: Collection[int], queries: Collection[Query]) -> list[Sequence[Any]]:
        """See `BatchTransaction.read`: one round trip, with the BEGIN."""
        said = [self._spelled(*query) for query in (lock_query(locks), *queries)]
        with before_the_first_write(), self._as_sqlalchemy_raises(said[0]):
            return await_only(self._begin_and_fetch(said))[1:]

    def write_and_commit(self, *, new: Rows, changed: Rows) -> None:
        """See `BatchTransaction.write_and_commit`: one round trip, with the COMMIT.

        All new rows are one statement, the changed rows of each table another.
        """
        new = {table: rows for table, rows in new.items() if rows}
        writes: list[Write] = [(BEGIN_EVENTS, {})] if events in new else []
        if new:
            shape = tuple((table, tuple(rows[0])) for table, rows in new.items())
            writes.append(
                (insert_from_json(shape), {table.name: json_of(rows) for table, rows in new.items()})
            )
        for table, rows in changed.items():
            if rows:
                writes.append((update_from_json(table, tuple(rows[0])), {table.name: json_of(rows)}))
        if not writes:
            writes.append((WAIT_FOR_STANDBY, {}))
        with self._as_sqlalchemy_raises((writes[0][0].text, {})):
            await_only(self._execute_and_commit(writes))

    @property
    def writes_unread(self) -> bool:
        """See `BatchTransaction.writes_unread`.

        Not behind a pooler, nor on a connection that has something to say: the server may have ended it, and
        nobody could tell that from one that broke after the COMMIT.
        """
        session = self._session
        if session.is_pooled or session.pgconn.status != ConnStatus.OK:
            return False
        return not session.has_something_to_say

    def write_unread(self, locks: Collection[int], rows: Rows) -> Sequence[int]:
        """See `BatchTransaction.write_unread`; one statement, which is a transaction of its own."""
        rows = {table: each for table, each in rows.items() if each}
        said = _alone if len(rows[payments]) == 1 else _together
        text, values = said(sorted(locks), rows)
        with self._as_sqlalchemy_raises((text, {})):
            try:
                written = await_only(self._session.run_prepared(text, values))
            except psycopg.errors.UniqueViolation as error:
                if error.diag.constraint_name in _MAY_BE_THERE:
                    raise NotFirst from error
                raise
        return [int(written.get_value(row, 0) or 0) for row in range(written.ntuples)]

    async def _begin_and_fetch(self, queries: Sequence[Spelled], *then: str) -> list[Sequence[Any]]:
        cursor = psycopg.AsyncClientCursor(self._session, row_factory=namedtuple_row)
        before = begin(self._session)
        texts = [cursor.mogrify(text.encode(), values) for text, values in queries]
        await cursor.execute("; ".join([*before, *texts, *then]).encode())
        for _ in before[1:]:
            cursor.nextset()
        rows: list[Sequence[Any]] = []
        for _ in texts:
            cursor.nextset()
            rows.append(await cursor.fetchall())
        return rows

    async def _execute_and_commit(self, writes: Sequence[Write]) -> None:
        """Send all as one text. What takes rows is prepared once, if the session is ours alone."""
        session, cursor = self._session, psycopg.AsyncClientCursor(self._session)
        texts: list[str] = []
        prepared: dict[str, str] = {}
        for statement, values in writes:
            if session.is_pooled or not values:
                text, _ = self._spelled(statement, values)
                texts.append(cursor.mogrify(text.encode(), values))
                continue
            text, names = numbered(statement)
            name = session.prepared.get(text)
            if name is None:  # a name is used once: what fails below may have been prepared nevertheless
                name = prepared[text] = next(session.new_names)
                texts.append(f"PREPARE {name} AS {text}")
            given = ", ".join(["%s"] * len(names))
            texts.append(
                cursor.mogrify(f"EXECUTE {name}({given})".encode(), [values[each] for each in names])
            )
        await cursor.execute("; ".join([*texts, "COMMIT"]).encode())
        session.prepared.update(prepared)

    def _as_sqlalchemy_raises(self, said: Spelled) -> AbstractContextManager[None]:
        return as_sqlalchemy_raises(self._connection, self._session, said)

    def _spelled(self, statement: Select[Any] | TextClause, values: Mapping[str, Any]) -> Spelled:
        return spelled(statement, values, self._connection.dialect)


def _together(locks: Sequence[int], rows: Rows) -> tuple[str, Sequence[bytes]]:
    """Return the statement that writes payments unread, and its parameters."""
    statement = insert_unread(tuple((table, tuple(each[0])) for table, each in rows.items()))
    text, names = numbered(statement)
    values = {table.name: orjson.dumps(each) for table, each in rows.items()}
    values["locks"] = _array(locks).encode()
    values["numbers"] = _array(row["id"] for row in rows[payments]).encode()
    return text, [values[name] for name in names]


def _alone(locks: Sequence[int], rows: Rows) -> tuple[str, Sequence[bytes | None]]:
    """Return the same for one payment: None is NULL, words are as they are, all else as JSON writes it."""
    shape = tuple((table, tuple(each[0]), len(each)) for table, each in rows.items())
    values = [row[name] for table, names, _ in shape for row in rows[table] for name in names]
    return insert_alone(len(locks), shape), [
        value if value is None else value.encode() if isinstance(value, str) else orjson.dumps(value)
        for value in [*locks, *values]
    ]
