"""SQLite as one side of a copy. The names in its statements are those of our own tables."""

import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy import Boolean, Column, Connection, Integer, SmallInteger, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

from payment.storage.copy_side import CHUNK, Chunk, Side, is_json

CACHE_KIB = 64 * 1024
SHOWN_MAX_CHARS = 60

_SELECT = "SELECT {names} FROM {table} ORDER BY {key}"
_INSERT = "INSERT INTO {table} ({names}) VALUES ({marks})"
_UNFIT = "SELECT CASE {reasons} END, {key} FROM {table} WHERE {conditions} LIMIT 1"

_NOT_UTF8 = "NOT is_utf8"
_CONCATENATED = " || '/' || "

_TOO_LARGE: dict[type[Any], int] = {Integer: 2**31, SmallInteger: 2**15}
_DIALECT = sqlite.dialect()


class SqliteSide(Side):
    """A file. Each transaction locks all of it against other writers."""

    encoding_query = "PRAGMA encoding"

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]  # it is one
        self._driver.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._driver.create_function("is_utf8", 1, _is_utf8, deterministic=True)

    def _begin(self) -> None:
        self.connection.begin()

    def freeze(self, tables: Sequence[Table]) -> None:
        """Do nothing, see `Side.freeze`: the transaction's BEGIN IMMEDIATE has done it."""

    def find_unfit(self, table: Table) -> str | None:
        """See `Side.find_unfit`: SQLite holds any value in any column, PostgreSQL only those of its type."""
        reasons = [(column.name, *each) for column in table.columns for each in _unfit(column)]
        conditions = [condition for _, _, condition in reasons if not condition.startswith(_NOT_UTF8)]
        texts = [f"coalesce({column.name}, '')" for column in table.columns if not _is_number(column)]
        if texts:  # all of a row at once: a function of ours takes longer than all else
            conditions.append(f"{_NOT_UTF8}(CAST({_CONCATENATED.join(texts)} AS BLOB))")
        keys = [column.name for column in table.primary_key]
        query = _UNFIT.format(
            reasons=" ".join(f"WHEN {condition} THEN {n}" for n, (*_, condition) in enumerate(reasons)),
            key=", ".join(f"CAST({name} AS BLOB)" for name in keys),
            table=table.name,
            conditions=" OR ".join(conditions),
        )
        found = self._driver.execute(query).fetchone()
        if found is None:
            return None
        name, why, _ = reasons[found[0]]
        row = ", ".join(f"{key}={_shown(value)}" for key, value in zip(keys, found[1:], strict=True))
        return f"{table.name} ({row}): {name}: {why}"

    def rows(self, table: Table) -> Generator[Chunk]:
        """See `Side.rows`."""
        names = ", ".join(column.name for column in table.columns)
        key = ", ".join(column.name for column in table.primary_key)
        with _as_sqlalchemy_raises(table), closing(self._driver.cursor()) as cursor:
            cursor.execute(_SELECT.format(names=names, table=table.name, key=key))
            while chunk := cursor.fetchmany(CHUNK):
                yield chunk

    def empty(self, tables: Sequence[Table]) -> None:
        """See `Side.empty`."""
        for table in reversed(tables):
            self.connection.execute(table.delete())

    def fill(self, table: Table, chunks: Iterable[Chunk]) -> Iterator[int]:
        """See `Side.fill`."""
        names = ", ".join(column.name for column in table.columns)
        marks = ", ".join("?" * len(table.columns))
        statement = _INSERT.format(table=table.name, names=names, marks=marks)
        for chunk in chunks:
            with _as_sqlalchemy_raises(table):
                self._driver.executemany(statement, chunk)
            yield len(chunk)

    def note_sizes(self) -> None:
        """Do nothing, see `Side.note_sizes`: its plans rest on the queries' own words (decision 0010)."""


def _unfit(column: Column[Any]) -> list[tuple[str, str]]:
    """Return what PostgreSQL would not take of a column: why, and the condition for it."""
    name = column.name
    if _is_number(column):
        kind = ("bukan bilangan bulat / not a whole number", f"typeof({name}) NOT IN ('integer', 'null')")
        if isinstance(column.type, Boolean):
            return [kind, ("bukan 0 atau 1 / neither 0 nor 1", f"{name} NOT IN (0, 1)")]
        limit = _TOO_LARGE.get(type(column.type))  # SQLite itself has none beyond 64 bits
        if limit is None:
            return [kind]
        return [kind, ("terlalu besar / too large", f"{name} NOT BETWEEN {-limit} AND {limit - 1}")]
    reasons = [
        ("bukan teks / not text", f"typeof({name}) NOT IN ('text', 'null')"),
        ("karakter NUL / a NUL character", f"instr(CAST({name} AS BLOB), x'00')"),
        ("bukan UTF-8 / not UTF-8", f"{_NOT_UTF8}(CAST(coalesce({name}, '') AS BLOB))"),
    ]
    if is_json(column):
        reasons.append(("bukan JSON / not JSON", f"{name} IS NOT NULL AND NOT json_valid({name})"))
    return reasons


def _is_number(column: Column[Any]) -> bool:
    return isinstance(column.type, Integer | Boolean)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(value: bytes | None) -> str:
    """Return a part of a key as a line of text; `value` is the text of a number, too."""
    text = "" if value is None else value.decode(errors="backslashreplace")
    return text.encode("unicode_escape").decode()[:SHOWN_MAX_CHARS]


@contextmanager
def _as_sqlalchemy_raises(table: Table) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DBAPIError.instance(table.name, None, error, sqlite3.Error, dialect=_DIALECT) from error
