"""The transaction that books a batch: it locks and reads what the batch touches, writes all, and commits."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table

from payment.storage import ids, statements
from payment.storage.event_order import begin_events
from payment.storage.statements import Query, Row
from payment.storage.tables import events

Rows = Mapping[Table, Sequence[Row]]
"""Rows of several tables; those of one table have the same columns."""


class NotFirst(Exception):
    """A bill, a key or a reference of what was to be written unread is there already; nothing was written."""


class BatchTransaction(ABC):
    """One transaction of three steps, each taken once at most: `read_unlocked`, `read`, `write_and_commit`.

    `Database.run_batch` and `Database.batch` give it. They roll back what it has not committed.

    Args:
        connection: whose transaction it is; nothing else uses it meanwhile.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fresh_ids(self, column: Column[int], size: int) -> Query:
        """Return the query for ids that no row of the column's table has, for `read`: `size` rows of one."""
        return ids.fresh_ids(self._connection, column, size)

    @abstractmethod
    def read_unlocked(self, query: Query) -> Sequence[Any]:
        """Return the rows of a query about what never changes: nothing is locked for it.

        Raises:
            NotBegun: the connection was gone (on the event loop; a thread's is looked at before it is used).
        """

    @abstractmethod
    def read(self, locks: Collection[int], queries: Collection[Query]) -> list[Sequence[Any]]:
        """Lock the numbers, then run the queries.

        Nobody else books what the numbers stand for until this transaction has ended.

        Returns:
            The rows of each query.

        Raises:
            NotBegun: the connection was gone (on the event loop; a thread's is looked at before it is used).
        """

    @property
    def writes_unread(self) -> bool:
        """Say whether `write_unread` can be had: where a round trip costs something."""
        return False

    def write_unread(self, locks: Collection[int], rows: Rows) -> Sequence[int]:
        """Lock the numbers, insert rows of payments and of what belongs to them, and commit: one round trip.

        The constraints say whether what nobody read is as it was supposed to be. After a NotFirst the
        transaction may begin anew: `read`, then `write_and_commit`.

        Args:
            locks: what they stand for nobody else books until this has ended.
            rows: in place of the payments' ids they have the numbers 1, 2, …; that of a key has its payment's
                number beside its columns (`unread_insert.NUMBER`).

        Returns:
            The payments' ids, in the order of these numbers.

        Raises:
            NotFirst: a primary key of a bill or an idempotency key, or a reference, is there already.
        """
        raise NotImplementedError  # `writes_unread` says where it can be had

    @abstractmethod
    def write_and_commit(self, *, new: Rows, changed: Rows) -> None:
        """Insert the new rows, update the changed ones by primary key, and commit.

        A batch that writes nothing commits too: what it read may be on PostgreSQL's primary alone, so its
        answers have to wait for the standby like those of any other.

        Args:
            new: the rows of each table; a table comes after those that it refers to.
            changed: of each changed row its primary key and the columns to set.
        """


class ThreadBatch(BatchTransaction):
    """The same in a thread, over a connection of either database whose transaction has begun."""

    def read_unlocked(self, query: Query) -> Sequence[Any]:
        """See `BatchTransaction.read_unlocked`."""
        return self._connection.execute(*query).all()

    def read(self, locks: Collection[int], queries: Collection[Query]) -> list[Sequence[Any]]:
        """See `BatchTransaction.read`; SQLite's writer has locked everything already."""
        if statements.is_postgres(self._connection):
            self._connection.execute(*statements.lock_query(locks))
        return [self._connection.execute(*query).all() for query in queries]

    def write_and_commit(self, *, new: Rows, changed: Rows) -> None:
        """See `BatchTransaction.write_and_commit`."""
        if new.get(events):
            begin_events(self._connection)
        for table, rows in new.items():
            statements.insert_rows(self._connection, table, rows)
        for table, rows in changed.items():
            statements.update_rows(self._connection, table, rows)
        if statements.is_postgres(self._connection) and not any([*new.values(), *changed.values()]):
            self._connection.execute(statements.WAIT_FOR_STANDBY)
        self._commit()

    def _commit(self) -> None:
        self._connection.commit()
