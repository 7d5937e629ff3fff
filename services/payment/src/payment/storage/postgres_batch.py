"""A batch on PostgreSQL's event loop, in two round trips: BEGIN and all reads, then all writes and COMMIT.

Several statements go as one text, with psycopg's quoting: each sees what was committed before it began, so
the reads see what the locks waited for. psycopg's pipeline mode takes half as much CPU again.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection, Dialect, Select, TextClause
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import await_only

from payment.storage.batch import BatchTransaction, Rows
from payment.storage.errors import before_the_first_write
from payment.storage.event_order import BEGIN_EVENTS
from payment.storage.json_rows import insert_from_json, json_of, update_from_json
from payment.storage.postgres_session import AsyncSession, begin
from payment.storage.statements import WAIT_FOR_STANDBY, Query, lock_query
from payment.storage.tables import events

Spelled = tuple[str, Mapping[str, Any]]
"""A statement in psycopg's words, and its parameters."""


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
            spelled = self._spelled(*query)
            with self._as_sqlalchemy_raises(spelled):
                return await_only(self._begin_and_fetch([spelled], "COMMIT"))[0]

    def read(self, locks: Collection[int], queries: Collection[Query]) -> list[Sequence[Any]]:
        """See `BatchTransaction.read`: one round trip, with the BEGIN."""
        spelled = [self._spelled(*query) for query in (lock_query(locks), *queries)]
        with before_the_first_write(), self._as_sqlalchemy_raises(spelled[0]):
            return await_only(self._begin_and_fetch(spelled))[1:]

    def write_and_commit(self, *, new: Rows, changed: Rows) -> None:
        """See `BatchTransaction.write_and_commit`: one round trip, with the COMMIT.

        All new rows are one statement, the changed rows of each table another.
        """
        new = {table: rows for table, rows in new.items() if rows}
        spelled = [self._spelled(BEGIN_EVENTS, {})] if events in new else []
        if new:
            shape = tuple((table, tuple(rows[0])) for table, rows in new.items())
            values = {table.name: json_of(rows) for table, rows in new.items()}
            spelled.append(self._spelled(insert_from_json(shape), values))
        for table, rows in changed.items():
            if rows:
                update = update_from_json(table, tuple(rows[0]))
                spelled.append(self._spelled(update, {table.name: json_of(rows)}))
        if not spelled:
            spelled.append(self._spelled(WAIT_FOR_STANDBY, {}))
        with self._as_sqlalchemy_raises(spelled[0]):
            await_only(self._execute_and_commit(spelled))

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

    async def _execute_and_commit(self, statements: Sequence[Spelled]) -> None:
        cursor = psycopg.AsyncClientCursor(self._session)
        texts = [cursor.mogrify(text.encode(), values) for text, values in statements]
        await cursor.execute("; ".join([*texts, "COMMIT"]).encode())

    def _spelled(self, statement: Select[Any] | TextClause, values: Mapping[str, Any]) -> Spelled:
        state = _compiled(statement, self._connection.dialect).construct_expanded_state(dict(values))
        return state.statement, state.parameters

    @contextmanager
    def _as_sqlalchemy_raises(self, spelled: Spelled) -> Iterator[None]:
        """Raise psycopg's errors as SQLAlchemy does, and drop the connection if it is gone."""
        try:
            yield
        except BaseException as error:  # a wait that was cancelled has closed it too
            is_gone = self._session.closed
            if is_gone:
                self._connection.invalidate(error)
            if not isinstance(error, psycopg.Error):
                raise
            raise DBAPIError.instance(
                *spelled,
                error,
                psycopg.Error,
                dialect=self._connection.dialect,
                connection_invalidated=is_gone,
            ) from error


@lru_cache(maxsize=64)
def _compiled(statement: Select[Any] | TextClause, dialect: Dialect) -> SQLCompiler:
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)
    return compiled
