"""Values that are written into a statement instead of being passed as parameters."""

from enum import StrEnum

from sqlalchemy import ColumnClause, literal_column


def written(value: StrEnum) -> ColumnClause[str]:
    """Return a value as a literal of SQL, to compare a column with; for our own values only.

    SQLite uses a partial index only for a query that repeats the index's condition word for word, so
    `state <> 'delivered'` must not hold a parameter; and with a parameter there it plans at each run anew.
    """
    return literal_column(f"'{value}'")
