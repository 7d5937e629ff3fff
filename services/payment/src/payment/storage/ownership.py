"""Whether a database is ours. One of another program is refused before anything is written to it."""

import re
from collections.abc import Collection

from sqlalchemy.exc import SQLAlchemyError

OUR_TABLES = frozenset({"bills", "idempotency_keys", "leases", "notifications", "payments"})
"""What every schema of ours has had since its first migration; a test holds it against `tables`."""

NAMES_MAX = 3


class ForeignDatabase(SQLAlchemyError):
    """It belongs to another program."""


def is_revision(revision: str) -> bool:
    """Say whether this is how our migrations are numbered."""
    return re.fullmatch("[0-9]{4}", revision) is not None


def refuse_foreign(name: str, tables: Collection[str], revision: str | None) -> None:
    """Refuse a database that another program made.

    Args:
        name: what it is called.
        tables: those that it has and that may not be another's.
        revision: what its `alembic_version` says, None if there is none.

    Raises:
        ForeignDatabase: it is not ours.
    """
    if revision is None:
        others = sorted(set(tables) - {"alembic_version"})
        if others:
            more = ", …" if len(others) > NAMES_MAX else ""
            raise ForeignDatabase(
                f"{name} has tables that are not ours: {', '.join(others[:NAMES_MAX])}{more}"
            )
    elif not (is_revision(revision) and OUR_TABLES.issubset(tables)):
        raise ForeignDatabase(f"{name} is at a migration that is not ours: {revision}")
