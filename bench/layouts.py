"""Our schema with its large tables in partitions, by month or by ranges of ids; what PostgreSQL refuses."""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg

from bench.history import DAY_US

PARTS = 12
DAYS = 365
ROWS_A_PAYMENT = {"payments": 1, "notifications": 2, "events": 1}

INDEXES = """
SELECT indexdef FROM pg_indexes WHERE tablename = %s
    AND indexname NOT IN (SELECT conname FROM pg_constraint WHERE contype = 'p')
"""
FOREIGN_KEYS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'f' AND (conrelid = %(table)s::regclass OR confrelid = %(table)s::regclass)
"""
PRIMARY_KEY = """
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'p' AND conrelid = %s::regclass
"""
SEQUENCE = "SELECT pg_get_serial_sequence(%s, 'id')"
ID_IS_THERE = """
SELECT count(*) FROM information_schema.columns WHERE table_name = %s AND column_name = 'id'
"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A statement that keeps what our schema promises, and why PostgreSQL refuses it of partitions."""

    statement: str
    error: str


class Layout:
    """How the tables are cut.

    Args:
        payments: how many there will be, in `DAYS` days.
        key: the column whose ranges are partitions: `created_us` or `id`.
    """

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]], payments: int, key: str) -> None:
        self._connection = connection
        self._payments = payments
        self._key = key
        self._now_us = time.time_ns() // 1000
        self.tables = [*ROWS_A_PAYMENT, *(["idempotency_keys"] if key == "created_us" else [])]
        self.refused: list[Refusal] = []

    def cut(self) -> None:
        """Give each table partitions, with all of its indexes, keys and constraints that PostgreSQL takes."""
        foreign_keys: dict[str, tuple[str, str]] = {}
        indexes: list[str] = []
        for table in self.tables:
            for owner, name, definition in self._rows(FOREIGN_KEYS, {"table": table}):
                foreign_keys[name] = owner, definition
                self._run(f"ALTER TABLE {owner} DROP CONSTRAINT {name}")
            indexes += [row[0] for row in self._rows(INDEXES, [table])]
        for table in self.tables:
            self._cut(table)
        for index in indexes:
            self._run(index.replace(" ON ONLY ", " ON "))
        for owner, definition in foreign_keys.values():
            self._try(f"ALTER TABLE {owner} ADD {definition}")

    def close(self) -> None:
        """Say of each partition that gets no more rows between which times its rows were made."""
        for table in self.tables:
            for part in range(PARTS - 1):
                name = f"{table}_{part}"
                ((first_us, last_us),) = self._rows(f"SELECT min(created_us), max(created_us) FROM {name}")
                self._run(
                    f"ALTER TABLE {name} ADD CHECK (created_us >= {first_us} AND created_us <= {last_us})"
                )

    def _cut(self, table: str) -> None:
        ((primary_key,),) = self._rows(PRIMARY_KEY, [table])
        if self._rows(ID_IS_THERE, [table]) == [("1",)]:
            ((sequence,),) = self._rows(SEQUENCE, [table])
            self._run(f"ALTER SEQUENCE {sequence} OWNED BY NONE")
        self._run(
            f"ALTER TABLE {table} RENAME TO {table}_whole",
            f"CREATE TABLE {table} (LIKE {table}_whole INCLUDING DEFAULTS INCLUDING CONSTRAINTS) "
            f"PARTITION BY RANGE ({self._key})",
            f"DROP TABLE {table}_whole",
        )
        if not self._try(f"ALTER TABLE {table} ADD {primary_key}"):
            self._run(f"ALTER TABLE {table} ADD {primary_key.removesuffix(')')}, {self._key})")
        bounds = ["MINVALUE", *map(str, self._bounds(table)), "MAXVALUE"]
        for part, (begins, ends) in enumerate(itertools.pairwise(bounds)):
            self._run(
                f"CREATE TABLE {table}_{part} PARTITION OF {table} FOR VALUES FROM ({begins}) TO ({ends})"
            )

    def _bounds(self, table: str) -> Iterator[int]:
        """Between the partitions: of the time that the payments take, or of the ids that they will have."""
        for part in range(1, PARTS):
            if self._key == "id":
                yield 1 + self._payments * ROWS_A_PAYMENT[table] * part // PARTS
            else:
                yield self._now_us - DAYS * DAY_US * (PARTS - part) // PARTS

    def _try(self, statement: str) -> bool:
        """Run a statement; keep what PostgreSQL says if it refuses it."""
        try:
            self._run(statement)
        except psycopg.errors.Error as error:
            self.refused.append(Refusal(statement, str(error.diag.message_primary)))
            return False
        return True

    def _run(self, *statements: str) -> None:
        for statement in statements:
            self._connection.execute(statement.encode())

    def _rows(
        self, query: str, values: Sequence[str] | dict[str, str] | None = None
    ) -> list[tuple[str, ...]]:
        found = self._connection.execute(query.encode(), values).fetchall()
        return [tuple(map(str, row)) for row in found]


def twice(connection: psycopg.Connection[tuple[object, ...]], table: str, changed: str) -> bool:
    """Whether a row may be there a second time with another time: what its primary key no longer prevents."""
    try:
        connection.execute("BEGIN")
        names = [
            str(row[0])
            for row in connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table]
            )
        ]
        values = ", ".join(changed if name == "created_us" else name for name in names)
        connection.execute(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} LIMIT 1".encode()
        )
    except psycopg.IntegrityError:
        return False
    else:
        return True
    finally:
        connection.execute("ROLLBACK")
