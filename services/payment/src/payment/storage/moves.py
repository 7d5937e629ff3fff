"""A database whose payments have moved to another one, or that is still being filled from one.

It says so in a table that no other database has, and triggers refuse whatever would change its rows: also of
a process that had it open before, or of an older version. All of that comes and goes in one transaction. What
copies is `ledger.copying`.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Column, Connection, MetaData, Table, Text, inspect, select
from sqlalchemy.engine import URL

from payment.storage.errors import MOVED_TO, NOT_WHOLE, NotServed
from payment.storage.sqlite_file import file_of
from payment.storage.statements import is_postgres

moves = Table("payment_move", MetaData(), Column("state", Text, nullable=False), Column("other", Text))


class MoveState(StrEnum):
    """What this database is to the other one."""

    FILLING = "filling"
    MOVED = "moved"


class Move(NamedTuple):
    """What a database is, and the name of the other one."""

    state: MoveState
    other: str

    def __str__(self) -> str:
        if self.state == MoveState.MOVED:
            return f"{MOVED_TO} {self.other}"
        return f"{NOT_WHOLE} {self.other}: jalankan lagi / run again: payment copy"


def name_of(url: URL) -> str:
    """Return what a database is called, without user and password."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{file_of(url)}"
    hosts = url.query.get("host", ())
    where = ",".join([hosts] if isinstance(hosts, str) else hosts) or ":".join(
        str(part) for part in (url.host, url.port) if part
    )
    return f"postgresql://{where}/{url.database or ''}"


def find_move(connection: Connection) -> Move | None:
    """Return what a database says of a move, None if it is like any other."""
    if not inspect(connection).has_table(moves.name):
        return None
    row = connection.execute(select(moves)).one()
    return Move(MoveState(row.state), row.other)


def refuse_moved(connection: Connection) -> None:
    """Refuse a database whose payments are elsewhere, or are not all there yet.

    Raises:
        NotServed: it is one.
    """
    if move := find_move(connection):
        raise NotServed(str(move))


def mark(connection: Connection, move: Move, tables: Sequence[Table]) -> None:
    """Say in a database what it is, and let nobody change its tables."""
    moves.create(connection)
    connection.execute(moves.insert().values(state=move.state, other=move.other))
    if is_postgres(connection):
        said = _as_literal(move).replace("%", "%%")  # psycopg's
        connection.exec_driver_sql(
            "CREATE FUNCTION refuse_moved() RETURNS trigger LANGUAGE plpgsql AS $moved$ BEGIN "
            f"RAISE USING ERRCODE = 'read_only_sql_transaction', MESSAGE = '{said}'; END $moved$"
        )
    guard(connection, tables, move)


def unmark(connection: Connection, tables: Sequence[Table]) -> None:
    """Make it a database like any other."""
    unguard(connection, tables)
    if is_postgres(connection):
        connection.exec_driver_sql("DROP FUNCTION refuse_moved()")
    moves.drop(connection)


def guard(connection: Connection, tables: Sequence[Table], move: Move) -> None:
    """Let nobody change these tables of a database that is marked."""
    for table in tables:
        for name, when in _guards(connection, table):
            how = (
                "FOR EACH STATEMENT EXECUTE FUNCTION refuse_moved()"
                if is_postgres(connection)
                else f"BEGIN SELECT RAISE(ABORT, '{_as_literal(move)}'); END"
            )
            connection.exec_driver_sql(f"CREATE TRIGGER {name} BEFORE {when} ON {table.name} {how}")


def unguard(connection: Connection, tables: Sequence[Table]) -> None:
    """Let these tables be changed, until the transaction ends or `guard` is called."""
    for table in tables:
        for name, _ in _guards(connection, table):
            on = f" ON {table.name}" if is_postgres(connection) else ""
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}{on}")


def _guards(connection: Connection, table: Table) -> list[tuple[str, str]]:
    """Return the name of each trigger of a table, and what it refuses."""
    if is_postgres(connection):
        return [(f"moved_{table.name}", "INSERT OR UPDATE OR DELETE")]
    return [(f"moved_{table.name}_{each}", each) for each in ("INSERT", "UPDATE", "DELETE")]


def _as_literal(move: Move) -> str:
    return str(move).replace("'", "''")
