"""The database's own clock: the one that all processes and machines share, whatever theirs say."""

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class DatabaseNow(FunctionElement[int]):
    """The time when the statement began, microseconds since the epoch."""

    type = BigInteger()
    inherit_cache = True


@compiles(DatabaseNow, "postgresql")
def _of_postgresql(_element: DatabaseNow, _compiler: Any, **_: Any) -> str:
    return "CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS bigint)"


@compiles(DatabaseNow, "sqlite")
def _of_sqlite(_element: DatabaseNow, _compiler: Any, **_: Any) -> str:
    """Return the time as every version of SQLite knows it: in days since noon in 4714 BC."""
    return "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
