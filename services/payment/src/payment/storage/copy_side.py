"""One side of a copy: a database whose rows are read or written as they are, whichever it is.

`sqlite_copy` and `postgres_copy` say how. A row is a tuple in the order of the table's columns, of whole
numbers, text and None: a boolean is 0 or 1, JSON is its text. So rows of both can be compared with `==`.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import ClassVar

from sqlalchemy import JSON, Boolean, Column, Connection, Integer, Table, Text, text
from sqlalchemy.exc import SQLAlchemyError

CHUNK = 5000
"""Rows that are in memory at a time, of each side."""

Row = tuple[int | str | None, ...]
Chunk = Sequence[Row]

_COUNT = "SELECT count(*) FROM {table}"
_SUMS = "SELECT {sums} FROM {table}"
_BILLION = 1_000_000_000


class Side(ABC):
    """A database that is copied from or to.

    Args:
        connection: `Database.copying`'s.
    """

    encoding_query: ClassVar[str]

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @property
    def encoding(self) -> str:
        """Return the encoding of its texts, as `UTF8`."""
        said: str = self.connection.exec_driver_sql(self.encoding_query).scalar_one()
        return said.upper().replace("-", "")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Have all in one transaction, which may take any time; committed at the end, undone on an error."""
        try:
            self._begin()
            yield
        except BaseException:
            with suppress(SQLAlchemyError):  # it may be gone
                self.connection.rollback()
            raise
        self.connection.commit()

    @abstractmethod
    def _begin(self) -> None:
        """Begin a transaction that may take any time."""

    @abstractmethod
    def freeze(self, tables: Sequence[Table]) -> None:
        """Let nobody else write to the tables until the transaction ends.

        Raises:
            OperationalError: somebody is writing, and does not end.
        """

    @abstractmethod
    def find_unfit(self, table: Table) -> str | None:
        """Return which row the other kind of database could not hold, and why; None if there is none."""

    @abstractmethod
    def rows(self, table: Table) -> Generator[Chunk]:
        """Return all rows in the order of their primary keys, CHUNK at a time."""

    @abstractmethod
    def empty(self, tables: Sequence[Table]) -> None:
        """Delete all rows of the tables, none of which may be referred to from another one."""

    @abstractmethod
    def fill(self, table: Table, chunks: Iterable[Chunk]) -> Iterator[int]:
        """Insert rows into an empty table; gives how many, chunk by chunk."""

    @abstractmethod
    def note_sizes(self) -> None:
        """Let the database look at what it holds, so that it plans its first queries well."""

    def count(self, table: Table) -> int:
        """Return how many rows there are."""
        number: int = self.connection.exec_driver_sql(_COUNT.format(table=table.name)).scalar_one()
        return number

    def sums(self, table: Table) -> dict[str, int]:
        """Return what each column of numbers adds up to, as the database itself reckons.

        The billions are added apart, as a sum of times passes 64 bits.
        """
        names = [column.name for column in table.columns if isinstance(column.type, Integer)]
        if not names:
            return {}
        sums = ", ".join(f"sum({name} / {_BILLION}), sum({name} % {_BILLION})" for name in names)
        row = self.connection.execute(text(_SUMS.format(sums=sums, table=table.name))).one()
        added = [int(each or 0) for each in row]
        return {name: added[2 * n] * _BILLION + added[2 * n + 1] for n, name in enumerate(names)}


def is_json(column: Column[object]) -> bool:
    """Say whether the text of a column is JSON.

    Raises:
        TypeError: nobody has said yet how values of its type are copied.
    """
    if not isinstance(column.type, Integer | Text | Boolean | JSON):
        raise TypeError(f"{column}: how is {column.type!r} copied?")
    return isinstance(column.type, JSON)


def ids_of(tables: Iterable[Table]) -> list[Column[int]]:
    """Return the columns whose values the database counts up by itself."""
    return [column for table in tables if (column := table.autoincrement_column) is not None]
