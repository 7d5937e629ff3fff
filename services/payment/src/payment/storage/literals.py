"""Values that are written into a statement instead of being passed as parameters."""

from enum import StrEnum

from sqlalchemy import ColumnClause, literal_column


def written(value: StrEnum) -> ColumnClause[str]:
    """Return a value as a literal of SQL, to compare a column with; for our own values only.

    A partial index is used only for a query whose own condition includes the index's. With a parameter that
    would depend on its value: SQLite would plan anew at each run, and a plan that PostgreSQL keeps could not
    use the index.
    """
    return literal_column(f"'{value}'")
